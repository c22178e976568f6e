package conformance

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// lockState is a lock as the model knows it.
type lockState struct {
	holder string // empty: free
	fence  uint64 // of the holder; 0: of one whose answer nobody has seen
	least  uint64 // the greatest fence known to have been given
	unsure bool   // a greater one may have been given, which nobody has seen
}

func (s lockState) String() string {
	if s.holder == "" {
		return fmt.Sprintf("free, last fence %d", s.least)
	}
	return fmt.Sprintf("held by %s with fence %d", s.holder, s.fence)
}

// lockQuestion is an operation on a lock, or, guarded by it, on the entry of its name.
type lockQuestion struct {
	kind   lockKind
	lock   string
	holder string
	fence  uint64
}

type lockKind string

const (
	lockAcquire lockKind = "acquire"
	lockRenew   lockKind = "renew"
	lockRelease lockKind = "release"
	lockWrite   lockKind = "write guarded by"
)

func (q lockQuestion) about() string { return q.lock }
func (q lockQuestion) reads() bool   { return q.kind == lockWrite || q.kind == lockRenew } // of the lock, that is

// lockAnswer is how it was answered: a success with the lease's fence, a refusal with its code, and who holds the lock
// where that is told.
type lockAnswer struct {
	outcome outcome
	code    fault.Code
	fence   uint64
	holder  string
}

// lockModel is a lock that one client alone would see. No lease ends by itself while a history lasts.
var lockModel = modelOf(lockState{}, stepLock, describeLock)

func stepLock(s lockState, q lockQuestion, a lockAnswer) []lockState {
	switch q.kind {
	case lockAcquire:
		return stepAcquire(s, q, a)
	case lockWrite:
		return stepGuarded(s, q, a)
	}
	has := s.holder == q.holder && (q.fence == 0 || q.fence == s.fence)
	after := s
	if q.kind == lockRelease && has {
		after.holder, after.fence = "", 0
	}
	switch {
	case a.outcome == unknown:
		return []lockState{s, after}
	case has != (a.outcome == done):
		return nil
	}
	return []lockState{after}
}

func stepAcquire(s lockState, q lockQuestion, a lockAnswer) []lockState {
	switch a.outcome {
	case done:
		if s.holder != "" || a.fence <= s.least {
			return nil
		}
		return []lockState{{holder: q.holder, fence: a.fence, least: a.fence}}
	case refused:
		if s.holder == "" || s.holder != a.holder {
			return nil
		}
		return []lockState{s}
	}
	if s.holder != "" {
		return []lockState{s}
	}
	return []lockState{s, {holder: q.holder, least: s.least, unsure: true}}
}

func stepGuarded(s lockState, q lockQuestion, a lockAnswer) []lockState {
	locked := s.holder != "" && s.holder != q.holder
	stale := q.fence < s.least
	fits := true
	switch {
	case a.outcome == done:
		fits = !locked && !stale
	case a.code == fault.Locked:
		fits = locked
	case a.code == fault.Conflict:
		fits = stale || s.unsure
	}
	if !fits {
		return nil
	}
	return []lockState{s}
}

func describeLock(q lockQuestion, a lockAnswer) string {
	what := fmt.Sprintf("%s %s for %s", q.kind, q.lock, q.holder)
	if q.fence > 0 {
		what += fmt.Sprintf(" with fence %d", q.fence)
	}
	switch {
	case a.outcome == unknown:
		return what + " → unknown"
	case a.holder != "":
		return fmt.Sprintf("%s → held by %s", what, a.holder)
	case a.outcome == refused:
		return fmt.Sprintf("%s → %v", what, a.code)
	case a.fence > 0:
		return fmt.Sprintf("%s → fence %d", what, a.fence)
	}
	return what + " → done"
}

// contender is a client who takes locks, writes under them and gives them back, and tries old leases too.
type contender struct {
	*historian
	ttl   time.Duration
	lease cache.Lease // in hand; its fence is 0 where nobody knows whether it was given
	old   cache.Lease // given back
}

func (c *contender) play() {
	switch n := rand.N(10); {
	case c.lease.Holder == "" && c.old.Holder != "" && n < 3:
		c.write(c.old)
	case c.lease.Holder == "" && c.old.Holder != "" && n < 4:
		c.end(lockRelease, c.old)
	case c.lease.Holder == "":
		c.acquire()
	case c.lease.Fence == 0 || n < 4:
		if o := c.end(lockRelease, c.lease); o != unknown {
			if c.lease.Fence != 0 {
				c.old = c.lease
			}
			c.lease = cache.Lease{}
		}
	case n < 7:
		c.end(lockRenew, c.lease)
	default:
		c.write(c.lease)
	}
}

func (c *contender) acquire() {
	claim := cache.Claim{
		Lock: fmt.Sprint("l", rand.N(2)), Holder: fmt.Sprintf("h%d.%d", c.client, c.round), TTL: c.ttl,
		Wait: anyOf(0, 0, 3*time.Millisecond),
	}
	c.record(lockQuestion{kind: lockAcquire, lock: claim.Lock, holder: claim.Holder}, func() (any, outcome) {
		ctx, cancel := c.context()
		defer cancel()
		r, err := c.node.Cache().Acquire(ctx, []cache.Claim{claim})
		err = alone(r, err, func(l cache.Lease) error { return l.Err })
		a := lockAnswer{outcome: c.outcomeOf("acquire", err, fault.Locked), code: fault.CodeOf(err)}
		switch a.outcome {
		case done:
			a.fence = r[0].Fence
			c.lease = r[0]
		case refused:
			a.holder = r[0].Holder
		case unknown:
			c.lease = cache.Lease{Lock: claim.Lock, Holder: claim.Holder, TTL: claim.TTL}
		}
		return a, a.outcome
	})
}

// end renews or releases a lease.
func (c *contender) end(kind lockKind, l cache.Lease) outcome {
	return c.record(lockQuestion{kind: kind, lock: l.Lock, holder: l.Holder, fence: l.Fence}, func() (any, outcome) {
		ctx, cancel := c.context()
		defer cancel()
		var err error
		if kind == lockRenew {
			var r []cache.Lease
			r, err = c.node.Cache().Renew(ctx, []cache.Lease{l})
			err = alone(r, err, func(l cache.Lease) error { return l.Err })
		} else {
			var r []error
			r, err = c.node.Cache().Release(ctx, []cache.Lease{l})
			err = alone(r, err, itself)
		}
		a := lockAnswer{outcome: c.outcomeOf(string(kind), err, fault.LeaseLost), code: fault.CodeOf(err)}
		return a, a.outcome
	})
}

// write writes the entry of the lock's name, guarded by the lease.
func (c *contender) write(l cache.Lease) {
	c.record(lockQuestion{kind: lockWrite, lock: l.Lock, holder: l.Holder, fence: l.Fence}, func() (any, outcome) {
		ctx, cancel := c.context()
		defer cancel()
		r, err := c.node.Cache().Set(ctx, []cache.Write{{
			Key: l.Lock, Value: []byte(l.Holder), Guard: cache.Guard{Holder: l.Holder, Fence: l.Fence},
		}})
		err = alone(r, err, func(w cache.Written) error { return w.Err })
		a := lockAnswer{outcome: c.outcomeOf("guarded set", err, fault.Locked, fault.Conflict), code: fault.CodeOf(err)}
		return a, a.outcome
	})
}
