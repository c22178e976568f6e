package redis

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// askLockAgain bounds how long a lock's end may go unnoticed when nobody tells of it: its holder died, or the message was
// lost.
const askLockAgain = 250 * time.Millisecond

// mayWait tells whether a call has nothing to say yet: every lock is held by others, and every claim would wait. As soon
// as one was taken, or refused for good, the caller must know.
func mayWait(claims []cache.Claim, leases []cache.Lease) bool {
	for i := range leases {
		if claims[i].Wait <= 0 || fault.CodeOf(leases[i].Err) != fault.Locked {
			return false
		}
	}
	return len(leases) > 0
}

// wait asks again when one of the locks was released, when one of the leases may have ended, and every askLockAgain, until
// one lock was taken or the shortest wait is over.
func (e *entries) wait(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	shortest := claims[0].Wait
	for _, c := range claims {
		shortest = min(shortest, c.Wait)
	}
	over := time.Now().Add(shortest)
	woken := make(chan struct{}, 1)
	ring := func(string, bool) {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	// Listening begins before the question that asks to be woken, so that no release falls between.
	stop, err := e.listen(ctx, claims, over, ring)
	if err != nil {
		return nil, err
	}
	defer stop()
	for {
		leases, err := perform(ctx, e, &waitAcquireOperation, claims)
		left := time.Until(over)
		if err != nil || left <= 0 || !mayWait(claims, leases) {
			return leases, err
		}
		pause := time.NewTimer(min(left, askLockAgain, firstEnd(leases)))
		select {
		case <-woken:
		case <-pause.C:
		case <-ctx.Done():
			err = fault.FromContext(ctx)
		case <-e.t.life.Done():
			err = errClosed
		}
		pause.Stop()
		if err != nil {
			return nil, e.t.fault(err, acquireOperation.op, claims[0].Lock)
		}
	}
}

// firstEnd is when the first of others' leases may have ended.
func firstEnd(leases []cache.Lease) time.Duration {
	first := leases[0].TTL
	for _, l := range leases {
		first = min(first, l.TTL)
	}
	return max(first, 0) + time.Millisecond
}

// listen has ring called whenever one of the locks is released. Where that cannot be had in time, asking again at
// intervals must do, and the log says so.
func (e *entries) listen(ctx context.Context, claims []cache.Claim, over time.Time, ring func(string, bool)) (stop func(), err error) {
	within, cancel := context.WithDeadline(ctx, over)
	defer cancel()
	var cancels []func()
	stop = func() {
		for _, cancel := range cancels {
			cancel()
		}
	}
	for _, c := range claims {
		cancel, err := e.t.receiver.subscribe(within, e.lock.key(c.Lock), ring)
		switch {
		case err == nil:
			cancels = append(cancels, cancel)
		case ctx.Err() != nil || e.t.life.Err() != nil:
			stop()
			return nil, e.t.fault(err, acquireOperation.op, c.Lock)
		default:
			e.t.log.Debug("cannot listen for the release of a lock; asking at intervals instead", "lock", c.Lock, "error", err)
			return stop, nil
		}
	}
	return stop, nil
}
