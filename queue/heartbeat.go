package queue

import (
	"context"
	"log/slog"
	"time"

	"github.com/gobackplane/backplane/fault"
)

const (
	// patience is how long a prefetched task may wait for a slot before it is given back for others to run.
	patience = time.Second
	// stuckAfter is how long a handler may go on after its context has ended before that is worth a warning.
	stuckAfter = 10 * time.Second
)

// attention is when the heartbeat has to look at a delivery again; zero: never.
func (d *Delivery) attention() time.Time {
	var at time.Time
	phase := d.phase.Load()
	if phase == waiting {
		return d.received.Add(min(patience, d.lease/3))
	}
	if !d.over {
		at = earlier(d.due, d.expires)
	}
	if phase == running && !d.complained {
		if told := earlier(d.ended, d.until); !told.IsZero() {
			at = earlier(at, told.Add(stuckAfter))
		}
	}
	return at
}

// findings are what the heartbeat saw, to be acted upon without the set's lock.
type findings struct {
	extend   []*Delivery // leases that are due
	giveBack []*Delivery // tasks that waited too long for a slot
	stuck    []*Delivery // handlers that do not end
	lost     int         // leases that have ended by this node's clock; their handlers have been told
	timeout  time.Duration
}

// inspect looks at all leases, tells the handlers of those that have ended, and finds what else is to be done. Leases
// that would be due soon are extended along, so that they keep one rhythm and one call.
func (h *held) inspect(now time.Time, f *findings) (next time.Time) {
	*f = findings{extend: f.extend[:0], giveBack: f.giveBack[:0], stuck: f.stuck[:0]}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.all {
		h.noteLease(d.lease, now)
	}
	f.timeout = h.shortest / 3 // so that a slow call does not keep leases from being extended, or seen to end
	for _, d := range h.all {
		if d.phase.Load() == waiting && !now.Before(d.attention()) && d.phase.CompareAndSwap(waiting, givenBack) {
			f.giveBack = append(f.giveBack, d)
		}
		switch phase := d.phase.Load(); {
		case phase == waiting, d.over:
		case !now.Before(d.expires):
			d.over = true
			if phase == running {
				f.lost++
				d.end(ErrLeaseLost, now)
			}
		case !now.Before(d.due.Add(-d.lease / 12)):
			f.extend = append(f.extend, d)
			fallthrough
		default:
			f.timeout = min(f.timeout, d.expires.Sub(now))
		}
		if told := earlier(d.ended, d.until); d.phase.Load() == running && !d.complained && !told.IsZero() && !now.Before(told.Add(stuckAfter)) {
			d.complained = true
			f.stuck = append(f.stuck, d)
		}
		next = earlier(next, d.attention())
	}
	h.look = next
	return next
}

// extended notes how one lease took its extension, which was sent at a time.
func (h *held) extended(d *Delivery, sent time.Time, err error) (lost, canceled bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	isRunning := d.phase.Load() == running
	switch fault.CodeOf(err) {
	case fault.OK:
	case fault.Canceled:
		canceled = isRunning && d.end(ErrCanceled, time.Now())
	case fault.LeaseLost:
		// Where the handler has returned, its settlement may have overtaken the extension: that is for the settlement
		// to tell.
		d.over = true
		if isRunning {
			d.end(errLeaseTaken, time.Now())
		}
		return isRunning, false
	default:
		d.due = time.Now().Add(jitter(d.lease/10, 0.2))
		return false, false
	}
	d.expires, d.due = sent.Add(d.lease), sent.Add(d.lease/3)
	return false, canceled
}

// heartbeat keeps the leases, in as few calls as there are rhythms, until ctx ends.
func (w *Worker) heartbeat(ctx context.Context) {
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	var f findings
	for ctx.Err() == nil {
		next := w.held.inspect(time.Now(), &f)
		w.act(ctx, &f)
		if len(f.extend)+len(f.giveBack) > 0 {
			continue // the times have changed
		}
		var ring <-chan time.Time
		if !next.IsZero() {
			alarm.Reset(time.Until(next))
			ring = alarm.C
		}
		select {
		case <-ring:
		case <-w.held.wake:
		case <-ctx.Done():
		}
	}
}

func (w *Worker) act(ctx context.Context, f *findings) {
	w.counters.lost.Add(int64(f.lost))
	for _, d := range f.giveBack {
		w.giveBack(d)
	}
	for _, d := range f.stuck {
		w.counters.stuck.Add(1)
		w.log.Warn("queue: a handler goes on although its context has ended; its slot stays taken",
			"kind", d.Kind, "queue", d.Queue, "task", d.ID, "cause", context.Cause(d.ctx))
	}
	for rest := f.extend; len(rest) > 0 && ctx.Err() == nil; {
		n := len(rest)
		if over(n, w.caps.MaxBatch) {
			n = w.caps.MaxBatch
		}
		w.extend(ctx, rest[:n], f.timeout)
		rest = rest[n:]
	}
}

// extend asks the store for one more lease length for each.
func (w *Worker) extend(ctx context.Context, due []*Delivery, timeout time.Duration) {
	refs := make([]Ref, len(due))
	for i, d := range due {
		refs[i] = d.ref()
	}
	call, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	sent := time.Now()
	answers, err := w.driver.Extend(call, refs)
	if err == nil && len(answers) != len(refs) {
		err = fault.New(fault.Internal, "the transport gave %d answers to %d extensions", len(answers), len(refs))
	}
	if err != nil && ctx.Err() == nil {
		w.counters.extendErrors.Add(1)
		if w.sparing.allow("extend", time.Second*10) {
			w.log.Warn("queue: leases could not be extended; trying again", "leases", len(refs), "err", err)
		}
	}
	for i, d := range due {
		// What a failed call says of itself must not be taken for what a lease is told.
		answer := error(&fault.Error{Code: fault.Unavailable, Err: err})
		if err == nil {
			answer = answers[i]
		}
		lost, canceled := w.held.extended(d, sent, answer)
		if lost {
			w.counters.lost.Add(1)
			w.debug("queue: lease lost", d)
		}
		if canceled {
			w.counters.canceled.Add(1)
		}
	}
}

// debug logs what happened to one task, at a level that costs nothing when it is off.
func (w *Worker) debug(message string, d *Delivery, more ...any) {
	if w.log.Enabled(d.ctx, slog.LevelDebug) {
		w.log.Debug(message, append(more, "kind", d.Kind, "queue", d.Queue, "task", d.ID)...)
	}
}
