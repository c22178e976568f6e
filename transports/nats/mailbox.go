package nats

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/internal/reentry"
	"github.com/gobackplane/backplane/pubsub"
)

// mailbox stands between the intake, which must not wait, and one subscription's deliver, which should not block but
// might. It is bounded: what does not fit is counted, and a Gap stands in its place. A goroutine runs only while there is
// something to deliver, so an idle subscription costs none, and what came in a burst is delivered in one call.
type mailbox struct {
	deliver func([]pubsub.Event)
	open    func(letter, *pubsub.Message) bool // reads one into the other; false for what cannot be read

	mu       sync.Mutex
	queue    []letter
	spare    []letter // an emptied queue, to be filled again
	bytes    int
	draining bool
	drained  chan struct{} // closed when draining ends
	closing  bool          // nothing is taken in any more
	closed   bool          // nothing is delivered any more
}

// letter is a message as received, or a gap.
type letter struct {
	message *nats.Msg
	gap     *pubsub.Gap
	shared  bool // others read the message too
}

const (
	mailboxLetters = 64 << 10
	mailboxBytes   = 64 << 20
	spareLetters   = 1024 // a longer queue is not kept for the next burst
	largestBatch   = 1024 // events of one deliver
)

// post takes messages in, or counts them. It does not block.
func (b *mailbox) post(messages []*nats.Msg, shared bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return
	}
	for _, m := range messages {
		if !b.fits(m) {
			b.overflow(1)
			continue
		}
		b.bytes += len(m.Data)
		b.queue = append(b.queue, letter{message: m, shared: shared})
	}
	b.wake()
}

// postGap takes a gap in. One of the same cause at the same place becomes one with it.
func (b *mailbox) postGap(g pubsub.Gap) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return
	}
	if n := len(b.queue); n > 0 && b.queue[n-1].gap != nil && b.queue[n-1].gap.Cause == g.Cause {
		if last := b.queue[n-1].gap; last.Lost != pubsub.Unknown {
			last.Lost = addLost(last.Lost, g.Lost)
		}
	} else {
		b.queue = append(b.queue, letter{gap: &g})
	}
	b.wake()
}

func addLost(a, b int) int {
	if a == pubsub.Unknown || b == pubsub.Unknown {
		return pubsub.Unknown
	}
	return a + b
}

func (b *mailbox) wake() {
	if !b.draining && len(b.queue) > 0 {
		b.draining = true
		b.drained = make(chan struct{})
		go b.drain()
	}
}

// fits reports whether there is room for a message; always for a single one.
func (b *mailbox) fits(m *nats.Msg) bool {
	return len(b.queue) == 0 || len(b.queue) < mailboxLetters && b.bytes+len(m.Data) <= mailboxBytes
}

// overflow counts messages that do not fit in a gap at the end of the queue, which is not empty.
func (b *mailbox) overflow(lost int) {
	if last := b.queue[len(b.queue)-1].gap; last != nil && last.Cause == pubsub.Overflow {
		last.Lost = addLost(last.Lost, lost)
		return
	}
	b.queue = append(b.queue, letter{gap: &pubsub.Gap{Cause: pubsub.Overflow, Lost: lost}})
}

// drain delivers until the mailbox is empty or closed.
func (b *mailbox) drain() {
	var letters []letter
	for {
		letters = b.take(letters)
		if letters == nil {
			return
		}
		for rest := letters; len(rest) > 0 && !b.ended(); {
			n := min(len(rest), largestBatch)
			if events := b.events(rest[:n]); len(events) > 0 {
				b.deliver(events)
			}
			rest = rest[n:]
		}
	}
}

// take empties the queue, and keeps the one that was emptied before; nil ends the draining.
func (b *mailbox) take(done []letter) []letter {
	clear(done)
	b.mu.Lock()
	defer b.mu.Unlock()
	if done != nil && cap(done) <= spareLetters {
		b.spare = done[:0]
	}
	if len(b.queue) == 0 || b.closed {
		b.queue, b.bytes, b.draining = nil, 0, false
		close(b.drained)
		return nil
	}
	letters := b.queue
	b.queue, b.spare, b.bytes = b.spare, nil, 0
	return letters
}

func (b *mailbox) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// events reads letters. Small messages are made several at a time, which is kinder to the garbage collector; so few that
// whoever keeps one keeps little else alive.
func (b *mailbox) events(letters []letter) []pubsub.Event {
	events := make([]pubsub.Event, 0, len(letters))
	var block []pubsub.Message
	for i, l := range letters {
		if l.gap != nil {
			events = append(events, pubsub.Event{Gap: l.gap})
			continue
		}
		if len(block) == 0 || len(l.message.Data) > smallMessage {
			block = make([]pubsub.Message, blockOf(letters[i:]))
		}
		if m := &block[0]; b.open(l, m) {
			events = append(events, pubsub.Event{Message: m})
			block = block[1:]
		}
	}
	return events
}

const (
	smallMessage = 512
	largestBlock = 16
)

// blockOf says how many messages to make for the letters that come next.
func blockOf(letters []letter) int {
	n := 0
	for _, l := range letters[:min(len(letters), largestBlock)] {
		if l.gap != nil || len(l.message.Data) > smallMessage {
			break
		}
		n++
	}
	return max(n, 1)
}

// finish takes nothing in any more and waits until what is there has been delivered.
func (b *mailbox) finish() {
	b.mu.Lock()
	b.closing = true
	b.mu.Unlock()
	b.await()
}

// close ends deliveries and waits for one that is under way. From within a deliver it does not wait: neither for itself,
// nor for another subscription, whose deliver may be closing this one.
func (b *mailbox) close() {
	b.mu.Lock()
	b.closing, b.closed = true, true
	b.mu.Unlock()
	b.await()
}

func (b *mailbox) await() {
	b.mu.Lock()
	draining, drained := b.draining, b.drained
	b.mu.Unlock()
	if draining && !withinDeliver() {
		<-drained
	}
}

// withinDeliver reports whether a deliver function called.
func withinDeliver() bool {
	return reentry.Within("nats.(*mailbox).drain") || reentry.Within("nats.(*listener).post") || reentry.Within("nats.(*listener).postGap")
}

// complaint bounds how often the same thing is logged, and counts it. The zero value is ready.
type complaint struct {
	mu    sync.Mutex
	count int // since last
	last  time.Time
}

const complaintEvery = 10 * time.Second

// due counts one, and gives the number to log now: all since the last time, or 0.
func (c *complaint) due(now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	if now.Sub(c.last) < complaintEvery {
		return 0
	}
	n := c.count
	c.count, c.last = 0, now
	return n
}
