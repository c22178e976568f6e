package memory

import (
	"context"
	"sync"
	"time"

	"github.com/gobackplane/backplane/transports"
)

// wait is one call that waits until what it wants is there.
type wait struct {
	op, subject string
	names       []string      // what it waits for, in the waitlist
	longest     time.Duration // 0: it only looks
	clock       transports.Clock
	mu          *sync.Mutex // guards what it looks at, and the waitlist
	waiters     waitlist

	// look is called with mu held. It says whether the call is done, and if not at which instant to look again even if
	// nobody rings.
	look func(now instant) (done bool, next instant)
}

// await looks until there is something, the wait is over, ctx ends or the node is closed; the last two are errors.
func (t *Transport) await(ctx context.Context, w wait) error {
	if !t.waiting() {
		return closedFault(w.op, w.subject)
	}
	defer t.calls.Done()

	w.mu.Lock()
	defer w.mu.Unlock()
	at := now(w.clock)
	end := at.in(w.longest)
	done, next := w.look(at)
	if done || at >= end {
		return nil
	}
	me := waiter{bell: newBell(), names: w.names}
	w.waiters.join(&me)
	defer w.waiters.leave(&me)
	for {
		if err := t.sleep(ctx, w, me.bell, at, min(next, end)); err != nil {
			return err
		}
		at = now(w.clock)
		if done, next = w.look(at); done || at >= end {
			return nil
		}
	}
}

// sleep gives mu back until the bell rings, which it does at the given instant too. What rings before it listens is not
// lost.
func (t *Transport) sleep(ctx context.Context, w wait, b bell, at, until instant) error {
	w.mu.Unlock()
	defer w.mu.Lock()
	stop := w.clock.AfterFunc(at.until(until), b.ring)
	defer stop()
	if now(w.clock) >= until { // a clock that is moved by hand may have been, before it had the timer
		b.ring()
	}
	select {
	case <-b:
		return nil
	case <-ctx.Done():
		return ended(ctx, w.op, w.subject)
	case <-t.done:
		return closedFault(w.op, w.subject)
	}
}
