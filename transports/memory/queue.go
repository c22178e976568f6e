package memory

import (
	"bytes"
	"context"
	"maps"
	"time"

	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

var queueCapabilities = queue.Capabilities{
	MaxPayload:  1 << 20,
	MaxBatch:    10_000,
	MaxClaim:    1000,
	MaxName:     512,
	MinLease:    time.Millisecond,
	Granularity: time.Nanosecond,
	Lateness:    100 * time.Millisecond, // a waiting claim has a timer; this is for a machine that is busy
	IDMemory:    idMemory,
	MaxPriority: 9,
}

func (t *Transport) queueBackend() *queue.Backend {
	d := &queueDriver{
		node: t, tasks: t.space.tasks,
		check: limits.Queue{Transport: Kind, Capabilities: queueCapabilities},
	}
	return &queue.Backend{Driver: d, Admin: admin{d}, Capabilities: queueCapabilities}
}

// queueDriver is one node's queue.Driver.
type queueDriver struct {
	node  *Transport
	tasks *tasks
	check limits.Queue
}

// begin refuses a call as a whole.
func (d *queueDriver) begin(ctx context.Context, op string, n int) error {
	if err := d.node.ready(ctx, op, ""); err != nil {
		return err
	}
	return d.check.Batch(op, n)
}

func (d *queueDriver) Enqueue(ctx context.Context, all []queue.Task) ([]queue.Receipt, error) {
	if err := d.begin(ctx, "queue: enqueue", len(all)); err != nil {
		return nil, err
	}
	receipts := make([]queue.Receipt, len(all))
	accepted := make([]*task, len(all))
	for i := range all {
		receipts[i].ID = all[i].ID
		if receipts[i].Err = d.check.Task(&all[i]); receipts[i].Err == nil {
			accepted[i] = &task{Task: stored(all[i]), ends: never}
		}
	}
	now := d.tasks.begin()
	defer d.tasks.mu.Unlock()
	for i, t := range accepted {
		if t != nil {
			receipts[i] = d.tasks.enqueue(t, now)
		}
	}
	return receipts, nil
}

// stored is a task as it is kept: a copy, with nothing that happened so far.
func stored(t queue.Task) queue.Task {
	t = detached(t)
	t.Attempts, t.Lost, t.LastError = 0, 0, ""
	// Times come back as they would from any other store: without the monotonic part.
	t.EnqueuedAt, t.RunAt, t.Deadline = t.EnqueuedAt.Round(0), t.RunAt.Round(0), t.Deadline.Round(0)
	return t
}

// detached is a task that shares no bytes with t.
func detached(t queue.Task) queue.Task {
	t.Payload = bytes.Clone(t.Payload)
	t.Headers = maps.Clone(t.Headers)
	return t
}

func (s *tasks) enqueue(t *task, now instant) queue.Receipt {
	l := s.line(t.Queue)
	l.forget(now, swept(1))
	if other, taken := l.standing(t, now); taken {
		l.totals.Duplicates++
		return queue.Receipt{ID: other, Duplicate: true}
	}
	due := l.due()
	l.hold(t, now)
	l.all[t.ID] = t
	t.accepted = now
	l.schedule(t, now)
	l.totals.Enqueued++
	if t.state == queue.Pending || t.place.at < due {
		s.waiters.wake(l.name)
	}
	return queue.Receipt{ID: t.ID}
}

// standing is the ID of the task that stands in the way of a new one.
func (l *line) standing(t *task, now instant) (id string, taken bool) {
	if l.find(t.ID, now) != nil || t.CallerID && l.gone.get(t.ID, now) != nil {
		return t.ID, true
	}
	if t.UniqueKey != "" {
		if holder := l.unique.get(t.UniqueKey, now); holder != nil {
			return holder.value.ID, true
		}
	}
	return "", false
}
