package nats

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// askLockAgain bounds how long a lock's end may go unnoticed when nobody tells of it: its holder died, or the message was
// lost, or published at a server that did not know of the listener yet.
const askLockAgain = 250 * time.Millisecond

// mostBells is how many locks one call listens for. Of a call that waits for more it asks for the others at intervals.
const mostBells = 64

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
	defer e.listen(claims, woken)()
	for {
		// Only now, when it listens: a release before that was told to nobody.
		leases, err := e.acquire(ctx, claims)
		left := time.Until(over)
		if err != nil || left <= 0 || !mayWait(claims, leases) {
			return leases, err
		}
		pause := time.NewTimer(min(left, askLockAgain, e.firstEnd(leases)))
		select {
		case <-woken:
		case <-pause.C:
		case <-ctx.Done():
			err = fault.FromContext(ctx)
		case <-e.store.core.life.Done():
			err = errClosed
		}
		pause.Stop()
		if err != nil {
			return nil, e.store.core.fault(err, acquireOp, claims[0].Lock)
		}
	}
}

// firstEnd is when the first of others' leases may have ended.
func (e *entries) firstEnd(leases []cache.Lease) time.Duration {
	now := e.store.clock.now()
	first := leases[0].Expires
	for _, l := range leases {
		if l.Expires.Before(first) {
			first = l.Expires
		}
	}
	return max(first.Sub(now), 0) + time.Millisecond
}

// listen rings when one of the locks is released. The server knows of it before whatever is sent to it afterwards. Where
// it cannot be had, asking again at intervals must do.
func (e *entries) listen(claims []cache.Claim, bell chan<- struct{}) (stop func()) {
	claims = claims[:min(len(claims), mostBells)]
	subs := make([]*nats.Subscription, 0, len(claims))
	for _, c := range claims {
		sub, err := e.store.core.nc.Subscribe(e.store.wakeSubject(c.Lock), func(*nats.Msg) {
			select {
			case bell <- struct{}{}:
			default:
			}
		})
		if err == nil {
			subs = append(subs, sub)
		}
	}
	return func() {
		for _, sub := range subs {
			_ = sub.Unsubscribe()
		}
	}
}
