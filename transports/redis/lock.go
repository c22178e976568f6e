package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
)

// A lock is one record (see lua/lock.lua) that outlives its leases, because it remembers the fence. Whether a lease is
// live is decided by the store's clock and the record, not by the key's own lifetime.

var (
	acquireScript = newScript("lock_acquire", "lock", "lock_acquire")
	renewScript   = newScript("lock_renew", "when_full", "lock", "lock_renew")
	releaseScript = newScript("lock_release", "when_full", "lock", "lock_release")
)

// fenceMemory is how long a lock's record stays at least after its last lease: MEMORY in lua/lock.lua.
const fenceMemory = 24 * time.Hour

// Acquire is one script for each lock.
func (e *entries) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	leases, err := perform(ctx, e, &acquireOperation, claims)
	if err == nil && mayWait(claims, leases) {
		leases, err = e.wait(ctx, claims)
	}
	for i := range leases {
		if leases[i].Fence == 0 {
			leases[i].TTL = 0 // was what is left of another's lease
		}
	}
	return leases, err
}

var (
	acquireOperation     = acquisition()
	waitAcquireOperation = acquisition("wake me")
)

// acquisition takes locks; with a mark whoever has one is asked to wake those who wait.
func acquisition(mark ...any) operation[cache.Claim, cache.Lease] {
	return operation[cache.Claim, cache.Lease]{
		op:    "cache: acquire",
		name:  func(c *cache.Claim) string { return c.Lock },
		check: func(l limits.Cache, c *cache.Claim) error { return l.Claim(*c) },
		fail:  func(l *cache.Lease) *error { return &l.Err },
		command: func(ctx context.Context, e *entries, c *cache.Claim, l *cache.Lease) redis.Cmder {
			l.Lock, l.Holder, l.TTL = c.Lock, c.Holder, c.TTL
			args := append(make([]any, 0, 7), "evalsha", acquireScript.sha, 1, e.lock.key(c.Lock), c.Holder, ttlMicros(c.TTL))
			return redis.NewCmd(ctx, append(args, mark...)...)
		},
		answer: func(_ *entries, _ *cache.Claim, cmd redis.Cmder, l *cache.Lease) error {
			if fence, ok := cmd.(*redis.Cmd).Val().(int64); ok {
				l.Fence, l.Expires = uint64(fence), time.UnixMicro(fence).Add(l.TTL)
				return nil
			}
			reply, err := cmd.(*redis.Cmd).Slice()
			if err != nil {
				return err
			}
			return readLease(reply, l)
		},
	}
}

// readLease reads {fence, end} of a lease given, or {0, end, holder, µs left} of another's.
func readLease(reply []any, l *cache.Lease) error {
	if len(reply) < 2 {
		return unexpected(reply)
	}
	fence, isFence := reply[0].(int64)
	end, isEnd := reply[1].(int64)
	if !isFence || !isEnd {
		return unexpected(reply)
	}
	l.Fence, l.Expires = uint64(fence), time.UnixMicro(end)
	if fence > 0 {
		return nil
	}
	if len(reply) != 4 {
		return unexpected(reply)
	}
	l.Holder, _ = reply[2].(string)
	left, _ := reply[3].(int64)
	l.TTL = time.Duration(min(left, math.MaxInt64/int64(time.Microsecond))) * time.Microsecond
	return fault.New(fault.Locked, "%.100q has it for another %v unless it renews", l.Holder, l.TTL)
}

// Renew is one script for each lease.
func (e *entries) Renew(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
	return perform(ctx, e, &renewOperation, leases)
}

