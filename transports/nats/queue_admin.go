package nats

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// queueAdmin is what an operator asks; see [queue.Admin].
type queueAdmin struct{ d *queueDriver }

// begin checks what all calls about one queue have in common.
func (a *queueAdmin) begin(ctx context.Context, op, name string) error {
	if err := a.d.begin(ctx, op, name); err != nil {
		return err
	}
	return a.d.check.Name(op, name)
}

// Queues lists names, sorted.
func (a *queueAdmin) Queues(ctx context.Context) ([]string, error) {
	const op = "queue: list queues"
	d := a.d
	if err := d.begin(ctx, op, ""); err != nil {
		return nil, err
	}
	var names []string
	err := d.each(ctx, d.names.settings(">"), 0, 0, func(m kept) bool {
		if name, err := taskName(m.subject[len(d.names.settings("")):]); err == nil {
			names = append(names, name)
		}
		return true
	})
	if err != nil {
		return nil, d.core.fault(err, op, "")
	}
	slices.Sort(names)
	return names, nil
}

// Pause stops Claim from giving the queue's tasks.
func (a *queueAdmin) Pause(ctx context.Context, name string) error {
	return a.change(ctx, "queue: pause", name, func(s *setting) bool {
		was := s.Paused
		s.Paused = true
		return !was
	})
}

// Resume lets it again.
func (a *queueAdmin) Resume(ctx context.Context, name string) error {
	return a.change(ctx, "queue: resume", name, func(s *setting) bool {
		was := s.Paused
		s.Paused = false
		return was
	})
}

// Configure sets the properties.
func (a *queueAdmin) Configure(ctx context.Context, name string, p queue.Properties) error {
	const op = "queue: configure"
	if err := a.d.begin(ctx, op, name); err != nil {
		return err
	}
	if err := a.d.check.Properties(name, p); err != nil {
		return err
	}
	return a.change(ctx, op, name, func(s *setting) bool {
		s.LeaseMS = int64((p.Lease + time.Millisecond - 1) / time.Millisecond)
		return true
	})
}

func (a *queueAdmin) change(ctx context.Context, op, name string, change func(*setting) bool) error {
	if err := a.begin(ctx, op, name); err != nil {
		return err
	}
	return a.d.core.fault(a.d.changeSetting(ctx, taskToken(name), change), op, name)
}

// Properties tells them.
func (a *queueAdmin) Properties(ctx context.Context, name string) (queue.Properties, error) {
	const op = "queue: properties"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Properties{}, err
	}
	m, err := a.d.readOne(ctx, a.d.names.stream, wanted{Last: a.d.names.settings(taskToken(name))})
	if err != nil {
		return queue.Properties{}, a.d.core.fault(err, op, name)
	}
	s, err := readSetting(m)
	return queue.Properties{Lease: s.lease()}, a.d.core.fault(err, op, name)
}

// mostAtOnce bounds how many tasks one operation works on at once.
const mostAtOnce = 32

// sighting is a task as an operation finds it.
type sighting struct {
	queue, id string // tokens
	state     queue.State
	m         kept
	n         string // of a held one
	p         progress
	record    []byte
	task      queue.Task
}

// errMoved is the answer of an operation whose task has moved meanwhile; it looks again.
var errMoved = errors.New("the task has moved")

// operate does something to tasks by their ID, each with its own answer. Those with the same ID come one after the other.
func (a *queueAdmin) operate(ctx context.Context, op, name string, ids []string, do func(context.Context, *sighting) error) ([]error, error) {
	if err := a.begin(ctx, op, name); err != nil {
		return nil, err
	}
	if err := a.d.check.Batch(op, len(ids)); err != nil {
		return nil, err
	}
	errs := make([]error, len(ids))
	byID := map[string][]int{}
	for i, id := range ids {
		if errs[i] = a.d.check.ID(op, id); errs[i] == nil {
			byID[id] = append(byID[id], i)
		}
	}
	places := make(chan struct{}, mostAtOnce)
	var working sync.WaitGroup
	for id, indexes := range byID {
		places <- struct{}{}
		working.Go(func() {
			defer func() { <-places }()
			for _, i := range indexes {
				errs[i] = a.d.core.fault(a.operateOne(ctx, name, id, do), op, id)
			}
		})
	}
	working.Wait()
	for _, err := range errs {
		switch code := fault.CodeOf(err); code {
		case fault.Unavailable, fault.Canceled, fault.DeadlineExceeded, fault.Closed:
			return nil, err // nothing is known of some
		}
	}
	return errs, nil
}

