package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

func (d *queueDriver) Settle(ctx context.Context, batch queue.Settlements) ([]error, error) {
	const op = "queue: settle"
	if err := d.node.ready(ctx, op, batch.Worker); err != nil {
		return nil, err
	}
	if err := d.check.Settlements(batch); err != nil {
		return nil, err
	}
	s := d.tasks
	now := s.begin()
	defer s.mu.Unlock()
	if last := s.answers.get(batch.Worker, now); last != nil && batch.Number <= last.value.number {
		return last.value.repeat(batch)
	}
	errs := make([]error, len(batch.Items))
	for i := range batch.Items {
		each := &batch.Items[i]
		if errs[i] = d.check.Settlement(each); errs[i] == nil {
			errs[i] = s.settle(each, now)
		}
	}
	s.answers.put(batch.Worker, answer{batch.Number, slices.Clone(errs)}, now.in(answerMemory))
	return errs, nil
}

// repeat answers a batch that is not newer than the last.
func (a answer) repeat(batch queue.Settlements) ([]error, error) {
	switch {
	case batch.Number < a.number:
		return nil, conflict("queue: settle", batch.Worker, "batch %d is old: the last one was %d", batch.Number, a.number)
	case len(batch.Items) != len(a.errs):
		return nil, conflict("queue: settle", batch.Worker, "batch %d was another one, with %d settlements", a.number, len(a.errs))
	}
	return slices.Clone(a.errs), nil
}

func (s *tasks) settle(by *queue.Settlement, now instant) error {
	l := s.lines[by.Queue]
	t, err := l.leased("queue: settle", by.Ref)
	if err != nil {
		if l != nil {
			l.totals.Stale++
		}
		return err
	}
	switch by.Outcome {
	case queue.Retry, queue.Dead:
		t.Attempts++
		t.LastError = limits.CutError(by.Error)
	case queue.Snooze:
		t.LastError = cmp.Or(limits.CutError(by.Error), t.LastError)
	}
	switch {
	case by.Outcome == queue.Done:
		l.complete(t, by.Result, now)
	case t.cancel:
		l.end(t, queue.Cancelled, now)
	case by.Outcome == queue.Dead:
		l.end(t, queue.DeadLetter, now)
	default:
		l.giveBack(t, by, now)
		s.waiters.wake(l.name)
	}
	return nil
}

// leased is the task under the claim that ref names, or LeaseLost. A lease that is over and was not taken back by a
// Claim yet still counts: nobody else has the task, and refusing would only run it again.
func (l *line) leased(op string, ref queue.Ref) (*task, error) {
	if l != nil {
		if t := l.all[ref.ID]; t != nil && t.state == queue.Active && t.token == ref.Token {
			return t, nil
		}
	}
	return nil, &fault.Error{
		Code: fault.LeaseLost, Op: op, Subject: ref.ID, Transport: Kind,
		Message: "the claim has ended: the task was settled, or its lease was lost and it was given to another; nothing was changed",
	}
}

// complete ends a task well, and keeps it with its result where that is wanted.
func (l *line) complete(t *task, result []byte, now instant) {
	l.totals.Completed++
	if t.Retention == 0 {
		l.drop(t, now)
		return
	}
	l.leave(t)
	l.yield(t)
	t.ends, t.result = now.in(t.Retention), bytes.Clone(result)
	l.enter(t, queue.Completed, now)
}

// giveBack puts an active task where it will be claimed again.
func (l *line) giveBack(t *task, by *queue.Settlement, now instant) {
	l.leave(t)
	switch by.Outcome {
	case queue.Release:
		l.totals.Released++
		l.enter(t, queue.Pending, now) // at its old turn, before all that came after it
		return
	case queue.Retry:
		l.totals.Retried++
	case queue.Snooze:
		l.totals.Snoozed++
	}
	t.RunAt = now.in(by.Delay).time()
	l.schedule(t, now)
}

func (d *queueDriver) Extend(ctx context.Context, refs []queue.Ref) ([]error, error) {
	const op = "queue: extend"
	if err := d.begin(ctx, op, len(refs)); err != nil {
		return nil, err
	}
	errs := make([]error, len(refs))
	now := d.tasks.begin()
	defer d.tasks.mu.Unlock()
	for i, ref := range refs {
		if errs[i] = d.check.Ref(op, ref); errs[i] == nil {
			errs[i] = d.tasks.extend(op, ref, now)
		}
	}
	return errs, nil
}

func (s *tasks) extend(op string, ref queue.Ref, now instant) error {
	l := s.lines[ref.Queue]
	t, err := l.leased(op, ref)
	if err != nil {
		return err
	}
	before := t.ends
	l.leases.remove(t)
	t.ends = now.in(l.lease)
	l.leases.insert(t)
	if t.ends < before { // the lease was configured shorter, and who waits knows the old end
		s.waiters.wake(l.name)
	}
	if t.cancel {
		return &fault.Error{Code: fault.Canceled, Op: op, Subject: ref.ID, Transport: Kind, Message: "somebody asked to cancel the task; its lease was extended"}
	}
	return nil
}
