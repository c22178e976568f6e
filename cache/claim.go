package cache

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// askAgain is the longest time between two questions to the store of one who waits for a lock.
const askAgain = 250 * time.Millisecond

// asking asks the store for one lock, once or again and again: within the store where the transport can wait there, and
// with growing pauses where it answers at once.
type asking struct {
	c        *Cache
	op, name string
	ttl      time.Duration

	asked bool
	delay time.Duration // before the next question
	other error         // the last refusal: it says who holds the lock
}

// once is one question, which may wait in the store. The lock's own context gets the values of values. ErrLocked says
// who holds the lock.
func (a *asking) once(ctx, values context.Context, wait time.Duration) (*Lock, error) {
	c := a.c
	// A holder of its own for each question: when an answer is lost, what it may have gained is given back without
	// touching a later success.
	claim := Claim{Lock: a.name, Holder: c.holder + "/" + strconv.FormatUint(c.holders.Add(1), 10), TTL: a.ttl, Wait: wait}
	sent := c.clock()
	lease, err := c.acquire(ctx, claim)
	if errors.Is(err, ErrLocked) {
		return nil, a.refusal(lease)
	}
	if err != nil {
		if mayHaveWorked(err) {
			c.keeper.owe(Lease{Lock: a.name, Holder: claim.Holder, TTL: a.ttl})
		}
		return nil, c.at(err, a.op, a.name)
	}
	lease.Lock, lease.Holder, lease.TTL = a.name, claim.Holder, a.ttl
	return a.keep(ctx, c.newLock(values, lease, sent))
}

// keep hands a lock that was just gained to the keeper.
func (a *asking) keep(ctx context.Context, lock *Lock) (*Lock, error) {
	err := a.c.keeper.add(lock)
	if err == nil {
		return lock, nil
	}
	lock.cancel(err)
	if a.c.closed.Load() {
		lock.releaseSoon(ctx)
		return nil, a.c.closedFault(a.op, a.name)
	}
	a.c.keeper.owe(lock.lease)
	return nil, a.c.fault(fault.Unavailable, a.op, a.name, "the store's answer came so late that the lease may have ended; use a longer one: %w", err)
}

func (a *asking) refusal(other Lease) error {
	if other.Holder == "" {
		return a.c.fault(fault.Locked, a.op, a.name, "another holds the lock")
	}
	remedy := ""
	if strings.HasPrefix(other.Holder, a.c.holder+"/") {
		remedy = "; that is this process: to use what it holds, hand over the lock (Under), or a context that comes from it"
	}
	return a.c.fault(fault.Locked, a.op, a.name, "%s holds the lock until %s, unless it is renewed%s", other.Holder, other.Expires.Format(time.RFC3339), remedy)
}

// ask is the next of many questions. It answers ErrLocked no sooner than it is worth asking again.
func (a *asking) ask(ctx, values context.Context) (*Lock, error) {
	if a.delay > 0 {
		if err := a.c.pause(ctx, jittered(a.delay)); err != nil {
			return nil, err
		}
	}
	wait := time.Duration(0) // the first answer comes at once, so that it can be told who holds the lock
	if a.asked {
		// Not long in comparison to the lease, which is counted from before the question.
		wait = jittered(min(askAgain, a.ttl/4+1))
	}
	began := time.Now()
	lock, err := a.once(ctx, values, wait)
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

// acquire makes one claim.
func (c *Cache) acquire(ctx context.Context, claim Claim) (Lease, error) {
	leases, err := c.backend.Acquire(ctx, []Claim{claim})
	if err != nil {
		return Lease{}, err
	}
	if len(leases) != 1 {
		return Lease{}, fault.New(fault.Internal, "the transport gave %d answers to 1 claim", len(leases))
	}
	return leases[0], leases[0].Err
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
	if err != nil {
		return err
	}
	if len(errs) != 1 {
		return fault.New(fault.Internal, "the transport gave %d answers to 1 release", len(errs))
	}
	return errs[0]
}

// releaseSoon gives the lease back even when ctx has ended.
func (l *Lock) releaseSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if err := l.c.release(ctx, l.lease); err != nil {
		l.c.log.Warn("cache: a lock could not be given back; it ends by itself", "lock", l.Name(), "error", err)
	}
}
