package redis

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

var (
	statsScript   = newScript("queue_stats", "when_full", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_stats")
	removeScript  = newScript("queue_remove", "when_full", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_where", "queue_remove")
	requeueScript = newScript("queue_requeue", "when_full", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_wake", "queue_where", "queue_requeue")
	cancelScript  = newScript("queue_cancel", "when_full", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_where", "queue_cancel")
	resumeScript  = newScript("queue_resume", "queue_keys", "queue_wake", "queue_resume")
)

// queueAdmin is what an operator asks; see [queue.Admin]. Remove, Requeue and Cancel cost as much as there are active
// tasks in the queue when they are given pending or active ones: a lease is found by its token alone.
type queueAdmin struct{ d *queueDriver }

// Queues lists names, sorted.
func (a *queueAdmin) Queues(ctx context.Context) ([]string, error) {
	const op = "queue: list queues"
	if err := fault.FromContext(ctx); err != nil {
		return nil, a.d.t.fault(err, op, "")
	}
	cmd := redis.NewStringSliceCmd(ctx, "smembers", a.d.prefix[0]+"queues")
	if err := a.d.runPlain(ctx, op, "", cmd); err != nil {
		return nil, err
	}
	names := cmd.Val()
	slices.Sort(names)
	return names, nil
}

// begin checks what all calls about one queue have in common.
func (a *queueAdmin) begin(ctx context.Context, op, name string) error {
	if err := fault.FromContext(ctx); err != nil {
		return a.d.t.fault(err, op, name)
	}
	return a.d.check.Name(op, name)
}

// Stats counts one queue.
func (a *queueAdmin) Stats(ctx context.Context, name string) (queue.Stats, error) {
	const op = "queue: stats"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Stats{}, err
	}
	reply, err := a.d.run(ctx, a.d.t.lane, op, name, statsScript.cmd(ctx, a.d.prefix, name))
	if err != nil {
		return queue.Stats{}, err
	}
	if len(reply) < 9 {
		return queue.Stats{}, a.d.t.fault(fault.New(fault.Internal, "the reply of the stats script cannot be read"), op, name)
	}
	stats := queue.Stats{
		Queue: name, Paused: number(reply[1]) == 1,
		Pending: number(reply[2]), Scheduled: number(reply[3]), Active: number(reply[4]),
		Completed: number(reply[5]), Dead: number(reply[6]), Cancelled: number(reply[7]),
	}
	var next queue.Task
	if storedAt, err := readRecord(text(reply[8]), &next); err == nil { // a damaged one is told of by List
		stats.OldestPending = max(0, time.UnixMilli(number(reply[0])).Sub(storedAt))
	}
	totals := map[string]*int64{
		"enqueued": &stats.Totals.Enqueued, "duplicates": &stats.Totals.Duplicates, "completed": &stats.Totals.Completed,
		"retried": &stats.Totals.Retried, "snoozed": &stats.Totals.Snoozed, "released": &stats.Totals.Released,
		"dead": &stats.Totals.Dead, "cancelled": &stats.Totals.Cancelled, "lost": &stats.Totals.Lost, "stale": &stats.Totals.Stale,
	}
	for i := 9; i+1 < len(reply); i += 2 {
		if total := totals[text(reply[i])]; total != nil {
			*total, _ = strconv.ParseInt(text(reply[i+1]), 10, 64)
		}
	}
	return stats, nil
}

// Remove deletes tasks that are not active.
func (a *queueAdmin) Remove(ctx context.Context, name string, ids []string) ([]error, error) {
	return a.each(ctx, "queue: remove", removeScript, name, ids, []any{name, queueCapabilities.IDMemory.Milliseconds()},
		"the task is active; cancel it, or wait until it has ended")
}

// Requeue makes tasks pending now.
func (a *queueAdmin) Requeue(ctx context.Context, name string, ids []string) ([]error, error) {
	return a.each(ctx, "queue: requeue", requeueScript, name, ids, []any{name}, "the task is pending or active")
}

// Cancel makes tasks cancelled, or asks for it.
func (a *queueAdmin) Cancel(ctx context.Context, name string, ids []string) ([]error, error) {
	return a.each(ctx, "queue: cancel", cancelScript, name, ids, []any{name}, "the task has ended")
}

// each runs a script that answers 1, 0 (not there) or 2 (in the wrong state) for every task.
func (a *queueAdmin) each(ctx context.Context, op string, s *script, name string, ids []string, args []any, conflict string) ([]error, error) {
	if err := a.begin(ctx, op, name); err != nil {
		return nil, err
	}
	if err := a.d.check.Batch(op, len(ids)); err != nil {
		return nil, err
	}
	errs := make([]error, len(ids))
	var order []int
	for i, id := range ids {
		if errs[i] = a.d.check.ID(op, id); errs[i] == nil {
			order = append(order, i)
			args = append(args, taskKey(id))
		}
	}
	if len(order) == 0 {
		return errs, nil
	}
	reply, err := a.d.run(ctx, a.d.t.lane, op, name, s.cmd(ctx, a.d.prefix, args...))
	if err != nil {
		return nil, err
	}
	if len(reply) != len(order) {
		return nil, a.d.t.fault(fault.New(fault.Internal, "the script answered for %d tasks of %d", len(reply), len(order)), op, name)
	}
	for at, i := range order {
		var f *fault.Error
		switch answer := reply[at].(type) {
		case string:
			holder, _ := taskID(answer) // a damaged name is left out
			f = fault.New(fault.Conflict, "its unique key is held by task %q by now", holder)
		case int64:
			switch answer {
			case 0:
				f = fault.New(fault.NotFound, "queue %q has no such task", name)
			case 2:
				f = fault.New(fault.Conflict, "%s", conflict)
			}
		}
		if f != nil {
			errs[i] = a.d.t.fault(f, op, ids[i])
		}
	}
	return errs, nil
}

// Pause stops Claim from giving the queue's tasks.
func (a *queueAdmin) Pause(ctx context.Context, name string) error {
	const op = "queue: pause"
	return a.set(ctx, op, name, "paused", 1)
}

// Resume lets it again, and wakes waiting workers.
func (a *queueAdmin) Resume(ctx context.Context, name string) error {
	const op = "queue: resume"
	if err := a.begin(ctx, op, name); err != nil {
		return err
	}
	cmd := resumeScript.cmd(ctx, a.d.prefix, name)
	return a.d.runPlain(ctx, op, name, cmd)
}

// Configure sets the properties.
func (a *queueAdmin) Configure(ctx context.Context, name string, p queue.Properties) error {
	const op = "queue: configure"
	if err := a.begin(ctx, op, name); err != nil {
		return err
	}
	if err := a.d.check.Properties(name, p); err != nil {
		return err
	}
	if p.Lease == 0 {
		p.Lease = queue.DefaultLease
	}
	return a.set(ctx, op, name, "lease", millis(p.Lease))
}

// Properties tells them.
func (a *queueAdmin) Properties(ctx context.Context, name string) (queue.Properties, error) {
	const op = "queue: properties"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Properties{}, err
	}
	cmd := redis.NewStringCmd(ctx, "hget", a.d.key("q", name), "lease")
	if err := a.d.runPlain(ctx, op, name, cmd); err != nil {
		return queue.Properties{}, err
	}
	if cmd.Val() == "" {
		return queue.Properties{Lease: queue.DefaultLease}, nil
	}
	ms, err := strconv.ParseInt(cmd.Val(), 10, 64)
	if err != nil {
		return queue.Properties{}, a.d.t.fault(corrupt("its lease cannot be read: %w", err), op, name)
	}
	return queue.Properties{Lease: time.Duration(ms) * time.Millisecond}, nil
}

// set writes one property of a queue, which makes the queue known.
func (a *queueAdmin) set(ctx context.Context, op, name, field string, value any) error {
	if err := a.begin(ctx, op, name); err != nil {
		return err
	}
	return a.d.runPlain(ctx, op, name,
		redis.NewIntCmd(ctx, "sadd", a.d.prefix[0]+"queues", name),
		redis.NewIntCmd(ctx, "hset", a.d.key("q", name), field, value))
}
