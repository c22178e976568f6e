package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// admin is the queue.Admin of one node.
type admin struct{ *tasks }

// begin refuses a call about one queue as a whole.
func (a admin) begin(ctx context.Context, op, name string) error {
	if err := a.t.ready(ctx, op, name); err != nil {
		return err
	}
	return checkQueue(op, name)
}

const usedQueues = `SELECT name FROM queue k WHERE ns = $1 AND (paused OR lease IS NOT NULL OR EXISTS (
  SELECT FROM tally WHERE q = k.id AND (all_enqueued, all_duplicates, all_stale) <> (0, 0, 0))) ORDER BY name`

// Queues lists the queues that were used.
func (a admin) Queues(ctx context.Context) ([]string, error) {
	const op = "queue: queues"
	if err := a.t.ready(ctx, op, ""); err != nil {
		return nil, err
	}
	var names []string
	var name []byte
	err := a.t.store.rows(ctx, usedQueues, []any{a.t.ns}, []any{&name}, func() error {
		names = append(names, string(name))
		return nil
	})
	if err != nil {
		return nil, a.t.fault(err, op, "")
	}
	return names, nil
}

// Stats sums the queue's counts up.
func (a admin) Stats(ctx context.Context, name string) (queue.Stats, error) {
	const op = "queue: stats"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Stats{}, err
	}
	stats := queue.Stats{Queue: name}
	var oldest int64
	var counts []*int64
	err := a.t.store.row(ctx, "SELECT * FROM queue_stats($1, $2)", []any{a.t.ns, []byte(name)}, &stats.Paused, &oldest, &counts)
	if errors.Is(err, pgx.ErrNoRows) {
		return queue.Stats{Queue: name}, nil
	}
	if err != nil {
		return queue.Stats{}, a.t.fault(err, op, name)
	}
	stats.OldestPending = time.Duration(oldest) * time.Microsecond
	t := &stats.Totals
	for i, into := range []*int64{
		&stats.Pending, &stats.Scheduled, &stats.Active, &stats.Completed, &stats.Dead, &stats.Cancelled,
		&t.Enqueued, &t.Duplicates, &t.Completed, &t.Retried, &t.Snoozed, &t.Released, &t.Dead, &t.Cancelled, &t.Lost, &t.Stale,
	} {
		if i < len(counts) && counts[i] != nil {
			*into = *counts[i]
		}
	}
	return stats, nil
}

// each does something to tasks of one queue by ID, by a function of sql/queue_admin.sql.
func (a admin) each(ctx context.Context, op, sql, name string, ids []string, more ...any) ([]error, error) {
	if err := a.begin(ctx, op, name); err != nil {
		return nil, err
	}
	if err := (check{op: op}).batch(len(ids), queueCapabilities.MaxBatch); err != nil {
		return nil, err
	}
	errs := make([]error, len(ids))
	for i, id := range ids {
		errs[i] = check{op, id}.name("task's ID", id, queueCapabilities.MaxName)
	}
	order := inOrder(len(ids), func(i int) bool { return errs[i] != nil }, func(i int) string { return ids[i] })
	var i, code int
	var state *int16
	var other []byte
	args := append([]any{a.t.ns, []byte(name), pick(order, func(i int) []byte { return []byte(ids[i]) })}, more...)
	err := a.t.store.rows(ctx, sql, args, []any{&i, &code, &state, &other}, func() error {
		id := ids[order[i-1]]
		at := check{op, id}
		switch {
		case code == codeAbsent:
			errs[order[i-1]] = at.refuse(fault.NotFound, "there is no such task in queue %q", name)
		case other != nil:
			errs[order[i-1]] = at.refuse(fault.Conflict, "task %q holds its unique key by now; remove or cancel that one", other)
		default:
			errs[order[i-1]] = at.refuse(fault.Conflict, "the task is %s, and this cannot be done to it then", stateOf(*state))
		}
		return nil
	})
	if err != nil {
		return nil, a.t.fault(err, op, name)
	}
	return errs, nil
}

// Remove deletes tasks.
func (a admin) Remove(ctx context.Context, name string, ids []string) ([]error, error) {
	return a.each(ctx, "queue: remove", "SELECT * FROM queue_remove($1, $2, $3)", name, ids)
}

// Requeue makes tasks pending.
func (a admin) Requeue(ctx context.Context, name string, ids []string) ([]error, error) {
	return a.each(ctx, "queue: requeue", "SELECT * FROM queue_requeue($1, $2, $3, $4)", name, ids, a.t.receiver.channels.wake)
}

// Cancel ends tasks, or asks for it.
func (a admin) Cancel(ctx context.Context, name string, ids []string) ([]error, error) {
	return a.each(ctx, "queue: cancel", "SELECT * FROM queue_cancel($1, $2, $3)", name, ids)
}

// Pause stops claims of the queue.
func (a admin) Pause(ctx context.Context, name string) error {
	return a.pause(ctx, "queue: pause", name, true)
}

// Resume lets them go on.
func (a admin) Resume(ctx context.Context, name string) error {
	return a.pause(ctx, "queue: resume", name, false)
}

func (a admin) pause(ctx context.Context, op, name string, paused bool) error {
	if err := a.begin(ctx, op, name); err != nil {
		return err
	}
	err := a.t.store.exec(ctx, "SELECT queue_pause($1, $2, $3, $4)", a.t.ns, []byte(name), paused, a.t.receiver.channels.wake)
	return a.t.fault(err, op, name)
}

// Configure sets the queue's properties.
func (a admin) Configure(ctx context.Context, name string, p queue.Properties) error {
	const op = "queue: configure"
	if err := a.begin(ctx, op, name); err != nil {
		return err
	}
	if p.Lease == 0 {
		p.Lease = queue.DefaultLease
	}
	if err := (check{op, name}).term("lease", p.Lease, queueCapabilities.MinLease); err != nil {
		return err
	}
	const sql = `INSERT INTO queue (ns, name, lease) VALUES ($1, $2, $3) ON CONFLICT (ns, name) DO UPDATE SET lease = excluded.lease`
	return a.t.fault(a.t.store.exec(ctx, sql, a.t.ns, []byte(name), micros(p.Lease)), op, name)
}

// Properties tells them.
func (a admin) Properties(ctx context.Context, name string) (queue.Properties, error) {
	const op = "queue: properties"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Properties{}, err
	}
	var lease *int64
	err := a.t.store.row(ctx, "SELECT lease FROM queue WHERE ns = $1 AND name = $2", []any{a.t.ns, []byte(name)}, &lease)
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && lease == nil:
		return queue.Properties{Lease: queue.DefaultLease}, nil
	case err != nil:
		return queue.Properties{}, a.t.fault(err, op, name)
	}
	return queue.Properties{Lease: time.Duration(*lease) * time.Microsecond}, nil
}

// states, by their numbers in the store.
var states = []queue.State{queue.Scheduled, queue.Pending, queue.Active, queue.Completed, queue.DeadLetter, queue.Cancelled}

func stateOf(n int16) queue.State {
	if n < 0 || int(n) >= len(states) {
		return queue.State(fmt.Sprintf("in state %d", n))
	}
	return states[n]
}
