package nats

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// enqueueTries is how often a task is sent that finds a tombstone, or others who want the same.
const enqueueTries = 20

// Enqueue stores tasks; see [queue.Driver]. A task with a unique key takes two messages that are stored together or not
// at all, which is slow; all others go at once.
func (d *queueDriver) Enqueue(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
	const op = "queue: enqueue"
	if err := d.begin(ctx, op, ""); err != nil {
		return nil, err
	}
	if err := d.check.Batch(op, len(tasks)); err != nil {
		return nil, err
	}
	receipts := make([]queue.Receipt, len(tasks))
	arrivals := make([]*arrival, 0, len(tasks))
	for i := range tasks {
		t := &tasks[i]
		receipts[i].ID = t.ID
		if receipts[i].Err = d.check.Task(t); receipts[i].Err != nil {
			continue
		}
		a := d.arrival(t, &receipts[i])
		if len(a.record) > 2*d.caps.MaxPayload+frameSize/2 {
			receipts[i].Err = d.core.fault(fault.New(fault.TooLarge, "its headers are too many for one message; use fewer"), op, t.ID)
			continue
		}
		arrivals = append(arrivals, a)
	}
	var duplicates tally
	arrivals, err := d.admit(ctx, arrivals)
	if err == nil {
		err = d.enqueue(ctx, arrivals)
	}
	for _, a := range arrivals {
		if a.receipt.Duplicate {
			duplicates.add(a.queue, countDuplicates, 1)
		}
	}
	if err == nil {
		err = d.addTotals(ctx, duplicates)
	}
	if err != nil {
		return nil, d.core.fault(err, op, tasks[0].Queue)
	}
	return receipts, nil
}

// arrival is a task on its way in.
type arrival struct {
	task      *queue.Task
	receipt   *queue.Receipt
	queue, id string // tokens
	record    []byte
	runAt     time.Time // zero: now
}

func (d *queueDriver) arrival(t *queue.Task, r *queue.Receipt) *arrival {
	a := &arrival{task: t, receipt: r, queue: taskToken(t.Queue), id: taskToken(t.ID)}
	a.record = appendTask(make([]byte, 0, 96+len(t.Queue)+len(t.ID)+len(t.Kind)+len(t.UniqueKey)+len(t.Payload)+32*len(t.Headers)), t)
	if t.RunAt.After(d.clock.now()) {
		a.runAt = t.RunAt
	}
	return a
}

// enqueue stores tasks in order: runs of those without a unique key together, the others one by one.
func (d *queueDriver) enqueue(ctx context.Context, all []*arrival) error {
	for _, a := range all {
		if err := d.ensureLevel(ctx, a.queue, a.task.Priority); err != nil {
			return err
		}
	}
	for len(all) > 0 {
		n := 0
		for n < len(all) && all[n].task.UniqueKey == "" {
			n++
		}
		if n > 0 {
			if err := d.enqueuePlain(ctx, all[:n]); err != nil {
				return err
			}
			all = all[n:]
			continue
		}
		if err := d.enqueueUnique(ctx, all[0]); err != nil {
			return err
		}
		all = all[1:]
	}
	return nil
}

func (d *queueDriver) enqueuePlain(ctx context.Context, all []*arrival) error {
	// The server brings what falls due at the same time in the order in which it was stored.
	if len(all) > 1 {
		all = slices.Clone(all)
	}
	slices.SortStableFunc(all, func(a, b *arrival) int { return cmp.Compare(a.runAt.UnixNano(), b.runAt.UnixNano()) })
	for try := 0; len(all) > 0; try++ {
		if try == enqueueTries {
			return fault.New(fault.Unavailable, "tasks with the same IDs come and go all the time; try again")
		}
		writes := make([]write, len(all))
		for i, a := range all {
			writes[i] = d.entry(a, "")
		}
		answers, err := d.write(ctx, writes)
		if err != nil {
			return err
		}
		var refused []*arrival
		for i, answer := range answers {
			switch {
			case answer.err != nil:
				all[i].receipt.Err = d.core.fault(answer.err, "queue: enqueue", all[i].task.ID)
			case answer.refused:
				refused = append(refused, all[i])
			}
		}
		if all, err = d.refused(ctx, refused); err != nil {
			return err
		}
	}
	return nil
}

// entry is the write that stores a task. hold names its holding of a unique key.
func (d *queueDriver) entry(a *arrival, hold string) write {
	now, n := d.clock.now(), d.nonces.next()
	p := progress{since: now, stored: now, hold: hold}
	ready := d.names.ready(a.queue, laneOf(a.task.Priority, false), a.id, n)
	w := write{subject: ready, of: d.names.anyOf(a.queue, a.id)}
	if !a.runAt.IsZero() {
		w.subject, w.at, w.target = d.names.held(a.queue, heldScheduled, a.id, n), a.runAt, ready
	}
	w.data = appendTaskRecord(nil, &p, a.record)
	return w
}

// refused finds out why tasks were not stored. Those that were in the way of nothing but a tombstone, or of nothing any
// more, are given again; the others are duplicates.
func (d *queueDriver) refused(ctx context.Context, all []*arrival) (again []*arrival, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	asked := make([]wanted, len(all))
	for i, a := range all {
		asked[i].Last = d.names.anyOf(a.queue, a.id)
	}
	found, err := d.read(ctx, d.names.stream, asked...)
	if err != nil {
		return nil, err
	}
	var graves []uint64
	for i, a := range all {
		m := found[i]
		if m.seq == 0 {
			again = append(again, a)
			continue
		}
		if d.yields(m, a.task) {
			graves = append(graves, m.seq)
			again = append(again, a)
			continue
		}
		a.receipt.Duplicate = true
	}
	return again, d.remove(ctx, graves...)
}

// yields tells whether what the store has of a task's ID makes room for another task: a tombstone, unless it is there to
// remember the ID, and a completed task whose time is over.
func (d *queueDriver) yields(m kept, t *queue.Task) bool {
	place, ok := d.names.parse(m.subject)
	if !ok || place.isRaw {
		return false
	}
	p, _, err := readTaskRecord(m.data)
	switch {
	case err != nil:
		return false
	case place.kind == heldTombstone:
		return !(p.callerID && t.CallerID && d.clock.now().Before(p.since.Add(d.caps.IDMemory)))
	}
	return place.kind == heldCompleted && !p.ends.IsZero() && !d.clock.now().Before(p.ends)
}
