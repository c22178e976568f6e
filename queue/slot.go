package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// slot runs one task after the other. It is taken from the beginning of a task until its handler has returned and its
// settlement is on its way, whatever happens to its context or lease. A task that comes again meanwhile, because its lease
// was lost, waits until then.
func (w *Worker) slot() {
	ended := false
	defer func() {
		if ended {
			w.life.slots.Done()
		} else {
			go w.slot() // a handler ended its goroutine (runtime.Goexit)
		}
	}()
	for d := range w.waiting {
		if !d.phase.CompareAndSwap(waiting, running) {
			w.pace.dropped() // given back meanwhile
			continue
		}
		w.counters.waiting.Add(-1)
		w.run(d)
	}
	ended = true
}

// run takes one delivery from its beginning to its settlement.
func (w *Worker) run(d *Delivery) {
	began := time.Now()
	w.counters.running.Add(1)
	end, ours, decided := Settlement{}, true, false
	defer func() { // deferred, because a handler may end its goroutine
		if !decided {
			end, ours = judge(d, errGoexit, context.Cause(d.ctx), w.options.Backoff, time.Now())
		}
		w.conclude(d, end, ours)
		d.cancel(nil)
		w.counters.running.Add(-1)
		w.pace.done(began, time.Now())
	}()
	h := w.kinds.find(d.Kind)
	switch {
	case w.held.expired(d, began):
		w.counters.lost.Add(1)
		ours = false
	case w.draining.Load():
		end.Outcome = Release
	case d.corrupt != nil:
		end = Settlement{Outcome: Dead, Error: text("", d.corrupt)}
	case d.overlaps:
		end = Settlement{Outcome: Snooze, Delay: jitter(leastPutOff, 0.2)} // so that it does not run beside itself
	case h == nil:
		end = w.putOff(d, began)
	case !d.Deadline.IsZero() && !began.Before(d.Deadline):
		end = Settlement{Outcome: Dead, Error: text("before it began", ErrDeadline)}
	default:
		err, cause := w.callHandler(d, h, began)
		end, ours = judge(d, err, cause, h.backoff, time.Now())
	}
	decided = true
}

// errGoexit is what a handler is taken to have returned that did not.
var errGoexit = errors.New("the handler ended its goroutine (runtime.Goexit, or FailNow of a test) in place of returning")

// callHandler runs the handler, and tells what it returned and why its context had ended by then, if it had.
func (w *Worker) callHandler(d *Delivery, h *handling, began time.Time) (err, cause error) {
	ctx := d.ctx
	if len(d.Headers) > 0 {
		ctx = w.options.Propagator.Extract(ctx, d.Headers)
	}
	if until, why := d.limit(began); !until.IsZero() {
		w.held.started(d, until)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, until, why)
		defer cancel()
	}
	err = h.run(ctx, d)
	cause = context.Cause(ctx)
	if err != nil {
		w.notePanic(d, err)
	}
	return err, cause
}

// notePanic counts and logs an error that was a panic.
func (w *Worker) notePanic(d *Delivery, err error) {
	var panicked *PanicError
	if errors.As(err, &panicked) {
		w.counters.panics.Add(1)
		if w.sparing.allow("panic "+d.Kind, 10*time.Second) {
			w.log.Error("queue: a handler panicked", "kind", d.Kind, "task", d.ID, "panic", panicked.Value, "stack", string(panicked.Stack))
		}
	}
}

// limit is when an attempt that began at a time is to end, and why; zero: never.
func (d *Delivery) limit(began time.Time) (time.Time, error) {
	if d.Timeout > 0 {
		if until := began.Add(d.Timeout); d.Deadline.IsZero() || until.Before(d.Deadline) {
			return until, ErrTimeout
		}
	}
	return d.Deadline, ErrDeadline
}

// conclude sends off the end of a delivery, or forgets one that is not ours any more.
func (w *Worker) conclude(d *Delivery, end Settlement, ours bool) {
	d.phase.Store(settling)
	if told := d.ctx.Err() != nil || !d.until.IsZero(); told && w.held.returned(d) {
		w.counters.stuck.Add(-1)
	}
	if !ours {
		w.held.remove(d)
		return
	}
	w.hand(d, end, false)
}

// giveBack returns a task that was not begun.
func (w *Worker) giveBack(d *Delivery) {
	w.counters.waiting.Add(-1)
	w.hand(d, Settlement{Outcome: Release}, true)
}

// hand gives a settlement to the senders.
func (w *Worker) hand(d *Delivery, end Settlement, pressed bool) {
	w.counters.unsettled.Add(1)
	if !w.settler.add(d, end, pressed) {
		w.counters.unsettled.Add(-1)
		w.counters.settleDropped.Add(1)
		w.held.remove(d)
		w.log.Error("queue: a handler returned after its worker had stopped; its task will run again", "kind", d.Kind, "task", d.ID)
	}
}

// How long a task is put off that this worker cannot run: for an unknown kind a quarter of its age, within these bounds.
const (
	leastPutOff = 5 * time.Second
	mostPutOff  = time.Minute
)

// putOff is how a task ends whose kind this worker does not handle: it waits, for a worker that does, and its attempts
// are not touched. Giving it back at once would let it go round and round.
func (w *Worker) putOff(d *Delivery, now time.Time) Settlement {
	w.counters.unknown.Add(1)
	if w.sparing.allow("unknown "+d.Kind, time.Minute) {
		w.log.Warn("queue: tasks of a kind that this worker does not handle; they stay in the queue",
			"kind", d.Kind, "queue", d.Queue, "task", d.ID, "code", fault.Unimplemented)
	}
	delay := min(max(now.Sub(d.EnqueuedAt)/4, leastPutOff), mostPutOff)
	return Settlement{Outcome: Snooze, Delay: jitter(delay, 0.2), Error: fmt.Sprintf(
		"worker %s has no handler for the kind %q: the task waits for one that has; register it with queue.Handle, or remove the task", w.id, d.Kind)}
}
