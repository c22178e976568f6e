package queue

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/gobackplane/backplane/fault"
)

const opHandle = "queue: handle"

// HandleOption says how one kind is handled.
type HandleOption func(*handling)

// WithBackoff sets when failed tasks of the kind are tried again, in place of the worker's policy.
func WithBackoff(b Backoff) HandleOption { return func(h *handling) { h.backoff = b } }

// WithMiddleware stands around this kind's handler, inside that of the worker. The first is the outermost.
func WithMiddleware(m ...Middleware) HandleOption {
	return func(h *handling) { h.middleware = append(h.middleware, m...) }
}

// Handle registers the handler of a kind. Kinds may be added while the worker runs.
//
// What the handler returns decides what becomes of the task:
//
//	nil                  it is completed
//	any other error      it is tried again after the back-off, until its attempts are used up; then it is dead
//	queue.Skip(err)      it is dead at once
//	queue.RetryIn(err,d) it is tried again after d, until its attempts are used up
//	queue.SnoozeFor(d)   it runs again after d, and no attempt is counted
//	a panic              like an error, with the stack kept in LastError
//
// The context ends when the task's timeout or deadline is over, when the lease is lost, when an operator cancelled the
// task, and when the worker's shutdown has lost patience; [context.Cause] tells which: [ErrTimeout], [ErrDeadline],
// [ErrLeaseLost], [ErrCanceled], [ErrShutdown]. A handler that returns the context's error then is given back without
// counting an attempt (shutdown), or cancelled, or tried again.
//
// Invalid for a nil handler, a name that is empty or taken.
func Handle[T any](w *Worker, kind Kind[T], handler func(ctx context.Context, job *Job[T]) error, options ...HandleOption) error {
	if handler == nil {
		return &fault.Error{Code: fault.Invalid, Op: opHandle, Subject: kind.Name, Message: "the handler is nil"}
	}
	codec := kind.codec()
	return w.handle(kind.Name, func(ctx context.Context, d *Delivery) error {
		payload, err := codec.Decode(d.Payload)
		if err != nil {
			return Skip(&fault.Error{Code: fault.Corrupt, Op: opHandle, Subject: d.Kind, Message: fmt.Sprintf("the payload of task %s cannot be decoded to %T", d.ID, payload), Err: err})
		}
		return handler(ctx, &Job[T]{Delivery: d, Payload: payload})
	}, options)
}

// handling is how a worker handles one kind.
type handling struct {
	run        Handler
	backoff    Backoff
	middleware []Middleware
}

// kinds finds the handling of a kind. It is read for every task and written hardly ever.
type kinds struct {
	mu    sync.Mutex // of writers
	known atomic.Pointer[map[string]*handling]
}

func (k *kinds) find(name string) *handling {
	if known := k.known.Load(); known != nil {
		return (*known)[name]
	}
	return nil
}

func (k *kinds) none() bool { return k.known.Load() == nil }

func (k *kinds) add(name string, h *handling) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.find(name) != nil {
		return false
	}
	next := map[string]*handling{name: h}
	if known := k.known.Load(); known != nil {
		maps.Copy(next, *known)
	}
	k.known.Store(&next)
	return true
}

func (w *Worker) handle(name string, run Handler, options []HandleOption) error {
	if name == "" {
		return &fault.Error{Code: fault.Invalid, Op: opHandle, Message: "the kind has no name"}
	}
	if err := checkName("kind", name, w.caps); err != nil {
		return fault.In(err, opHandle, name)
	}
	h := &handling{backoff: w.options.Backoff}
	for _, apply := range options {
		apply(h)
	}
	if h.backoff == nil {
		h.backoff = w.options.Backoff
	}
	h.run = caught(wrap(caught(run), append(w.options.Middleware[:len(w.options.Middleware):len(w.options.Middleware)], h.middleware...)))
	if !w.kinds.add(name, h) {
		return &fault.Error{Code: fault.Invalid, Op: opHandle, Subject: name, Message: "the kind has a handler already; a worker runs one for each kind"}
	}
	return nil
}

// PanicError is what a handler that panicked is taken to have returned.
type PanicError struct {
	Value any
	Stack []byte
}

// Error begins with the value, so that it survives where the stack is cut.
func (p *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.Value, p.Stack) }

// Unwrap gives the value, when it was an error.
func (p *PanicError) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// caught turns a panic of a handler, and of nothing else, into an error.
func caught(run Handler) Handler {
	return func(ctx context.Context, d *Delivery) (err error) {
		returned := false
		defer func() {
			if returned {
				return
			}
			if value := recover(); value != nil { // nil: the goroutine is being ended by runtime.Goexit
				err = &PanicError{Value: value, Stack: debug.Stack()}
			}
		}()
		err = run(ctx, d)
		returned = true
		return err
	}
}
