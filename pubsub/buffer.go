package pubsub

// buffer holds a stream's events: messages up to a bound, and before each, or after the last, the gaps at that place.
// The zero buffer is empty; bounds are given at each push. It is not safe for concurrent use.
type buffer struct {
	ring  []slot
	head  int
	size  int
	bytes int
	tail  []Gap // after the last message
}

type slot struct {
	gaps    []Gap // before the message
	message *Message
}

// len is the number of messages.
func (b *buffer) len() int { return b.size }

func (b *buffer) empty() bool { return b.size == 0 && len(b.tail) == 0 }

// fits reports whether a message can be pushed within bounds. A single one always can.
func (b *buffer) fits(m *Message, events, bytes int) bool {
	return b.size < events && (b.size == 0 || b.bytes+weigh(m) <= bytes)
}

func (b *buffer) push(m *Message) {
	if b.size == len(b.ring) {
		b.grow()
	}
	b.ring[(b.head+b.size)%len(b.ring)] = slot{gaps: b.tail, message: m}
	b.size++
	b.bytes += weigh(m)
	b.tail = nil
}

func (b *buffer) grow() {
	ring := make([]slot, max(8, 2*len(b.ring)))
	for i := range b.size {
		ring[i] = b.ring[(b.head+i)%len(b.ring)]
	}
	b.ring, b.head = ring, 0
}

// gap notes a gap after the last message.
func (b *buffer) gap(g Gap) { b.tail = joinGaps(b.tail, g) }

// pop takes the first event.
func (b *buffer) pop() (Event, bool) {
	if b.empty() {
		return Event{}, false
	}
	gaps := &b.tail
	if b.size > 0 {
		gaps = &b.ring[b.head].gaps
	}
	if len(*gaps) > 0 {
		g := (*gaps)[0]
		*gaps = (*gaps)[1:]
		return Event{Gap: &g}, true
	}
	return Event{Message: b.shift().message}, true
}

func (b *buffer) shift() slot {
	first := b.ring[b.head]
	b.ring[b.head] = slot{}
	b.head = (b.head + 1) % len(b.ring)
	b.size--
	b.bytes -= weigh(first.message)
	return first
}

// dropOldest gives up the first message, and puts a gap where it was.
func (b *buffer) dropOldest() {
	gaps := joinGaps(b.shift().gaps, Gap{Cause: Overflow, Lost: 1})
	next := &b.tail
	if b.size > 0 {
		next = &b.ring[b.head].gaps
	}
	for _, g := range *next {
		gaps = joinGaps(gaps, g)
	}
	*next = gaps
}

// maxGaps is how many gaps may stand at one place. More are told without their senders.
const maxGaps = 16

// joinGaps appends a gap, or adds it to one of its kind: those at one place have no order.
func joinGaps(gaps []Gap, g Gap) []Gap {
	for i := range gaps {
		if h := &gaps[i]; h.Cause == g.Cause && h.Sender == g.Sender && (h.Lost == Unknown) == (g.Lost == Unknown) {
			h.Lost = addLost(h.Lost, g.Lost)
			return gaps
		}
	}
	if len(gaps) < maxGaps {
		return append(gaps, g)
	}
	for i := range gaps {
		if h := &gaps[i]; h.Cause == g.Cause && (h.Lost == Unknown) == (g.Lost == Unknown) {
			h.Sender, h.Lost = "", addLost(h.Lost, g.Lost)
			return gaps
		}
	}
	return append(gaps, g) // the first of its kind: there are few kinds
}

func addLost(a, b int) int {
	if a == Unknown || b == Unknown {
		return Unknown
	}
	return a + b
}
