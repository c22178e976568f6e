package cache

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// claim asks the store for a lock once. ErrLocked comes with the lease of the other holder. values is the context whose
// values the lock's own context gets.
func (c *Cache) claim(ctx, values context.Context, op, name string, ttl, wait time.Duration) (*Lock, Lease, error) {
	// A holder of its own for each attempt: when an answer is lost, what it may have gained is given back without
	// touching a later success.
	claim := Claim{Lock: name, Holder: c.holder + "/" + strconv.FormatUint(c.holders.Add(1), 10), TTL: ttl, Wait: wait}
	sent := c.clock()
	leases, err := c.backend.Acquire(ctx, []Claim{claim})
	if err == nil && len(leases) != 1 {
		err = fault.New(fault.Internal, "the transport gave %d answers to 1 claim", len(leases))
	}
	var lease Lease
	if err == nil {
		lease, err = leases[0], leases[0].Err
	}
	if err != nil {
		if mayHaveWorked(err) {
			c.keeper.owe(Lease{Lock: name, Holder: claim.Holder, TTL: ttl})
		}
		if errors.Is(err, ErrLocked) {
			err = c.heldByOther(op, name, lease)
		}
		return nil, lease, c.at(err, op, name)
	}
	lease.Lock, lease.Holder, lease.TTL = name, claim.Holder, ttl
	lock := c.newLock(values, lease, sent)
	if err := c.keeper.add(lock); err != nil {
		lock.cancel(err)
		if c.closed.Load() {
			lock.releaseSoon(ctx)
			return nil, lease, c.closedFault(op, name)
		}
		c.keeper.owe(lease)
		return nil, lease, c.fault(fault.Unavailable, op, name, "the store's answer came so late that the lease may have ended; use a longer one: %w", err)
	}
	return lock, lease, nil
}

func (c *Cache) newLock(values context.Context, lease Lease, sent instant) *Lock {
	lock := &Lock{c: c, lease: lease}
	own := context.WithValue(context.WithoutCancel(values), lockKey{c, lease.Lock}, lock)
	lock.ctx, lock.cancel = context.WithCancelCause(own)
	lock.renewed(sent)
	return lock
}

// mayHaveWorked tells an error after which the lock may be held, by a holder whose answer was lost, from a refusal.
func mayHaveWorked(err error) bool {
	switch fault.CodeOf(err) {
	case fault.Unavailable, fault.Canceled, fault.DeadlineExceeded, fault.Internal:
		return true
	}
	return false
}

func (c *Cache) heldByOther(op, name string, other Lease) error {
	if other.Holder == "" {
		return c.fault(fault.Locked, op, name, "another holds the lock")
	}
	remedy := ""
	if strings.HasPrefix(other.Holder, c.holder+"/") {
		remedy = "; that is this process: to use what it holds, hand over the lock (Under), or a context that comes from it"
	}
	return c.fault(fault.Locked, op, name, "%s holds the lock until %s, unless it is renewed%s", other.Holder, other.Expires.Format(time.RFC3339), remedy)
}

// asking waits for one lock by asking the store again and again: within the store where the transport can wait there,
// and with growing pauses where it answers at once.
type asking struct {
	c        *Cache
	op, name string
	ttl      time.Duration
	asked    bool
	delay    time.Duration
	other    error // the last refusal: it says who holds the lock
}

// ask is one question. It answers ErrLocked no sooner than it is worth asking again. waiting is the context of the
// call, values the one whose values the lock keeps.
func (a *asking) ask(values, waiting context.Context) (*Lock, error) {
	if a.delay > 0 {
		if err := a.c.pause(waiting, jittered(a.delay)); err != nil {
			return nil, err
		}
	}
	wait := time.Duration(0) // the first answer comes at once, so that it can be told who holds the lock
	if a.asked {
		// Not long in comparison to the lease, which is counted from before the question.
		wait = jittered(min(askAgain, a.ttl/4+1))
	}
	began := time.Now()
	lock, _, err := a.c.claim(waiting, values, a.op, a.name, a.ttl, wait)
	if errors.Is(err, ErrLocked) {
		a.other = err
		switch early := time.Since(began) < wait/8; {
		case !a.asked: // ask in earnest now
		case early:
			a.delay = min(max(time.Millisecond, 2*a.delay), askAgain)
		default:
			a.delay = 0
		}
		a.asked = true
	}
	return lock, err
}

// waitEnded says of a wait that was cut short what it was for, and who was in the way.
func (c *Cache) waitEnded(op, name string, err, other error) error {
	if err == nil {
		return nil
	}
	if c.closed.Load() {
		return c.closedFault(op, name)
	}
	var refusal *fault.Error
	code := fault.CodeOf(err)
	if (code == fault.DeadlineExceeded || code == fault.Canceled) && errors.As(other, &refusal) {
		return c.fault(code, op, name, "gave up waiting: %s: %w", refusal.Message, err)
	}
	return c.at(err, op, name)
}

// release gives one lease back.
func (c *Cache) release(ctx context.Context, lease Lease) error {
	errs, err := c.backend.Release(ctx, []Lease{lease})
	if err == nil && len(errs) == 1 {
		err = errs[0]
	}
	return err
}

// releaseSoon gives the lease back even when ctx has ended.
func (l *Lock) releaseSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if err := l.c.release(ctx, l.lease); err != nil {
		l.c.log.Warn("cache: a lock could not be given back; it ends by itself", "lock", l.Name(), "error", err)
	}
}
