package queue

import (
	"context"
	"runtime"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/gobackplane/backplane/fault"
)

const (
	// claimWait is how long one claim waits for tasks. It costs nothing to be long: the transport watches meanwhile.
	claimWait = 5 * time.Second
	// mostClaimers bounds the claims under way at once.
	mostClaimers = 4
)

// claimers is how many claims may be under way at once: two, so that one travels while the other's tasks run, and more
// where the transport's claims are small beside the slots.
func (w *Worker) claimers() int {
	return min(max(2, (w.pace.slots+w.pace.prefetch)/w.pace.largest), mostClaimers)
}

// claim keeps the slots busy until the worker stops. Claims that wait for tasks end with waits; those that do not are
// let finish, because tasks may be on their way back, until claims ends.
func (w *Worker) claim(waits, claims context.Context) {
	away := backoff.ExponentialBackOff{InitialInterval: 50 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 5 * time.Second}
	for {
		most, wait, ok := w.pace.take()
		if !ok {
			return
		}
		ctx, patience := claims, time.Duration(0)
		if wait {
			ctx, patience = waits, claimWait
		}
		sent := time.Now() // leases are reckoned from before the claim was sent
		tasks, err := w.tryClaim(ctx, most, patience)
		w.noteClaim(ctx, err)
		w.receive(claims, tasks, sent)
		if wait && len(tasks) > 0 {
			runtime.Gosched() // the slots first: the next claim would cost these tasks a system call
		}
		w.pace.got(most, len(tasks), wait, sent, time.Now())
		if err == nil {
			away.Reset()
			continue
		}
		sleep(waits, away.NextBackOff())
	}
}

func (w *Worker) tryClaim(ctx context.Context, most int, wait time.Duration) ([]Leased, error) {
	call, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	claimed, err := w.driver.Claim(call, Claim{Worker: w.id, Queues: w.order.draw(), Max: most, Wait: wait})
	if err == nil && call.Err() != nil && ctx.Err() == nil && len(claimed.Tasks) == 0 {
		err = fault.New(fault.Unavailable, "the transport did not answer a claim within %s", wait+callTimeout)
	}
	if err != nil {
		return nil, err
	}
	return claimed.Tasks, nil
}

// noteClaim keeps health, counters and the log. A claim that fails because the worker stops is not a failure.
func (w *Worker) noteClaim(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	news := w.health.claimed(err)
	if err == nil {
		if news {
			w.log.Info("queue: claiming works again")
		}
		return
	}
	w.counters.claimErrors.Add(1)
	if news || w.sparing.allow("claim", 10*time.Second) {
		w.log.Warn("queue: no tasks can be claimed; trying again", "err", err)
	}
	if fault.CodeOf(err) == fault.Closed {
		w.fail(fault.In(err, opWorker, w.id))
	}
}

// receive hands claimed tasks to the slots. There is room for them: pace asked for no more.
//
// Their leases began when the store gave them, and that may be long after the claim was sent, if it waited. All that is
// known for certain is reckoned from before it was sent; where that leaves nothing of a short lease, the store is asked.
func (w *Worker) receive(ctx context.Context, tasks []Leased, sent time.Time) {
	if len(tasks) == 0 {
		return
	}
	now := time.Now()
	deliveries := make([]*Delivery, len(tasks))
	var doubtful []*Delivery
	for i := range tasks {
		t := &tasks[i]
		d := &Delivery{Task: t.Task, token: t.Token, corrupt: t.Err, maxResult: w.caps.MaxPayload,
			lease: t.Lease, received: now, expires: sent.Add(t.Lease), due: sent.Add(t.Lease / 3)}
		d.ctx, d.cancel = context.WithCancelCause(w.base)
		deliveries[i] = d
		if now.After(sent.Add(t.Lease / 2)) {
			doubtful = append(doubtful, d)
		}
	}
	w.counters.claimed.Add(int64(len(tasks)))
	w.counters.waiting.Add(int64(len(tasks)))
	w.held.add(deliveries, now)
	if len(doubtful) > 0 {
		w.extend(ctx, doubtful, callTimeout)
	}
	for _, d := range deliveries {
		w.waiting <- d
	}
}
