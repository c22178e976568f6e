package nats

import (
	"context"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// Acquire reads each lock and writes it under the condition that nothing has changed since: two round trips.
func (e *entries) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	leases, err := e.acquire(ctx, claims)
	if err == nil && mayWait(claims, leases) {
		leases, err = e.wait(ctx, claims)
	}
	for i := range leases {
		if leases[i].Err != nil {
			leases[i].TTL = 0 // was that of another's lease
		}
	}
	return leases, err
}

const acquireOp = "cache: acquire"

func (e *entries) acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	leases := make([]cache.Lease, len(claims))
	return leases, e.perform(ctx, acquireOp, len(claims), func(i int) (*edit, *error) {
		c, l := &claims[i], &leases[i]
		*l = cache.Lease{Lock: c.Lock, Holder: c.Holder, TTL: c.TTL}
		if l.Err = e.limits.Claim(*c); l.Err != nil {
			return nil, &l.Err
		}
		return &edit{
			subject: e.store.subject(lockKind, c.Lock), looks: true,
			decide: func(now moment, there stored) (*put, error) {
				was, err := readLock(there)
				if err != nil {
					return nil, err
				}
				if was.live(now) {
					*l = was.lease(c.Lock)
					return nil, was.locked()
				}
				next := lock{held: true, fence: max(was.fence+1, uint64(max(now.at.UnixMicro(), 1))), ttl: c.TTL, holder: c.Holder}
				*l = cache.Lease{Lock: c.Lock, Holder: c.Holder, Fence: next.fence, TTL: c.TTL, Expires: now.at.Add(c.TTL)}
				return next.put(), nil
			},
		}, &l.Err
	}, func(i int) string { return claims[i].Lock })
}

// holding reads a lock that a lease is of, or tells that the lease has ended. A fence of 0 is not compared.
func holding(l *cache.Lease, there stored, now moment) (lock, error) {
	was, err := readLock(there)
	if err != nil {
		return was, err
	}
	switch {
	case !was.live(now):
		return was, fault.New(fault.LeaseLost, "the lease has ended; nobody has the lock now")
	case was.holder != l.Holder, l.Fence != 0 && was.fence != l.Fence:
		return was, fault.New(fault.LeaseLost, "the lease has ended, and another has been given since")
	}
	return was, nil
}

// Renew stores each lock again, with the fence that it had.
func (e *entries) Renew(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
	renewed := make([]cache.Lease, len(leases))
	return renewed, e.perform(ctx, "cache: renew", len(leases), func(i int) (*edit, *error) {
		l, next := &leases[i], &renewed[i]
		*next = cache.Lease{Lock: l.Lock, Holder: l.Holder, Fence: l.Fence, TTL: l.TTL}
		if next.Err = e.limits.Renewal(*l); next.Err != nil {
			return nil, &next.Err
		}
		return &edit{
			subject: e.store.subject(lockKind, l.Lock), looks: true,
			decide: func(now moment, there stored) (*put, error) {
				was, err := holding(l, there, now)
				if err != nil {
					return nil, err
				}
				was.ttl = l.TTL
				next.Fence, next.Expires = was.fence, now.at.Add(l.TTL)
				return was.put(), nil
			},
		}, &next.Err
	}, func(i int) string { return leases[i].Lock })
}

// Release stores that each lock is free, and tells those who wait for it.
func (e *entries) Release(ctx context.Context, leases []cache.Lease) ([]error, error) {
	errs := make([]error, len(leases))
	return errs, e.perform(ctx, "cache: release", len(leases), func(i int) (*edit, *error) {
		l := &leases[i]
		if errs[i] = e.limits.Release(*l); errs[i] != nil {
			return nil, &errs[i]
		}
		return &edit{
			subject: e.store.subject(lockKind, l.Lock), looks: true,
			decide: func(now moment, there stored) (*put, error) {
				was, err := holding(l, there, now)
				if err != nil {
					return nil, err
				}
				was.held, was.ttl = false, 0
				return was.put(), nil
			},
			done: func(uint64) { e.tellReleased(l.Lock) },
		}, &errs[i]
	}, func(i int) string { return leases[i].Lock })
}

// tellReleased wakes who waits. When that is lost they ask by themselves a moment later.
func (e *entries) tellReleased(name string) {
	_ = e.store.core.nc.Publish(e.store.wakeSubject(name), nil)
}

func (s *store) wakeSubject(lock string) string { return string(appendKey([]byte(s.wake), lock)) }
