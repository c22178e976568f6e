package postgres

import (
	"runtime"
	"strings"
	"sync"

	"github.com/gobackplane/backplane/pubsub"
)

// mailbox stands between what dispatches, which must not wait, and one subscription's deliver, which should not block but
// might. It is bounded: what does not fit is counted, and a Gap stands in its place. A goroutine runs only while there is
// something to deliver, so an idle subscription costs none, and what came in a burst is delivered in one call.
type mailbox struct {
	deliver func([]pubsub.Event)

	mu       sync.Mutex
	letters  []letter
	bytes    int
	draining bool
	drained  chan struct{} // closed when draining ends
	closing  bool          // nothing is taken in any more
	closed   bool          // nothing is delivered any more
}

// letter is a message, to be decoded for this subscription alone, or a gap.
type letter struct {
	frame *frame
	gap   *pubsub.Gap
}

const (
	mailboxLetters = 4096
	mailboxBytes   = 64 << 20
)

func (l letter) size() int {
	if l.frame == nil {
		return 0
	}
	return len(l.frame.body)
}

// post takes a letter in, or counts it. It does not block.
func (b *mailbox) post(l letter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return
	}
	n := len(b.letters)
	switch {
	case l.gap == nil && !b.fits(l):
		b.overflow()
	case l.gap != nil && n > 0 && b.letters[n-1].gap != nil && b.letters[n-1].gap.Cause == l.gap.Cause:
		b.letters[n-1].gap = l.gap // the same, with nothing in between
	default:
		b.letters = append(b.letters, l)
		b.bytes += l.size()
	}
	if !b.draining {
		b.draining = true
		b.drained = make(chan struct{})
		go b.drain()
	}
}

// fits reports whether there is room for a letter; always for a single one.
func (b *mailbox) fits(l letter) bool {
	return len(b.letters) == 0 || len(b.letters) < mailboxLetters && b.bytes+l.size() <= mailboxBytes
}

func (b *mailbox) hasRoom(l letter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closing && b.fits(l)
}

// overflow counts a letter that does not fit in a gap at the end.
func (b *mailbox) overflow() {
	if last := b.letters[len(b.letters)-1].gap; last != nil && last.Cause == pubsub.Overflow {
		if last.Lost != pubsub.Unknown {
			last.Lost++
		}
		return
	}
	b.letters = append(b.letters, letter{gap: &pubsub.Gap{Cause: pubsub.Overflow, Lost: 1}})
}

// drain delivers until the mailbox is empty or closed.
func (b *mailbox) drain() {
	for {
		letters := b.take()
		if letters == nil {
			return
		}
		if events := eventsOf(letters); len(events) > 0 && !b.ended() {
			b.deliver(events)
		}
	}
}

// take empties the mailbox; nil ends the draining.
func (b *mailbox) take() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.letters) == 0 || b.closed {
		b.letters, b.draining = nil, false
		close(b.drained)
		return nil
	}
	letters := b.letters
	b.letters, b.bytes = nil, 0
	return letters
}

func (b *mailbox) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func eventsOf(letters []letter) []pubsub.Event {
	events := make([]pubsub.Event, 0, len(letters))
	for _, l := range letters {
		if l.gap != nil {
			events = append(events, pubsub.Event{Gap: l.gap})
		} else if m, ok := l.frame.message(); ok {
			events = append(events, pubsub.Event{Message: m})
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

// shut ends deliveries, and waits for none.
func (b *mailbox) shut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closing, b.closed = true, true
}

// await waits for a delivery that is under way. From within a deliver it does not: neither for itself, nor for another
// subscription, whose deliver may be closing this one.
func (b *mailbox) await() {
	b.mu.Lock()
	draining, drained := b.draining, b.drained
	b.mu.Unlock()
	if draining && !withinDeliver() {
		<-drained
	}
}

// withinDeliver reports whether a deliver function called. Go has no name for the goroutine that runs, so the stack is
// asked: it costs microseconds, and only where a Close meets a delivery that is under way.
func withinDeliver() bool {
	callers := make([]uintptr, 256)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "postgres.(*mailbox).drain") {
			return true
		}
		if !more {
			return false
		}
	}
}
