package memory

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// Acquire waits, where it is asked to, only while no lock of the call could be taken: leases that were given are not
// kept from their holder for the sake of others.
func (d *cacheDriver) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	const op = "cache: acquire"
	if err := d.begin(ctx, op, len(claims)); err != nil || len(claims) == 0 {
		return nil, err
	}
	leases := make([]cache.Lease, len(claims))
	names := make([]string, len(claims))
	longest := claims[0].Wait
	for i, c := range claims {
		names[i] = c.Lock
		longest = min(longest, c.Wait)
		leases[i] = cache.Lease{Lock: c.Lock, Holder: c.Holder, Err: d.check.Claim(c)}
		if leases[i].Err != nil {
			longest = 0 // told at once
		}
	}
	e := d.entries
	err := d.node.await(ctx, wait{
		op: op, subject: names[0], names: names, longest: longest,
		clock: e.clock, mu: &e.mu, waiters: e.waiters,
		look: func(now instant) (taken bool, next instant) {
			e.sweep(now, len(claims))
			return e.try(claims, leases, now)
		},
	})
	if err != nil {
		return nil, err
	}
	return leases, nil
}

// try takes every lock that is free, and tells when the next of the others may be.
func (e *entries) try(claims []cache.Claim, leases []cache.Lease, now instant) (taken bool, next instant) {
	next = never
	for i, c := range claims {
		if leases[i].Err != nil && fault.CodeOf(leases[i].Err) != fault.Locked {
			continue // refused
		}
		if leases[i] = e.acquire(c, now); leases[i].Err == nil {
			taken = true
		} else {
			next = min(next, e.held.items[c.Lock].ends)
		}
	}
	return taken, next
}

func (e *entries) acquire(c cache.Claim, now instant) cache.Lease {
	if lock := e.held.get(c.Lock, now); lock != nil {
		return cache.Lease{
			Lock: c.Lock, Holder: lock.value.holder, Expires: lock.ends.time(),
			Err: locked("cache: acquire", c.Lock, lock),
		}
	}
	fence := uint64(max(1, now/instant(time.Microsecond)))
	if last := e.fences.get(c.Lock, now); last != nil {
		fence = max(fence, last.value+1)
	}
	ends := now.in(c.TTL)
	e.held.put(c.Lock, lease{holder: c.Holder, fence: fence, ttl: c.TTL}, ends)
	e.fences.put(c.Lock, fence, ends.in(fenceMemory))
	return cache.Lease{Lock: c.Lock, Holder: c.Holder, Fence: fence, TTL: c.TTL, Expires: ends.time()}
}

// holding finds the lock as l says it is held, or tells that it is not. A fence of 0 is not compared.
func (e *entries) holding(op string, l cache.Lease, now instant) (*item[lease], error) {
	lock := e.held.get(l.Lock, now)
	if lock != nil && lock.value.holder == l.Holder && (l.Fence == 0 || l.Fence == lock.value.fence) {
		return lock, nil
	}
	message := "the lease has ended; nobody has the lock now"
	if lock != nil {
		message = "the lease has ended, and another has been given since"
	}
	return nil, &fault.Error{Code: fault.LeaseLost, Op: op, Subject: l.Lock, Transport: Kind, Message: message}
}

func (d *cacheDriver) Renew(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
	const op = "cache: renew"
	if err := d.begin(ctx, op, len(leases)); err != nil {
		return nil, err
	}
	renewed := make([]cache.Lease, len(leases))
	e := d.entries
	now := e.begin(len(leases))
	defer e.mu.Unlock()
	for i, l := range leases {
		renewed[i] = cache.Lease{Lock: l.Lock, Holder: l.Holder, Fence: l.Fence, TTL: l.TTL}
		err := d.check.Renewal(l)
		if err == nil {
			err = e.renew(op, &renewed[i], now)
		}
		renewed[i].Err = err
	}
	return renewed, nil
}

func (e *entries) renew(op string, l *cache.Lease, now instant) error {
	lock, err := e.holding(op, *l, now)
	if err != nil {
		return err
	}
	ends, before := now.in(l.TTL), lock.ends
	e.held.move(lock, ends)
	lock.value.ttl = l.TTL
	if ends < before { // who waits knows the old end
		e.waiters.wake(l.Lock)
	}
	e.fences.put(l.Lock, lock.value.fence, ends.in(fenceMemory))
	l.Fence, l.Expires = lock.value.fence, ends.time()
	return nil
}

func (d *cacheDriver) Release(ctx context.Context, leases []cache.Lease) ([]error, error) {
	const op = "cache: release"
	if err := d.begin(ctx, op, len(leases)); err != nil {
		return nil, err
	}
	errs := make([]error, len(leases))
	e := d.entries
	now := e.begin(len(leases))
	defer e.mu.Unlock()
	for i, l := range leases {
		if errs[i] = d.check.Release(l); errs[i] == nil {
			errs[i] = e.release(op, l, now)
		}
	}
	return errs, nil
}

func (e *entries) release(op string, l cache.Lease, now instant) error {
	lock, err := e.holding(op, l, now)
	if err != nil {
		return err
	}
	e.held.remove(lock)
	e.fences.put(l.Lock, lock.value.fence, now.in(fenceMemory))
	e.waiters.wake(l.Lock)
	return nil
}

// Held lists the locks that are held, by name.
func (d *cacheDriver) Held(ctx context.Context, p cache.Page) (cache.Leases, error) {
	const op = "cache: held"
	if err := d.page(ctx, op, &p); err != nil {
		return cache.Leases{}, err
	}
	now := d.entries.begin(0)
	defer d.entries.mu.Unlock()
	var page cache.Leases
	page.Next = d.entries.held.page(p.Prefix, p.Cursor, p.Limit, now, func(i *item[lease]) {
		page.Leases = append(page.Leases, cache.Lease{
			Lock: i.name, Holder: i.value.holder, Fence: i.value.fence, TTL: i.value.ttl, Expires: i.ends.time(),
		})
	})
	return page, nil
}
