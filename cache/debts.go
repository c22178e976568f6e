package cache

import (
	"context"
	"errors"
	"time"
)

// debt is a lease to be given back in the background: its holder could not, or does not know that it has it.
type debt struct {
	lease Lease
	at    time.Duration // when to try
	until time.Duration // when it has ended by itself
	tries int           // how often the store has answered that there is no such lease
}

// surely is how often the store must say that it knows nothing of a lease whose acquisition was not answered: what was
// sent to acquire it may still be on its way, and arrive when the lease has been "given back" already. Each time is twice
// as far from the one before, so that it is some seconds until the last.
const surely = 4

// mostDebts bounds them; more are left to end by themselves.
const mostDebts = 4096

// owe gives a lease back in the background.
func (k *keeper) owe(lease Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.c.clock().mono
	if len(k.debts) >= mostDebts {
		k.c.stats.releasesAbandoned.Add(1)
		return
	}
	k.debts = append(k.debts, debt{lease: lease, at: now, until: now + lease.TTL})
	k.expect(now)
}

// settleDebts begins to give leases back that are due, and answers when the next are. k.mu is held.
func (k *keeper) settleDebts(now instant) (next time.Duration) {
	next = forever
	var due []debt
	rest := k.debts[:0]
	for _, d := range k.debts {
		switch {
		case now.mono >= d.until:
			if d.tries == 0 {
				k.c.stats.releasesAbandoned.Add(1)
			}
		case now.mono >= d.at && k.calls < callsAtOnce && len(due) < k.c.batchSize():
			due = append(due, d)
		default:
			rest = append(rest, d)
			if k.calls < callsAtOnce && len(due) < k.c.batchSize() { // otherwise the end of a call wakes us
				next = min(next, d.at)
			}
		}
	}
	clear(k.debts[len(rest):])
	k.debts = rest
	if len(due) > 0 {
		k.call(func() { k.pay(due) })
	}
	return next
}

func (k *keeper) pay(due []debt) {
	ctx, cancel := context.WithTimeout(k.c.life, closePatience)
	defer cancel()
	unpaid := k.releaseAll(ctx, due)
	k.mu.Lock()
	now := k.c.clock().mono
	for _, d := range unpaid {
		d.at = now + retryDelay(d.lease)<<max(d.tries-1, 0)
		k.debts = append(k.debts, d)
	}
	k.mu.Unlock()
}

// releaseAll gives leases back in one call, and returns those for which it is not known that they have ended.
func (k *keeper) releaseAll(ctx context.Context, due []debt) (unpaid []debt) {
	leases := make([]Lease, len(due))
	for i, d := range due {
		leases[i] = d.lease
	}
	errs, err := k.c.backend.Release(ctx, leases)
	if err != nil || len(errs) != len(due) {
		return due
	}
	for i, d := range due {
		switch {
		case errs[i] == nil:
			continue
		case errors.Is(errs[i], ErrLeaseLost):
			if d.tries++; d.lease.Fence > 0 || d.tries == surely {
				continue
			}
		}
		unpaid = append(unpaid, d)
	}
	return unpaid
}

// endAll ends the contexts of all locks, and owes their leases: giveBack comes when their users have had time to stop.
func (k *keeper) endAll(cause error) {
	k.mu.Lock()
	k.closed = true
	now := k.c.clock().mono
	var ended []*Lock
	for l := range k.held {
		l.ended = cause
		ended = append(ended, l)
		k.debts = append(k.debts, debt{lease: l.lease, until: now + l.lease.TTL})
	}
	clear(k.held)
	k.mu.Unlock()
	for _, l := range ended {
		l.cancel(cause)
	}
}

// giveBack is Close's last step: what is still owed is given back, as far as the store answers in time.
func (k *keeper) giveBack() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.c.life), closePatience)
	defer cancel()
	k.mu.Lock()
	debts := k.debts
	k.debts = nil
	k.mu.Unlock()
	for len(debts) > 0 {
		some := debts[:min(len(debts), k.c.batchSize())]
		debts = debts[len(some):]
		unpaid := 0
		for _, d := range k.releaseAll(ctx, some) {
			if d.tries == 0 { // the others are most likely none: see surely
				unpaid++
			}
		}
		if unpaid > 0 {
			k.c.stats.releasesAbandoned.Add(uint64(unpaid))
			k.c.log.Warn("cache: locks could not be given back at close; they end by themselves", "locks", unpaid)
		}
	}
}
