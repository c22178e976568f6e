package queue

import (
	"context"
	"errors"
	"iter"

	"github.com/gobackplane/backplane/fault"
)

// Inspector is an operator's view of queues: what is in them, and what to do about it. It is safe for concurrent use.
// Where the transport offers no administration every call answers Unsupported.
type Inspector struct {
	admin Admin
	caps  Capabilities
}

// NewInspector makes an inspector; a nil backend is one without administration.
func NewInspector(b *Backend) *Inspector {
	if b == nil {
		return &Inspector{}
	}
	return &Inspector{admin: b.Admin, caps: b.Capabilities}
}

// Queues lists the names of all queues that hold a task, were configured, or have counters.
func (i *Inspector) Queues(ctx context.Context) ([]string, error) {
	const op = "queue: list queues"
	if err := i.ready(ctx, op); err != nil {
		return nil, err
	}
	names, err := i.admin.Queues(ctx)
	return names, fault.In(err, op, "")
}

// Stats counts one queue's tasks by state, and what has happened in it. An unknown queue is all zeros.
func (i *Inspector) Stats(ctx context.Context, queue string) (Stats, error) {
	return onQueue(ctx, i, "queue: stats", queue, func() (Stats, error) { return i.admin.Stats(ctx, queue) })
}

// Tasks goes through the tasks of one state, oldest first (scheduled: by run time), reading them page by page. Tasks
// that change state meanwhile may be missed or seen twice. An error is the last thing it yields.
func (i *Inspector) Tasks(ctx context.Context, queue string, state State) iter.Seq2[Info, error] {
	const op = "queue: list"
	return func(yield func(Info, error) bool) {
		list := List{Queue: queue, State: state}
		for {
			page, err := onQueue(ctx, i, op, queue, func() (Tasks, error) { return i.admin.List(ctx, list) })
			if err != nil {
				yield(Info{}, err)
				return
			}
			for _, task := range page.Tasks {
				if !yield(task, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			list.Cursor = page.Next
		}
	}
}

// Find shows one task in whatever state. NotFound when it is not there.
func (i *Inspector) Find(ctx context.Context, queue, id string) (Info, error) {
	return onQueue(ctx, i, "queue: find", queue, func() (Info, error) { return i.admin.Find(ctx, queue, id) })
}

// Remove deletes tasks that are not active. The error joins those of the single tasks, each with the task's ID as its
// subject: Conflict for an active one, NotFound for one that is not there. The others are removed all the same.
func (i *Inspector) Remove(ctx context.Context, queue string, ids ...string) error {
	return i.each(ctx, "queue: remove", queue, ids, func(ids []string) ([]error, error) { return i.admin.Remove(ctx, queue, ids) })
}

// Requeue makes dead, cancelled, completed (while kept) or scheduled tasks pending now; for all but scheduled ones
// attempts begin again. Errors are as with Remove; Conflict for a pending or active task.
func (i *Inspector) Requeue(ctx context.Context, queue string, ids ...string) error {
	return i.each(ctx, "queue: requeue", queue, ids, func(ids []string) ([]error, error) { return i.admin.Requeue(ctx, queue, ids) })
}

// Cancel makes scheduled and pending tasks cancelled. An active one's handler is told through its context within a third
// of the lease, and the task is cancelled unless it completes all the same. Errors are as with Remove; Conflict for a
// task that has ended.
func (i *Inspector) Cancel(ctx context.Context, queue string, ids ...string) error {
	return i.each(ctx, "queue: cancel", queue, ids, func(ids []string) ([]error, error) { return i.admin.Cancel(ctx, queue, ids) })
}

// Pause stops workers from getting the queue's tasks; those that run go on. It may be repeated.
func (i *Inspector) Pause(ctx context.Context, queue string) error {
	return i.do(ctx, "queue: pause", queue, func() error { return i.admin.Pause(ctx, queue) })
}

// Resume ends a pause. It may be repeated.
func (i *Inspector) Resume(ctx context.Context, queue string) error {
	return i.do(ctx, "queue: resume", queue, func() error { return i.admin.Resume(ctx, queue) })
}

// Configure sets the properties of a queue, for all nodes, from the next claims on. Invalid for a lease shorter than
// the transport's shortest.
//
// Do not make a lease shorter while tasks run that were claimed under a much longer one: their workers extend in the
// rhythm of the old one, and may find the lease lost. The task then runs again; what the first run settles is refused.
func (i *Inspector) Configure(ctx context.Context, queue string, p Properties) error {
	return i.do(ctx, "queue: configure", queue, func() error {
		if p.Lease != 0 && p.Lease < max(i.caps.MinLease, 1) {
			return fault.New(fault.Invalid, "the lease is %s, the transport's shortest is %s", p.Lease, i.caps.MinLease)
		}
		return i.admin.Configure(ctx, queue, p)
	})
}

// Properties tells the properties of a queue; the defaults where none were set.
func (i *Inspector) Properties(ctx context.Context, queue string) (Properties, error) {
	return onQueue(ctx, i, "queue: properties", queue, func() (Properties, error) { return i.admin.Properties(ctx, queue) })
}

func (i *Inspector) ready(ctx context.Context, op string) error {
	if i.admin == nil {
		return &fault.Error{Code: fault.Unsupported, Op: op, Message: "this transport offers no administration of queues"}
	}
	return fault.In(fault.FromContext(ctx), op, "")
}

func (i *Inspector) do(ctx context.Context, op, queue string, call func() error) error {
	_, err := onQueue(ctx, i, op, queue, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// onQueue makes one call about a queue whose name has been checked.
func onQueue[T any](ctx context.Context, i *Inspector, op, queue string, call func() (T, error)) (T, error) {
	var none T
	if err := i.ready(ctx, op); err != nil {
		return none, err
	}
	if err := checkQueue(queue, i.caps); err != nil {
		return none, fault.In(err, op, queue)
	}
	answer, err := call()
	return answer, fault.In(err, op, queue)
}

// each makes a call about tasks, in batches that the transport takes, and joins their errors.
func (i *Inspector) each(ctx context.Context, op, queue string, ids []string, call func([]string) ([]error, error)) error {
	var failures []error
	for len(ids) > 0 {
		n := len(ids)
		if over(n, i.caps.MaxBatch) {
			n = i.caps.MaxBatch
		}
		batch := ids[:n]
		ids = ids[n:]
		answers, err := onQueue(ctx, i, op, queue, func() ([]error, error) { return call(batch) })
		if err != nil {
			failures = append(failures, err)
			break
		}
		for j, answer := range answers {
			if answer != nil {
				failures = append(failures, fault.In(answer, op, batch[j]))
			}
		}
	}
	if len(failures) == 1 {
		return failures[0]
	}
	return errors.Join(failures...)
}