var renewOperation = operation[cache.Lease, cache.Lease]{
	op:    "cache: renew",
	name:  func(l *cache.Lease) string { return l.Lock },
	check: func(c limits.Cache, l *cache.Lease) error { return c.Renewal(*l) },
	fail:  func(l *cache.Lease) *error { return &l.Err },
	command: func(ctx context.Context, e *entries, l, renewed *cache.Lease) redis.Cmder {
		*renewed = cache.Lease{Lock: l.Lock, Holder: l.Holder, TTL: l.TTL}
		return redis.NewCmd(ctx, "evalsha", renewScript.sha, 1, e.lock.key(l.Lock),
			l.Holder, l.Fence, ttlMicros(l.TTL))
	},
	answer: func(_ *entries, _ *cache.Lease, cmd redis.Cmder, renewed *cache.Lease) error {
		reply, err := cmd.(*redis.Cmd).Slice()
		if err != nil {
			return err
		}
		return readLease(reply, renewed)
	},
}

// Release is one script for each lease.
func (e *entries) Release(ctx context.Context, leases []cache.Lease) ([]error, error) {
	return perform(ctx, e, &releaseOperation, leases)
}

var releaseOperation = operation[cache.Lease, error]{
	op:    "cache: release",
	name:  func(l *cache.Lease) string { return l.Lock },
	check: func(c limits.Cache, l *cache.Lease) error { return c.Release(*l) },
	fail:  func(err *error) *error { return err },
	command: func(ctx context.Context, e *entries, l *cache.Lease, _ *error) redis.Cmder {
		return redis.NewCmd(ctx, "evalsha", releaseScript.sha, 1, e.lock.key(l.Lock),
			l.Holder, l.Fence)
	},
	answer: func(_ *entries, _ *cache.Lease, cmd redis.Cmder, _ *error) error { return cmd.Err() },
}

// holders lists the locks that are held.
type holders struct{ *entries }

// Held walks over all keys of the store by SCAN, in pages, and reads the locks among them.
func (h holders) Held(ctx context.Context, page cache.Page) (cache.Leases, error) {
	const op = "cache: held"
	names, err := h.names(ctx, op, h.lock, page)
	if err != nil || len(names.Keys) == 0 {
		return cache.Leases{Next: names.Next}, err
	}
	clock := redis.NewTimeCmd(ctx, "time")
	cmds := []redis.Cmder{clock}
	for _, name := range names.Keys {
		cmds = append(cmds, redis.NewStringCmd(ctx, "get", h.lock.key(name)))
	}
	if err := h.t.lane.do(ctx, cmds...); err != nil {
		return cache.Leases{}, h.t.fault(err, op, page.Prefix)
	}
	if err := clock.Err(); err != nil {
		return cache.Leases{}, h.t.fault(err, op, page.Prefix)
	}
	held := cache.Leases{Next: names.Next}
	for i, cmd := range cmds[1:] {
		record, err := cmd.(*redis.StringCmd).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		lease := cache.Lease{Lock: names.Keys[i]}
		live := false
		if err == nil {
			live, err = readLockRecord(record, clock.Val(), &lease)
		}
		if err != nil {
			lease.Err = h.refusal(err, op, lease.Lock)
		}
		if live || lease.Err != nil {
			held.Leases = append(held.Leases, lease)
		}
	}
	return held, nil
}

// The record of a lock, as lua/lock.lua describes it.
const (
	lockVersion = 1
	lockHeader  = 26
)

// readLockRecord reads a lock's record, and tells whether its lease is live at now.
func readLockRecord(record string, now time.Time, l *cache.Lease) (live bool, err error) {
	if len(record) < lockHeader || record[0] != lockVersion {
		return false, fault.New(fault.Corrupt, "its record cannot be read; delete it")
	}
	number := func(at int) float64 { return math.Float64frombits(binary.BigEndian.Uint64([]byte(record[at : at+8]))) }
	l.Fence, l.Expires, l.Holder = uint64(number(1)), time.UnixMicro(int64(number(9))), record[lockHeader:]
	return l.Expires.After(now), nil
}

// ttlMicros is the length of a lease as the scripts count it, rounded up.
func ttlMicros(ttl time.Duration) int64 {
	micros := int64(ttl / time.Microsecond)
	if ttl%time.Microsecond > 0 {
		micros++
	}
	return micros
}
