package memory

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
)

// closeWait is how long Close waits for functions that were given messages to return.
const closeWait = 5 * time.Second

// Transport is one node on a store.
type Transport struct {
	store  *Store
	space  *space
	forget func() // of a named store

	cache  *cache.Backend
	queue  *queue.Backend
	pubsub *pubsub.Backend

	closed atomic.Bool
	done   chan struct{} // closed with the node: ends calls that wait

	mu    sync.Mutex
	open  map[opened]struct{} // subscriptions and watches
	calls sync.WaitGroup      // that wait
}

// opened is something that lives until it, or its node, is closed.
type opened interface {
	// shut ends it without waiting.
	shut()
	// ended is closed when nothing of it is running any more; nil when asked from within what is running.
	ended() <-chan struct{}
}

func newTransport(store *Store, shared *space) *Transport {
	t := &Transport{store: store, space: shared, done: make(chan struct{}), open: map[opened]struct{}{}}
	t.cache, t.queue, t.pubsub = t.cacheBackend(), t.queueBackend(), t.pubsubBackend()
	return t
}

// Health is nil while the node is open.
func (t *Transport) Health(ctx context.Context) error { return t.ready(ctx, "memory: health", "") }

// ready refuses a call when the node is closed or the caller's context has ended.
func (t *Transport) ready(ctx context.Context, op, subject string) error {
	if t.closed.Load() {
		return closedFault(op, subject)
	}
	if ctx.Err() != nil {
		return ended(ctx, op, subject)
	}
	return nil
}

func closedFault(op, subject string) error {
	return &fault.Error{Code: fault.Closed, Op: op, Subject: subject, Transport: Kind, Message: "the transport was closed"}
}

// ended is the fault of a context that is over.
func ended(ctx context.Context, op, subject string) error {
	return fault.In(fault.FromContext(ctx), op, subject)
}

// waiting announces a call that waits, so that Close can wait for it. It is false when the node is closed.
func (t *Transport) waiting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() {
		return false
	}
	t.calls.Add(1)
	return true
}

// keep remembers what Close must end. It is false when the node is closed already.
func (t *Transport) keep(o opened) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() {
		return false
	}
	t.open[o] = struct{}{}
	return true
}

func (t *Transport) drop(o opened) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, o)
}

// Close ends the node's subscriptions, watches and waiting calls and waits for them, at most 5 s for functions that
// messages were delivered to. It may be called twice, and from within such a function. What was stored stays as long as
// another node has the store open in this namespace.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed.Swap(true) {
		t.mu.Unlock()
		return nil
	}
	open := t.open
	t.open = nil
	t.mu.Unlock()

	close(t.done)
	for o := range open {
		o.shut()
	}
	t.calls.Wait()
	err := awaitAll(open)
	t.store.leave(t.space)
	if t.forget != nil {
		t.forget()
	}
	return err
}

func awaitAll(open map[opened]struct{}) error {
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	for o := range open {
		done := o.ended()
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-timer.C:
			return &fault.Error{
				Code: fault.DeadlineExceeded, Op: "memory: close", Transport: Kind,
				Message: "a function that messages were delivered to has not returned in " + closeWait.String() + "; it must not block",
			}
		}
	}
	return nil
}