func (a *queueAdmin) operateOne(ctx context.Context, name, id string, do func(context.Context, *sighting) error) error {
	for range enqueueTries {
		f, err := a.d.look(ctx, name, id)
		if err != nil {
			return err
		}
		if err := do(ctx, f); !errors.Is(err, errMoved) {
			return err
		}
	}
	return fault.New(fault.Unavailable, "the task is being changed all the time; try again")
}

// look finds a task in whatever state.
func (d *queueDriver) look(ctx context.Context, name, id string) (*sighting, error) {
	f := &sighting{queue: taskToken(name), id: taskToken(id)}
	both, err := d.read(ctx, d.names.stream, wanted{Last: d.names.heldOf(f.queue, f.id)}, wanted{Last: d.names.readyOf(f.queue, f.id)})
	if err != nil {
		return nil, err
	}
	if both[0].seq == 0 && both[1].seq == 0 { // it may have moved between the two
		if both[0], err = d.readOne(ctx, d.names.stream, wanted{Last: d.names.anyOf(f.queue, f.id)}); err != nil {
			return nil, err
		}
	}
	none := fault.New(fault.NotFound, "queue %q has no such task", name)
	if f.m = both[0]; f.m.seq == 0 {
		f.m = both[1]
	}
	if f.m.seq == 0 {
		return nil, none
	}
	place, ok := d.names.parse(f.m.subject)
	if f.state = queue.Pending; ok && !place.isRaw {
		f.n = place.n
		f.state, ok = taskState(place.kind)
	}
	if !ok {
		return nil, none
	}
	if f.p, f.record, err = readTaskRecord(f.m.data); err == nil {
		f.task, err = readTask(f.record, &f.p)
	}
	if err != nil {
		f.task = d.damaged(place)
	}
	if f.state == queue.Completed && !f.p.ends.IsZero() && !d.clock.now().Before(f.p.ends) {
		return nil, none
	}
	return f, nil
}

// leaving sets what a write needs to take a found task elsewhere.
func (d *queueDriver) leaving(f *sighting, w *write) {
	w.of = d.names.heldOf(f.queue, f.id)
	if f.state != queue.Pending {
		w.expected, w.purges = f.m.seq, d.names.held(f.queue, heldState[f.state], f.id, f.n)
	}
}

// carry makes a move, and clears away the ready messages that it leaves behind.
func (d *queueDriver) carry(ctx context.Context, f *sighting, w write) error {
	d.leaving(f, &w)
	answers, err := d.write(ctx, []write{w})
	switch {
	case err != nil:
		return err
	case answers[0].err != nil:
		return answers[0].err
	case answers[0].refused:
		return errMoved
	}
	for f.state == queue.Pending {
		m, err := d.readOne(ctx, d.names.stream, wanted{Last: d.names.readyOf(f.queue, f.id)})
		if err != nil || m.seq == 0 || m.seq > answers[0].seq {
			return nil // what is left is dropped when it is claimed
		}
		if err := d.remove(ctx, m.seq); err != nil {
			return nil
		}
	}
	return nil
}

// Remove deletes tasks that are not active.
func (a *queueAdmin) Remove(ctx context.Context, name string, ids []string) ([]error, error) {
	d := a.d
	return a.operate(ctx, "queue: remove", name, ids, func(ctx context.Context, f *sighting) error {
		if f.state == queue.Active {
			return fault.New(fault.Conflict, "the task is active; cancel it, or wait until it has ended")
		}
		if err := d.carry(ctx, f, d.tombstone(f.queue, f.id, d.nonces.next(), 0, f.task.CallerID)); err != nil {
			return err
		}
		if f.task.UniqueKey != "" {
			d.freeKey(ctx, f.queue, f.task.UniqueKey, f.p.hold)
		}
		if f.state == queue.Completed {
			return nil
		}
		return d.addTotals(ctx, tally{{f.queue, countRemoved, 1}})
	})
}

