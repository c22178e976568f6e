package postgres

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// lockAgain is how often who waits for a lock asks at least, in case that a notification was lost.
const lockAgain = 250 * time.Millisecond

func checkClaim(c *cache.Claim) error {
	at := check{"cache: acquire", c.Lock}
	return first(
		at.name("lock's name", c.Lock, cacheCapabilities.MaxKey),
		at.name("holder", c.Holder, cacheCapabilities.MaxKey),
		at.term("lease", c.TTL, cacheCapabilities.MinTTL),
		at.notNegative("the wait", c.Wait),
	)
}

func checkLease(op string, l *cache.Lease) error {
	at := check{op, l.Lock}
	return first(at.name("lock's name", l.Lock, cacheCapabilities.MaxKey), at.name("holder", l.Holder, cacheCapabilities.MaxKey))
}

// Acquire waits, where it is asked to, only while no lock of the call could be taken: leases that were given are not kept
// from their holder for the sake of others.
func (e *entries) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	const op = "cache: acquire"
	if err := e.begin(ctx, op, len(claims)); err != nil || len(claims) == 0 {
		return nil, err
	}
	if !e.t.waiting() {
		return nil, e.t.fault(errClosed, op, claims[0].Lock)
	}
	defer e.t.calls.Done()
	wait := claims[0].Wait
	names := make([]string, len(claims))
	for i := range claims {
		wait = min(wait, claims[i].Wait)
		names[i] = claims[i].Lock
		if checkClaim(&claims[i]) != nil {
			wait = 0 // told at once
		}
	}
	end := time.Now().Add(wait)
	leases, free, err := e.acquire(ctx, claims, false)
	if err != nil || free <= 0 || wait == 0 {
		return leases, err
	}
	b := e.t.wakes.join("l", names)
	rung := false
	defer func() { e.t.wakes.leave(b, rung) }()
	e.t.wakes.listen(ctx, min(wait, lockAgain))
	for {
		// The lock is marked, so that its release is notified, by the same step that looks whether it is free.
		leases, free, err = e.acquire(ctx, claims, true)
		rung = err != nil && rung
		left := time.Until(end)
		if err != nil || free <= 0 || left <= 0 {
			return leases, err
		}
		rung = e.t.wakes.sleep(ctx, b, min(free, left, lockAgain))
		if err := e.t.ready(ctx, op, names[0]); err != nil {
			return nil, err
		}
	}
}

// acquire takes what is free. free is when the first of the locks may be, where none was taken, and 0 else.
func (e *entries) acquire(ctx context.Context, claims []cache.Claim, mark bool) (leases []cache.Lease, free time.Duration, err error) {
	const op = "cache: acquire"
	leases = make([]cache.Lease, len(claims))
	for i := range claims {
		leases[i] = cache.Lease{Lock: claims[i].Lock, Holder: claims[i].Holder, Err: checkClaim(&claims[i])}
	}
	order := inOrder(len(claims), func(i int) bool { return leases[i].Err != nil }, func(i int) string { return claims[i].Lock })
	taken := len(order) == 0
	free = time.Hour
	var v verdict
	var left *int64
	c := call{op: op, sql: "SELECT * FROM lock_acquire($1, $2, $3, $4, $5)", more: []any{&left}}
	c.args = func(part []int) []any {
		return []any{
			e.t.ns,
			pick(part, func(i int) []byte { return []byte(claims[i].Lock) }),
			pick(part, func(i int) []byte { return []byte(claims[i].Holder) }),
			pick(part, func(i int) int64 { return micros(claims[i].TTL) }),
			mark,
		}
	}
	c.each = func(i int) error {
		l := &leases[i]
		l.Holder, l.Expires, l.Err = string(v.holder), *v.ends, v.fault(op, claims[i].Lock)
		if l.Err == nil {
			l.Fence, l.TTL, taken = uint64(*v.fence), claims[i].TTL, true
		} else if left != nil {
			free = min(free, max(time.Millisecond, time.Duration(*left)*time.Millisecond))
		}
		return nil
	}
	if err := e.run(ctx, order, c, &v); err != nil {
		return nil, 0, err
	}
	if taken {
		free = 0
	}
	return leases, free, nil
}

func lost(op, lock string) error {
	return check{op, lock}.refuse(fault.LeaseLost, "the lease has ended: nobody has the lock, or another has been given since; nothing was changed")
}

// Renew makes leases last on.
func (e *entries) Renew(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
	const op = "cache: renew"
	if err := e.begin(ctx, op, len(leases)); err != nil {
		return nil, err
	}
	renewed := make([]cache.Lease, len(leases))
	for i := range leases {
		l := &leases[i]
		renewed[i] = cache.Lease{Lock: l.Lock, Holder: l.Holder, Fence: l.Fence, TTL: l.TTL}
		renewed[i].Err = first(checkLease(op, l), check{op, l.Lock}.term("lease", l.TTL, cacheCapabilities.MinTTL))
	}
	order := inOrder(len(leases), func(i int) bool { return renewed[i].Err != nil }, func(i int) string { return leases[i].Lock })
	var i, code int
	var fence *int64
	var ends *time.Time
	args := append([]any{e.t.ns}, leaseArgs(order, leases)...)
	args = append(args, pick(order, func(i int) int64 { return micros(leases[i].TTL) }))
	err := e.t.store.rows(ctx, "SELECT * FROM lock_renew($1, $2, $3, $4, $5)", args, []any{&i, &code, &fence, &ends}, func() error {
		l := &renewed[order[i-1]]
		if code == codeLost {
			l.Err = lost(op, l.Lock)
		} else {
			l.Fence, l.Expires = uint64(*fence), *ends
		}
		return nil
	})
	if err != nil {
		return nil, e.t.fault(err, op, "")
	}
	return renewed, nil
}

// leaseArgs are names, holders and fences of leases.
func leaseArgs(order []int, leases []cache.Lease) []any {
	return []any{
		pick(order, func(i int) []byte { return []byte(leases[i].Lock) }),
		pick(order, func(i int) []byte { return []byte(leases[i].Holder) }),
		pick(order, func(i int) int64 { return fenceNumber(leases[i].Fence) }),
	}
}

// Release ends leases.
func (e *entries) Release(ctx context.Context, leases []cache.Lease) ([]error, error) {
	const op = "cache: release"
	if err := e.begin(ctx, op, len(leases)); err != nil {
		return nil, err
	}
	errs := make([]error, len(leases))
	for i := range leases {
		errs[i] = checkLease(op, &leases[i])
	}
	order := inOrder(len(leases), func(i int) bool { return errs[i] != nil }, func(i int) string { return leases[i].Lock })
	var i int
	args := append(append([]any{e.t.ns}, leaseArgs(order, leases)...), e.t.receiver.channels.wake)
	err := e.t.store.rows(ctx, "SELECT * FROM lock_release($1, $2, $3, $4, $5)", args, []any{&i}, func() error {
		errs[order[i-1]] = lost(op, leases[order[i-1]].Lock)
		return nil
	})
	if err != nil {
		return nil, e.t.fault(err, op, "")
	}
	return errs, nil
}
