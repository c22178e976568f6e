package plugin

import (
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/reentry"
)

// window is how much of a feed may be on its way to its receiver; the plugin holds what is more. See Credit in
// transport.proto for what an event weighs.
const window = 4 << 20

// mailbox stands between the reader of a line, which must not wait, and one feed's deliver, which should not block but
// might. A goroutine runs only while there is something to deliver, so an idle feed costs none, and what came in a burst is
// delivered in one call. It is bounded by the credit that the plugin gets back only for what was delivered.
type mailbox[E any] struct {
	deliver func([]E)

	mu       sync.Mutex
	queue    []E
	old      bool // the queue has events from before begin
	draining bool
	drained  chan struct{} // closed when draining ends
	closed   bool

	// The account with the plugin as it runs now.
	life     int               // of the plugin
	credit   int64             // what it has left
	bytes    int64             // what its events in the queue weigh
	owed     int64             // what was delivered, and it has not got back
	giveBack func(bytes int64) // to it; does not block
	waiting  bool              // for its confirmation
	early    []E               // what came before that
}

// begin opens an account with a plugin that knows nothing of the feed yet. What it sends before its confirmation is kept
// until then.
func (b *mailbox[E]) begin(giveBack func(bytes int64)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.old || b.bytes > window/2 {
		b.queue = nil // the receiver is slow, and the gap that comes stands for these too
	}
	b.old = len(b.queue) > 0
	b.life++
	b.credit, b.bytes, b.owed, b.giveBack = window, 0, 0, giveBack
	b.waiting, b.early = true, nil
}

// confirm has everything delivered from now on: first, then what the plugin has sent since begin.
func (b *mailbox[E]) confirm(first ...E) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.queue = append(append(b.queue, first...), b.early...)
	b.waiting, b.early = false, nil
	b.wake()
}

// post takes events in. It does not block. The error is of a plugin that has sent more than it may.
func (b *mailbox[E]) post(events []E, weight int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	if b.credit <= 0 {
		return fault.New(fault.Exhausted, "the plugin sent events without credit; see Credit in transport.proto")
	}
	b.credit -= weight
	b.bytes += weight
	if b.waiting {
		b.early = append(b.early, events...)
		return nil
	}
	b.queue = append(b.queue, events...)
	b.wake()
	return nil
}

// wake has the queue delivered. b.mu is held.
func (b *mailbox[E]) wake() {
	if len(b.queue) > 0 && !b.draining {
		b.draining = true
		b.drained = make(chan struct{})
		go b.drain()
	}
}

// drain delivers until the mailbox is empty or closed.
func (b *mailbox[E]) drain() {
	for {
		events, bytes, life := b.take()
		if events == nil {
			return
		}
		b.deliver(events)
		b.settle(bytes, life)
	}
}

// take empties the queue; nil ends the draining. bytes is what the account of that life is to get back once these are
// delivered.
func (b *mailbox[E]) take() (events []E, bytes int64, life int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.draining = false
		close(b.drained)
		return nil, 0, 0
	}
	events, bytes = b.queue, b.bytes
	b.queue, b.old = nil, false
	if b.waiting {
		bytes = 0 // what was counted is not in the queue yet
	} else {
		b.bytes = 0
	}
	return events, bytes, b.life
}

// settle gives credit back for what was delivered, a quarter of the window at a time.
func (b *mailbox[E]) settle(bytes int64, life int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life != life || b.closed {
		return
	}
	if b.owed += bytes; b.owed >= window/4 {
		b.giveBack(b.owed)
		b.credit += b.owed
		b.owed = 0
	}
}

// shut ends deliveries after the one that is under way.
func (b *mailbox[E]) shut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.queue, b.early = true, nil, nil
}

// await waits for a delivery that is under way when the mailbox was shut, at most for limit; 0 is without limit. From
// within a deliver it does not wait: neither for itself, nor for another feed, whose deliver may be closing this one.
func (b *mailbox[E]) await(limit time.Duration) bool {
	b.mu.Lock()
	draining, drained := b.draining, b.drained
	b.mu.Unlock()
	if !draining || withinDeliver() {
		return true
	}
	if limit == 0 {
		<-drained
		return true
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-drained:
		return true
	case <-timer.C:
		return false
	}
}

// withinDeliver reports whether a deliver function called.
func withinDeliver() bool { return reentry.Within("plugin.(*mailbox[...]).drain") }
