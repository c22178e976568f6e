package cache

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// keeper renews all locks that a Cache holds, gives back those that nobody else can, and tells holders of a loss.
//
// One goroutine looks after all of them. It never waits for the store: calls run beside it, a few at a time with many
// locks in each, so that a store that hangs cannot delay the news that a lock is lost.
type keeper struct {
	c    *Cache
	wake chan struct{}

	mu        sync.Mutex
	started   bool
	closed    bool
	held      map[*Lock]struct{}
	debts     []debt
	added     bool          // since run last looked
	calls     int           // driver calls under way
	sleepsTil time.Duration // when run looks again; forever when there is nothing to look after
}

const (
	// A suspended machine's timers stand still, so a jump of the clocks is noticed this long after waking at the latest.
	lookOften = 200 * time.Millisecond
	forever   = time.Duration(1<<63 - 1)

	callsAtOnce = 4
	briefest    = 50 * time.Millisecond // for one call
)

// margin is how long before the end of a lease the lock counts as lost: time for its user to stop, and for clocks that
// run at different speeds.
func (l *Lock) margin() time.Duration { return l.lease.TTL / 5 }

// renewed notes a successful renewal.
func (l *Lock) renewed(sent instant) {
	l.sent = sent
	l.renewAt = sent.mono + l.lease.TTL/3
}

// deadline is when the lock is lost unless it was renewed.
func (l *Lock) deadline() time.Duration { return l.sent.mono + l.lease.TTL - l.margin() }

// overdue says why the lock must count as lost by now, or nil.
func (l *Lock) overdue(now instant) error {
	if jump := now.jump(l.sent); jump > l.margin() {
		return l.c.fault(fault.LeaseLost, "cache: lock", l.Name(), "the clocks have moved apart by %v, as after a suspend: the lock may be another's", jump.Round(time.Millisecond))
	}
	if now.mono >= l.deadline() {
		return l.c.fault(fault.LeaseLost, "cache: lock", l.Name(), "the lease of %v could not be renewed for %v", l.lease.TTL, (now.mono - l.sent.mono).Round(time.Millisecond))
	}
	return nil
}

func (k *keeper) init(c *Cache) {
	k.c = c
	k.wake = make(chan struct{}, 1)
	k.held = map[*Lock]struct{}{}
	k.sleepsTil = forever
}

// add begins to look after a lock. It fails when the Cache is closed, or the lock is lost already because the answer
// was so long on its way.
func (k *keeper) add(l *Lock) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return k.c.closedFault("", "")
	}
	if late := l.overdue(k.c.clock()); late != nil {
		return late
	}
	k.held[l] = struct{}{}
	k.added = true
	k.expect(l.renewAt)
	return nil
}

// remove ends looking after a lock that is being unlocked, and answers nil; or why it was held no longer.
func (k *keeper) remove(l *Lock) error {
	k.mu.Lock()
	lost := k.noticeLoss(l)
	if l.ended != nil {
		k.mu.Unlock()
		k.tell(lost)
		return l.ended
	}
	l.ended = errUnlocked
	delete(k.held, l)
	k.mu.Unlock()
	return nil
}

// whyEnded answers nil while the lock is held, by both clocks as they are now.
func (k *keeper) whyEnded(l *Lock) error {
	k.mu.Lock()
	lost := k.noticeLoss(l)
	ended := l.ended
	k.mu.Unlock()
	k.tell(lost)
	return ended
}

// noticeLoss ends the lock if it is overdue, and returns it then for tell. k.mu is held.
func (k *keeper) noticeLoss(l *Lock) []*Lock {
	if l.ended != nil {
		return nil
	}
	late := l.overdue(k.c.clock())
	if late == nil {
		return nil
	}
	l.ended = late
	delete(k.held, l)
	return []*Lock{l}
}

// tell cancels the contexts of locks that were lost. k.mu is not held, because what a context calls is not ours.
func (k *keeper) tell(lost []*Lock) {
	for _, l := range lost {
		l.cancel(l.ended)
		k.c.stats.locksLost.Add(1)
		k.c.log.Warn("cache: a lock was lost", "lock", l.Name(), "fence", l.Fence(), "error", l.ended)
	}
}