// Cancel makes tasks cancelled, or asks for it.
func (a *queueAdmin) Cancel(ctx context.Context, name string, ids []string) ([]error, error) {
	d := a.d
	return a.operate(ctx, "queue: cancel", name, ids, func(ctx context.Context, f *sighting) error {
		switch f.state {
		case queue.Active:
			return d.askToCancel(ctx, f)
		case queue.Pending, queue.Scheduled:
		default:
			return fault.New(fault.Conflict, "the task has ended: it is %s", f.state)
		}
		p := f.p
		if p.claim != "" {
			p.lost++
		}
		p.since, p.due, p.claim, p.worker, p.cancel = d.clock.now(), time.Time{}, "", "", false
		if err := d.carry(ctx, f, write{
			subject: d.names.held(f.queue, heldCancelled, f.id, d.nonces.next()), data: appendTaskRecord(nil, &p, f.record),
			at: lastPossible, target: d.names.nowhere(),
		}); err != nil {
			return err
		}
		if f.task.UniqueKey != "" {
			d.freeKey(ctx, f.queue, f.task.UniqueKey, p.hold)
		}
		return d.addTotals(ctx, tally{{f.queue, countCancelled, 1}})
	})
}

// askToCancel puts the request into the task's lease, which ends when it would have.
func (d *queueDriver) askToCancel(ctx context.Context, f *sighting) error {
	if f.p.cancel {
		return nil
	}
	n, p := d.nonces.next(), f.p
	p.cancel = true
	return d.carry(ctx, f, write{
		subject: d.names.held(f.queue, heldLease, f.id, n), data: appendTaskRecord(nil, &p, f.record),
		at: p.ends, target: d.names.ready(f.queue, laneOf(f.task.Priority, true), f.id, n),
	})
}

// Requeue makes tasks pending now.
func (a *queueAdmin) Requeue(ctx context.Context, name string, ids []string) ([]error, error) {
	d := a.d
	return a.operate(ctx, "queue: requeue", name, ids, func(ctx context.Context, f *sighting) error {
		if f.state == queue.Pending || f.state == queue.Active {
			return fault.New(fault.Conflict, "the task is %s", f.state)
		}
		p := f.p
		p.since, p.due, p.ends, p.result = d.clock.now(), d.clock.now(), time.Time{}, nil
		w := write{subject: d.names.ready(f.queue, laneOf(f.task.Priority, false), f.id, d.nonces.next())}
		if f.state != queue.Scheduled {
			p.attempts, p.lost = 0, 0
			if f.task.UniqueKey != "" {
				return d.reopen(ctx, f, w, p)
			}
		}
		w.data = appendTaskRecord(nil, &p, f.record)
		if err := d.carry(ctx, f, w); err != nil {
			return err
		}
		return d.countReopened(ctx, f)
	})
}

// countReopened notes that a task which counts as completed is there again.
func (d *queueDriver) countReopened(ctx context.Context, f *sighting) error {
	if f.state != queue.Completed {
		return nil
	}
	return d.addTotals(ctx, tally{{f.queue, countReopened, 1}})
}

// reopen makes an ended task pending together with taking its unique key again.
func (d *queueDriver) reopen(ctx context.Context, f *sighting, w write, p progress) error {
	holder, seq, err := d.keyHolder(ctx, f.queue, f.task.UniqueKey)
	if err != nil {
		return err
	}
	if holder != "" {
		return fault.New(fault.Conflict, "its unique key is held by task %q by now", holder)
	}
	p.hold = d.nonces.next()
	w.data = appendTaskRecord(nil, &p, f.record)
	d.leaving(f, &w)
	answer, err := d.writeBatch(ctx, d.keyWrite(f.queue, &f.task, p.hold, seq), w)
	switch {
	case err != nil:
		return err
	case answer.err != nil:
		return answer.err
	case answer.refused:
		return errMoved
	}
	return d.countReopened(ctx, f)
}
