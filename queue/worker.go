package queue

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/gobackplane/backplane/fault"
)

const opWorker = "queue: worker"

// Defaults of WorkerOptions.
const (
	DefaultConcurrency     = 16
	DefaultShutdownTimeout = 10 * time.Second
)

// NoPrefetch makes a worker claim no task before a slot is free for it.
const NoPrefetch = -1

// WorkerOptions are all optional.
type WorkerOptions struct {
	// Name tells operators who holds a task. It need not be unique. Default: the host's name.
	Name string

	// Queues are the queues served, with their weights: of the claims made while all have tasks, each comes first as
	// often as its weight's share. With Strict a queue is served only while those of greater weight have nothing due.
	// Default: DefaultQueue alone.
	Queues map[string]int
	Strict bool

	// Concurrency is how many handlers run at once. Default 16.
	Concurrency int

	// Prefetch is how many tasks, at most, may be claimed beyond the free slots, so that short tasks do not wait for a
	// round trip. It is used only as far as the slots will probably have finished as many by the time the claim is
	// answered: long tasks are not prefetched. One that no slot took within a second (or a third of its lease, if that
	// is less) is given back, first in line. Default: Concurrency. NoPrefetch turns it off.
	Prefetch int

	// ShutdownTimeout is how long Stop lets handlers finish before it ends their contexts, and, if it is more than 5 s,
	// how long it then tries to tell the store. Default 10 s.
	ShutdownTimeout time.Duration

	// Backoff says when a failed task is tried again. Default: DefaultBackoff().
	Backoff Backoff

	// Middleware stands around all handlers; the first is the outermost.
	Middleware []Middleware

	// Propagator takes traces from tasks' headers. Default: TraceContext.
	Propagator Propagator

	// Logger: nil is slog.Default(). What happens to single tasks is logged at Debug only.
	Logger *slog.Logger
}

// Worker claims tasks and runs their handlers, until it is stopped. Make one with [NewWorker], tell it what it handles
// with [Handle], then [Worker.Run] it, or [Worker.Start] and [Worker.Stop] it. It is safe for concurrent use.
//
// Its goroutines, each with one job: Concurrency slots run handlers; claimers keep the slots busy; a heartbeat keeps
// the leases; senders send settlements.
type Worker struct {
	options  WorkerOptions
	driver   Driver
	caps     Capabilities
	id       string // unique to this worker's life
	log      *slog.Logger
	kinds    kinds
	order    order
	pace     *pace
	held     *held
	settler  *settler
	waiting  chan *Delivery // for a slot
	counters counters
	health   health
	sparing  sparingly

	base     context.Context // of handlers: the values that Start was given
	draining atomic.Bool     // no handler is begun any more
	life     *lifecycle
}

// NewWorker makes a worker. Unsupported when the transport offers no queue (a nil backend), Invalid for options that
// cannot be met.
func NewWorker(b *Backend, o WorkerOptions) (*Worker, error) {
	if b = offered(b); b == nil {
		return nil, &fault.Error{Code: fault.Unsupported, Op: opWorker, Message: "this transport offers no queue"}
	}
	if err := o.complete(b.Capabilities); err != nil {
		return nil, fault.In(err, opWorker, o.Name)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, &fault.Error{Code: fault.Internal, Op: opWorker, Message: "no random bytes for a name", Err: err}
	}
	w := &Worker{
		options: o,
		driver:  b.Driver,
		caps:    b.Capabilities,
		id:      o.Name + "-" + id.String(),
		order:   newOrder(o.Queues, o.Strict),
		pace:    newPace(o.Concurrency, o.Prefetch, cmp.Or(b.Capabilities.MaxClaim, o.Concurrency+o.Prefetch)),
		held:    newHeld(),
		settler: newSettler(max(16*o.Concurrency, settleBatch)),
		waiting: make(chan *Delivery, o.Concurrency+o.Prefetch),
		life:    newLifecycle(),
	}
	w.log = o.Logger.With("worker", w.id)
	return w, nil
}

// complete fills in defaults and checks the rest.
func (o *WorkerOptions) complete(caps Capabilities) error {
	if o.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "worker"
		}
		o.Name = host
	}
	if len(o.Queues) == 0 {
		o.Queues = map[string]int{DefaultQueue: 1}
	}
	o.Concurrency = cmp.Or(o.Concurrency, DefaultConcurrency)
	o.Prefetch = cmp.Or(o.Prefetch, o.Concurrency)
	if o.Prefetch == NoPrefetch {
		o.Prefetch = 0
	}
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, DefaultShutdownTimeout)
	if o.Backoff == nil {
		o.Backoff = DefaultBackoff()
	}
	if o.Propagator == nil {
		o.Propagator = TraceContext{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o.check(caps)
}

func (o *WorkerOptions) check(caps Capabilities) error {
	const idSuffix = len("-00000000-0000-0000-0000-000000000000/0")
	if over(len(o.Name)+idSuffix, caps.MaxName) {
		return fault.New(fault.Invalid, "the name has %d bytes, at most %d fit", len(o.Name), caps.MaxName-idSuffix)
	}
	for name, weight := range o.Queues {
		if err := checkQueue(name, caps); err != nil {
			return err
		}
		if weight < 1 {
			return fault.New(fault.Invalid, "queue %q has the weight %d, at least 1 is needed; leave the queue out to not serve it", name, weight)
		}
	}
	switch {
	case o.Concurrency < 1:
		return fault.New(fault.Invalid, "Concurrency is %d, at least 1 is needed", o.Concurrency)
	case o.Prefetch < 0:
		return fault.New(fault.Invalid, "Prefetch is %d; it is a number of tasks, or queue.NoPrefetch", o.Prefetch)
	case o.ShutdownTimeout < 0:
		return fault.New(fault.Invalid, "ShutdownTimeout is %s", o.ShutdownTimeout)
	}
	return nil
}

// ID names this worker, and no other, in [Info].Holder and logs.
func (w *Worker) ID() string { return w.id }

// Stats tells what the worker has done and has in hand.
func (w *Worker) Stats() WorkerStats { return w.counters.read() }

// Health tells whether the worker gets through to its store.
func (w *Worker) Health() Health {
	h := w.health.read()
	h.Running = w.life.isRunning()
	return h
}
