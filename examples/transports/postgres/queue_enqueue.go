package postgres

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/queue"
)

// Enqueue stores tasks, one INSERT for all of them; see sql/queue.sql for those that need more.
func (d *tasks) Enqueue(ctx context.Context, all []queue.Task) ([]queue.Receipt, error) {
	const op = "queue: enqueue"
	if err := d.begin(ctx, op, len(all)); err != nil {
		return nil, err
	}
	receipts := make([]queue.Receipt, len(all))
	order := make([]int, 0, len(all))
	for i := range all {
		receipts[i] = queue.Receipt{ID: all[i].ID, Err: checkTask(&all[i])}
		if receipts[i].Err == nil {
			order = append(order, i)
		}
	}
	for part := range parts(order, func(i int) int { return len(all[i].Payload) + headerSize(all[i].Headers) + 512 }) {
		if err := d.enqueue(ctx, all, part, receipts); err != nil {
			return nil, d.t.fault(err, op, "")
		}
	}
	return receipts, nil
}

func (d *tasks) enqueue(ctx context.Context, all []queue.Task, part []int, receipts []queue.Receipt) error {
	var names [][]byte
	numbers := map[string]int32{}
	special := false
	for _, i := range part {
		t := &all[i]
		special = special || t.CallerID || t.UniqueKey != ""
		if numbers[t.Queue] == 0 {
			names = append(names, []byte(t.Queue))
			numbers[t.Queue] = int32(len(names))
		}
	}
	bodies := pick(part, func(i int) []byte { return encodeTask(&all[i]) })
	sizes := make([]int32, len(bodies))
	for n, body := range bodies {
		sizes[n] = int32(len(body))
	}
	args := []any{
		d.t.ns, names,
		pick(part, func(i int) int32 { return numbers[all[i].Queue] }),
		pick(part, func(i int) []byte { return []byte(all[i].ID) }),
		bodies, sizes,
		pick(part, func(i int) int16 { return int16(-all[i].Priority) }),
		pick(part, func(i int) *time.Time { return dueOf(all[i].RunAt) }),
		pick(part, func(i int) int32 { return int32(min(all[i].MaxLost, 1<<30)) }),
		pick(part, func(i int) *int64 { return span0(all[i].Retention) }),
		pick(part, func(i int) bool { return all[i].CallerID }),
		pick(part, func(i int) []byte { return nullable(all[i].UniqueKey) }),
		pick(part, func(i int) *int64 { return span0(all[i].UniqueFor) }),
		special, d.t.receiver.channels.wake,
	}
	var i int
	var stands []byte
	const sql = "SELECT * FROM queue_enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
	return d.t.store.rows(ctx, sql, args, []any{&i, &stands}, func() error {
		r := &receipts[part[i-1]]
		r.ID, r.Duplicate = string(stands), true
		return nil
	})
}

// dueOf is a run time as the store has it: rounded up to a microsecond, nil for one that has long passed, and within what
// a timestamp can be.
func dueOf(at time.Time) *time.Time {
	if at.Year() < 1970 {
		return nil
	}
	if at.Year() > 200_000 {
		at = time.Date(200_000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	due := at.Round(0).Truncate(time.Microsecond)
	if due.Before(at) {
		due = due.Add(time.Microsecond)
	}
	return &due
}

// span0 is a duration as the store has it; nil for 0.
func span0(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	n := micros(d)
	return &n
}

func nullable(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