// expect makes run look at that time at the latest. k.mu is held.
func (k *keeper) expect(at time.Duration) {
	if !k.started && !k.closed {
		k.started = k.c.spawn(k.run)
	}
	if at < k.sleepsTil {
		k.nudge()
	}
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.c.life.Done():
			return
		case <-k.wake:
		case <-timer.C:
		}
		timer.Reset(k.look())
	}
}

// look tells of losses, begins the calls that are due, and answers in how long to look again.
func (k *keeper) look() time.Duration {
	now := k.c.clock()
	var lost, due, soon []*Lock
	k.mu.Lock()
	next := forever
	if len(k.held) > 0 || k.added { // where locks come and go quickly, each would wake run otherwise
		next = now.mono + lookOften
	}
	k.added = false
	for l := range k.held {
		if late := l.overdue(now); late != nil {
			l.ended = late
			delete(k.held, l)
			lost = append(lost, l)
			continue
		}
		next = min(next, l.deadline())
		switch {
		case l.renewing:
		case now.mono >= l.renewAt:
			due = append(due, l)
		default:
			next = min(next, l.renewAt)
			if now.mono >= l.renewAt-l.lease.TTL/12 {
				soon = append(soon, l)
			}
		}
	}
	if len(due) > 0 { // what is due soon goes along, so that many locks come to share few calls
		due = append(due, soon...)
	}
	next = min(next, k.settleDebts(now))
	k.renewAll(due, now)
	k.sleepsTil = next
	k.mu.Unlock()
	k.tell(lost)
	return next - now.mono
}

// renewAll begins renewals, as far as the bound on calls allows; the rest is looked at again when a call ends. k.mu is
// held.
func (k *keeper) renewAll(due []*Lock, now instant) {
	for len(due) > 0 && k.calls < callsAtOnce {
		some := due[:min(len(due), k.c.batchSize())]
		due = due[len(some):]
		leases := make([]Lease, len(some))
		patience := forever
		for i, l := range some {
			l.renewing = true
			leases[i] = l.lease
			patience = min(patience, l.lease.TTL/6) // time for two more attempts when the store is silent
		}
		k.call(func() { k.renew(some, leases, now, max(patience, briefest)) })
	}
}

// call runs f beside the keeper, and looks again when it is done. k.mu is held.
func (k *keeper) call(f func()) {
	k.calls++
	k.c.running.Go(func() { // run is running, so Close still waits
		f()
		k.mu.Lock()
		k.calls--
		k.mu.Unlock()
		k.nudge()
	})
}

func (k *keeper) renew(locks []*Lock, leases []Lease, sent instant, patience time.Duration) {
	ctx, cancel := context.WithTimeout(k.c.life, patience)
	defer cancel()
	answers, err := k.c.backend.Renew(ctx, leases)
	if err == nil && len(answers) != len(leases) {
		err = fault.New(fault.Internal, "the transport gave %d answers to %d renewals", len(answers), len(leases))
	}
	var lost []*Lock
	trouble := err // whose locks are tried again
	k.mu.Lock()
	again := k.c.clock().mono
	for i, l := range locks {
		l.renewing = false
		failure := err
		if failure == nil {
			failure = answers[i].Err
		}
		switch {
		case l.ended != nil:
		case failure == nil:
			l.renewed(sent)
		case errors.Is(failure, ErrLeaseLost):
			l.ended = k.c.at(failure, "cache: renew", l.Name())
			delete(k.held, l)
			lost = append(lost, l)
		default:
			trouble = failure
			l.renewAt = again + retryDelay(l.lease)
		}
	}
	k.mu.Unlock()
	k.tell(lost)
	if trouble != nil && !k.c.closed.Load() {
		k.c.stats.renewalsFailed.Add(1)
		k.c.log.Warn("cache: locks could not be renewed; trying again", "locks", len(locks), "error", trouble)
	}
}

// retryDelay is when to repeat a call that failed for a lease.
func retryDelay(l Lease) time.Duration { return min(max(l.TTL/24, time.Millisecond), time.Second) }
