package cache

import (
	"context"
	"errors"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Lock is a lock that this process holds: a lease on a name, renewed until Unlock, Close, or its loss.
//
// The lock with the name of a key is what guards on that key look at ([Under], [RespectLock]), and what [Cache.Load]
// holds while it loads the key. Give a lock that has nothing to do with an entry a name that no key has, such as
// "lock:billing".
type Lock struct {
	c      *Cache
	lease  Lease
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Under keeper.mu.
	sent     instant // before the last successful renewal (or the claim) was sent
	renewAt  time.Duration
	renewing bool
	ended    error // why it is held no longer; nil: it is held
}

// lockKey finds a held lock in a context that was derived from its own.
type lockKey struct {
	c    *Cache
	name string
}

// Lock takes a lock, and waits for it as long as ctx allows; Unavailable when the store cannot be reached. Those who wait
// in one process get it in the order of their calls; between processes there is no order. Locks are not reentrant: a ctx
// that comes from the context of the same held lock is Locked at once, and not a deadlock.
//
// The lock is independent of ctx's end: it lasts until Unlock. It keeps ctx's values.
//
// Options: TTL, how long the lock outlives this process (default Options.LockTTL).
func (c *Cache) Lock(ctx context.Context, name string, options ...Option) (*Lock, error) {
	const op = "cache: lock"
	ttl, err := c.lockTTL(ctx, op, name, options)
	if err != nil {
		return nil, err
	}
	leave, err := c.turns.enter(ctx, c.life, name)
	if err != nil {
		return nil, c.waitEnded(op, name, err, nil)
	}
	defer leave()
	asking := asking{c: c, op: op, name: name, ttl: ttl}
	lock, err := asking.ask(ctx, ctx) // the usual case: it is free
	if !errors.Is(err, ErrLocked) {
		return lock, err
	}
	waiting, done := c.whileOpen(ctx)
	defer done()
	for errors.Is(err, ErrLocked) {
		lock, err = asking.ask(waiting, ctx)
	}
	return lock, c.waitEnded(op, name, err, asking.other)
}

// TryLock takes a lock if it is free; otherwise ErrLocked at once, with a message that says who holds it until when.
//
// Options: as Lock.
func (c *Cache) TryLock(ctx context.Context, name string, options ...Option) (*Lock, error) {
	const op = "cache: try lock"
	ttl, err := c.lockTTL(ctx, op, name, options)
	if err != nil {
		return nil, err
	}
	asking := asking{c: c, op: op, name: name, ttl: ttl}
	return asking.once(ctx, ctx, 0)
}

// WithLock runs f while it holds a lock, for which it waits as Lock does. The context given to f ends with ctx, and when
// the lock is lost or the Cache closed; then WithLock answers ErrLeaseLost or ErrClosed, unless f has an error of its own.
// What f starts must end with that context.
//
// Options: as Lock.
func (c *Cache) WithLock(ctx context.Context, name string, f func(ctx context.Context) error, options ...Option) (err error) {
	lock, err := c.Lock(ctx, name, options...)
	if err != nil {
		return err
	}
	inside, done := lock.within(ctx)
	defer done()
	defer func() { // also when f panics
		ended := lock.whyEnded() // by the time when f was done
		if lost := lock.unlockSoon(ctx); errors.Is(lost, ErrLeaseLost) {
			ended = lost
		}
		if err == nil {
			err = c.at(ended, "cache: with lock", name)
		}
	}()
	if ended, open := c.hold(); open { // the next holder is not to begin before f has ended, even if Close gives the lock back
		defer ended()
	}
	return f(inside)
}

func (c *Cache) lockTTL(ctx context.Context, op, name string, options []Option) (time.Duration, error) {
	s, err := c.settle(op, name, lifetimeOption, options)
	if err != nil {
		return 0, err
	}
	if err := c.offered(c.backend.Driver != nil, op, name, "locks"); err != nil {
		return 0, err
	}
	if c.heldWithin(ctx, name) != nil {
		return 0, c.fault(fault.Locked, op, name, "this context comes from that very lock, and locks are not reentrant; use the lock that is held, or another name")
	}
	if s.ttl == 0 {
		s.ttl = c.options.LockTTL
	}
	return s.ttl, nil
}

// heldWithin is the lock of that name whose context ctx comes from, while it is held.
func (c *Cache) heldWithin(ctx context.Context, name string) *Lock {
	lock, _ := ctx.Value(lockKey{c, name}).(*Lock)
	if lock == nil || lock.whyEnded() != nil {
		return nil
	}
	return lock
}

// Name is the lock's name.
func (l *Lock) Name() string { return l.lease.Lock }

// Holder names this holding of the lock, unlike any other: node, process and count.
func (l *Lock) Holder() string { return l.lease.Holder }

// Fence is the lock's fence: greater than that of every earlier holding. Send it along to whatever the lock protects, and
// let that refuse a smaller one than it has seen: a process that was stopped cannot know that its lock is gone.
func (l *Lock) Fence() uint64 { return l.lease.Fence }

// TTL is how long the lock outlives its process.
func (l *Lock) TTL() time.Duration { return l.lease.TTL }

// Guard is what guards an operation on the key of the lock's name, here or, handed over, on another node. Under(l) is
// the same, and also refuses what this process already knows to be lost.
func (l *Lock) Guard() Guard { return Guard{Holder: l.lease.Holder, Fence: l.lease.Fence} }

// Context ends with the lock: at Unlock, at Close, and when the lock is lost (then its cause is ErrLeaseLost).
//
// While the process runs, it ends before another can have the lock: a fifth of the lease's length before the lease
// could end, counted on the monotonic clock from before the last successful renewal was sent; and at once when wall and
// monotonic clock have moved apart by more than that fifth, as after a suspend. A stopped process cannot be told, which
// is what [Lock.Fence] is for. It has the values of the context given to Lock, but does not end with it.
func (l *Lock) Context() context.Context { return l.ctx }

// Unlock gives the lock back and ends its Context. ErrLeaseLost when the lock was lost before: what it protected may
// have been another's. When ctx ends or the store cannot be reached, the lock is given back in the background, or ends
// by itself. Unlocking again is nil.
func (l *Lock) Unlock(ctx context.Context) error {
	const op = "cache: unlock"
	if ended := l.c.keeper.remove(l); errors.Is(ended, errUnlocked) {
		return nil
	} else if ended != nil {
		return l.c.at(ended, op, l.Name())
	}
	l.cancel(errUnlocked)
	err := l.c.release(ctx, l.lease)
	if err != nil && !errors.Is(err, ErrLeaseLost) {
		l.c.keeper.owe(l.lease)
	}
	return l.c.at(err, op, l.Name())
}

// errUnlocked is why the context of a lock that was given back has ended.
var errUnlocked = fault.New(fault.Canceled, "the lock was unlocked")

// unlockSoon unlocks even when ctx has ended, and leaves what fails to the background.
func (l *Lock) unlockSoon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(l.lease.TTL, closePatience))
	defer cancel()
	err := l.Unlock(ctx)
	if err != nil && !errors.Is(err, ErrLeaseLost) && !errors.Is(err, ErrClosed) {
		l.c.log.Warn("cache: a lock could not be given back yet", "lock", l.Name(), "error", err)
	}
	return err
}

// within is a context that ends with ctx and with the lock, and from which the lock is found again.
func (l *Lock) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, lockKey{l.c, l.Name()}, l))
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// whyEnded says why the lock is held no longer; nil while it is, as far as this process can know.
func (l *Lock) whyEnded() error { return l.c.keeper.whyEnded(l) }

// check refuses an operation under this lock when the lock is lost, or is not the key's. An empty key is checked later,
// one by one.
func (l *Lock) check(c *Cache, op, key string) error {
	if key != "" {
		if err := l.checkName(c, op, key); err != nil {
			return err
		}
	}
	if ended := l.whyEnded(); ended != nil {
		return c.fault(fault.LeaseLost, op, key, "the lock given to Under is not held any more: %w", ended)
	}
	return nil
}

func (l *Lock) checkName(c *Cache, op, key string) error {
	if key == l.Name() {
		return nil
	}
	return c.fault(fault.Invalid, op, key, "the lock given to Under is %.200q; a key is guarded by the lock of its own name only", l.Name())
}
