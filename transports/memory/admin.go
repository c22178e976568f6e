package memory

import (
	"context"
	"slices"
	"time"

	"github.com/gobackplane/backplane/queue"
)

// admin is one node's queue.Admin.
type admin struct{ *queueDriver }

// begin refuses a call about one queue as a whole.
func (a admin) begin(ctx context.Context, op, name string) error {
	if err := a.node.ready(ctx, op, name); err != nil {
		return err
	}
	return a.check.Name(op, name)
}

func (a admin) Queues(ctx context.Context) ([]string, error) {
	if err := a.node.ready(ctx, "queue: queues", ""); err != nil {
		return nil, err
	}
	a.tasks.begin()
	defer a.tasks.mu.Unlock()
	var names []string
	for name, l := range a.tasks.lines {
		if l.used() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (a admin) Stats(ctx context.Context, name string) (queue.Stats, error) {
	if err := a.begin(ctx, "queue: stats", name); err != nil {
		return queue.Stats{}, err
	}
	now := a.tasks.begin()
	defer a.tasks.mu.Unlock()
	l := a.tasks.lines[name]
	if l == nil {
		return queue.Stats{Queue: name}, nil
	}
	l.forget(now, moved)
	count := func(s queue.State) int64 { return int64(l.states[s].size) }
	return queue.Stats{
		Queue: name, Paused: l.paused,
		Pending: count(queue.Pending), Scheduled: count(queue.Scheduled), Active: count(queue.Active),
		Completed: count(queue.Completed), Dead: count(queue.DeadLetter), Cancelled: count(queue.Cancelled),
		OldestPending: l.oldest(now), Totals: l.totals,
	}, nil
}

// oldest is how long the task that is next in line has waited since it was enqueued.
func (l *line) oldest(now instant) time.Duration {
	t, found := l.states[queue.Pending].first()
	if !found {
		return 0
	}
	return max(0, t.accepted.until(now))
}

func (a admin) Pause(ctx context.Context, name string) error {
	if err := a.begin(ctx, "queue: pause", name); err != nil {
		return err
	}
	a.tasks.begin()
	defer a.tasks.mu.Unlock()
	a.tasks.line(name).paused = true
	return nil
}

func (a admin) Resume(ctx context.Context, name string) error {
	if err := a.begin(ctx, "queue: resume", name); err != nil {
		return err
	}
	a.tasks.begin()
	defer a.tasks.mu.Unlock()
	if l := a.tasks.lines[name]; l != nil {
		l.paused = false
		a.tasks.waiters.wake(name)
	}
	return nil
}

func (a admin) Configure(ctx context.Context, name string, p queue.Properties) error {
	const op = "queue: configure"
	if err := a.node.ready(ctx, op, name); err != nil {
		return err
	}
	if err := a.check.Properties(name, p); err != nil {
		return err
	}
	if p.Lease == 0 {
		p.Lease = queue.DefaultLease
	}
	a.tasks.begin()
	defer a.tasks.mu.Unlock()
	l := a.tasks.line(name)
	l.lease, l.set = p.Lease, true
	return nil
}

func (a admin) Properties(ctx context.Context, name string) (queue.Properties, error) {
	if err := a.begin(ctx, "queue: properties", name); err != nil {
		return queue.Properties{}, err
	}
	a.tasks.begin()
	defer a.tasks.mu.Unlock()
	if l := a.tasks.lines[name]; l != nil {
		return queue.Properties{Lease: l.lease}, nil
	}
	return queue.Properties{Lease: queue.DefaultLease}, nil
}

// each does something to tasks of one queue by ID, each with its own error.
func (a admin) each(ctx context.Context, op, name string, ids []string, do func(*line, *task, instant) error) ([]error, error) {
	if err := a.begin(ctx, op, name); err != nil {
		return nil, err
	}
	if err := a.check.Batch(op, len(ids)); err != nil {
		return nil, err
	}
	errs := make([]error, len(ids))
	now := a.tasks.begin()
	defer a.tasks.mu.Unlock()
	l := a.tasks.lines[name]
	for i, id := range ids {
		if errs[i] = a.check.ID(op, id); errs[i] != nil {
			continue
		}
		if t := l.find(id, now); t != nil {
			errs[i] = do(l, t, now)
		} else {
			errs[i] = absent(op, id, "task in queue "+name)
		}
	}
	return errs, nil
}

func (a admin) Remove(ctx context.Context, name string, ids []string) ([]error, error) {
	const op = "queue: remove"
	return a.each(ctx, op, name, ids, func(l *line, t *task, now instant) error {
		if t.state == queue.Active {
			return conflict(op, t.ID, "the task is active; cancel it, and remove it when it has ended")
		}
		l.drop(t, now)
		return nil
	})
}

func (a admin) Requeue(ctx context.Context, name string, ids []string) ([]error, error) {
	const op = "queue: requeue"
	return a.each(ctx, op, name, ids, func(l *line, t *task, now instant) error {
		switch t.state {
		case queue.Pending, queue.Active:
			return conflict(op, t.ID, "the task is %s already", t.state)
		case queue.Scheduled:
		default:
			if !l.hold(t, now) {
				return conflict(op, t.ID, "another task holds the unique key %q", t.UniqueKey)
			}
			t.Attempts, t.Lost = 0, 0
		}
		l.leave(t)
		t.RunAt = now.time()
		l.queue(t, now)
		a.tasks.waiters.wake(name)
		return nil
	})
}

func (a admin) Cancel(ctx context.Context, name string, ids []string) ([]error, error) {
	const op = "queue: cancel"
	return a.each(ctx, op, name, ids, func(l *line, t *task, now instant) error {
		switch t.state {
		case queue.Scheduled, queue.Pending:
			l.end(t, queue.Cancelled, now)
		case queue.Active:
			t.cancel = true
		default:
			return conflict(op, t.ID, "the task has ended: it is %s", t.state)
		}
		return nil
	})
}
