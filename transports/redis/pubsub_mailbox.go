package redis

import (
	"sync"

	"github.com/gobackplane/backplane/internal/reentry"
	"github.com/gobackplane/backplane/pubsub"
)

// mailbox stands between the reader, which must not wait, and one subscription's deliver, which should not block but
// might. It is bounded: what does not fit is counted, and a Gap stands in its place. A goroutine runs only while there is
// something to deliver, so an idle subscription costs none, and what came in a burst is delivered in one call.
type mailbox struct {
	deliver func([]pubsub.Event)
	open    func(letter) (*pubsub.Message, bool) // of a letter that is not a message yet

	mu       sync.Mutex
	queue    []letter
	spare    []letter // an emptied queue, to be filled again
	bytes    int
	draining bool
	drained  chan struct{} // closed when draining ends
	closing  bool          // nothing is taken in any more
	closed   bool          // nothing is delivered any more
}

// letter is a message, as received or decoded, or a gap.
type letter struct {
	subject string
	frame   string
	message *pubsub.Message
	gap     *pubsub.Gap
}

func (l letter) size() int {
	size := len(l.frame)
	if m := l.message; m != nil {
		size += len(m.Payload)
		for key, value := range m.Headers {
			size += len(key) + len(value)
		}
	}
	return size
}

const (
	mailboxLetters = 4096
	mailboxBytes   = 64 << 20
	spareLetters   = 256 // a longer queue is not kept for the next burst
)

// post takes a letter in, or counts it. It does not block.
func (b *mailbox) post(l letter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return
	}
	switch n := len(b.queue); {
	case l.gap == nil && !b.fits(l):
		b.overflow()
	case l.gap != nil && n > 0 && b.queue[n-1].gap != nil && b.queue[n-1].gap.Cause == l.gap.Cause:
		// The same gap, with nothing in between.
		if last := b.queue[n-1].gap; last.Lost != pubsub.Unknown {
			last.Lost = l.gap.Lost
		}
	default:
		b.bytes += l.size()
		b.queue = append(b.queue, l)
	}
	if !b.draining {
		b.draining = true
		b.drained = make(chan struct{})
		go b.drain()
	}
}

// fits reports whether there is room for a message; always for a single one.
func (b *mailbox) fits(l letter) bool {
	return len(b.queue) == 0 || len(b.queue) < mailboxLetters && b.bytes+l.size() <= mailboxBytes
}

func (b *mailbox) hasRoom(m *pubsub.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fits(letter{message: m})
}

// takesIn reports whether what is posted now is delivered, or counted: not once finish or close was called.
func (b *mailbox) takesIn() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closing
}

// overflow counts a letter that does not fit in a gap at the end of the queue.
func (b *mailbox) overflow() {
	if last := b.queue[len(b.queue)-1].gap; last != nil && last.Cause == pubsub.Overflow {
		if last.Lost != pubsub.Unknown {
			last.Lost++
		}
		return
	}
	b.queue = append(b.queue, letter{gap: &pubsub.Gap{Cause: pubsub.Overflow, Lost: 1}})
}

// drain delivers until the mailbox is empty or closed.
func (b *mailbox) drain() {
	var letters []letter
	for {
		letters = b.take(letters)
		if letters == nil {
			return
		}
		if events := b.events(letters); len(events) > 0 && !b.ended() {
			b.deliver(events)
		}
	}
}

// take empties the queue, and keeps the one that was emptied before; nil ends the draining.
func (b *mailbox) take(done []letter) []letter {
	clear(done)
	b.mu.Lock()
	defer b.mu.Unlock()
	if cap(done) <= spareLetters {
		b.spare = done[:0]
	}
	if len(b.queue) == 0 || b.closed {
		b.queue, b.draining = nil, false
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

func (b *mailbox) events(letters []letter) []pubsub.Event {
	events := make([]pubsub.Event, 0, len(letters))
	for _, l := range letters {
		switch {
		case l.gap != nil:
			events = append(events, pubsub.Event{Gap: l.gap})
		case l.message != nil:
			events = append(events, pubsub.Event{Message: l.message})
		default:
			if m, ok := b.open(l); ok {
				events = append(events, pubsub.Event{Message: m})
			}
		}
	}
	return events
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
func withinDeliver() bool { return reentry.Within("redis.(*mailbox).drain") }
