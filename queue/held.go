package queue

import (
	"sync"
	"time"
)

// held is the set of all leases that this worker has: waiting for a slot, running, or being settled. Its lock is never
// held over a call to the store.
type held struct {
	mu   sync.Mutex
	all  []*Delivery
	look time.Time     // when the heartbeat means to look next; zero: it sleeps until woken
	wake chan struct{} // wakes the heartbeat

	shortest time.Duration // lease seen lately
	seen     time.Time     // when that was
}

// lately is how long the heartbeat is ready for another lease as short as one that it has seen: long enough for the
// pauses of a queue that is in use, and short enough that one whose lease was configured longer is soon left in peace.
const lately = time.Minute

func newHeld() *held { return &held{wake: make(chan struct{}, 1)} }

// add takes what one claim brought.
func (h *held) add(claimed []*Delivery, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	stragglers := h.stragglers(now)
	soonest := h.look
	for _, d := range claimed {
		d.overlaps = len(stragglers) > 0 && stragglers[d.name()]
		d.index = len(h.all)
		h.all = append(h.all, d)
		soonest = earlier(soonest, d.attention())
		h.noteLease(d.lease, now)
	}
	if soonest != h.look {
		h.look = soonest
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// noteLease keeps the shortest lease up to date.
func (h *held) noteLease(lease time.Duration, now time.Time) {
	if h.shortest == 0 || lease <= h.shortest || now.Sub(h.seen) > lately {
		h.shortest, h.seen = lease, now
	}
}

// stragglers are the tasks whose handlers run on here although their lease is lost: a later claim may bring them again.
func (h *held) stragglers(now time.Time) map[string]bool {
	var found map[string]bool
	for _, d := range h.all {
		if d.phase.Load() == running && (d.over || !now.Before(d.expires)) {
			if found == nil {
				found = map[string]bool{}
			}
			found[d.name()] = true
		}
	}
	return found
}

// remove drops leases that are settled or lost. Those dropped before are passed over.
func (h *held) remove(gone ...*Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range gone {
		if d.index < 0 {
			continue
		}
		last := len(h.all) - 1
		h.all[d.index] = h.all[last]
		h.all[d.index].index = d.index
		h.all[last] = nil
		h.all = h.all[:last]
		d.index = -1
	}
}

// lastExpiry is when the last of these leases ends.
func (h *held) lastExpiry(of []settlement) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	var last time.Time
	for i := range of {
		if d := of[i].of; d.expires.After(last) {
			last = d.expires
		}
	}
	return last
}

// expired reports whether a lease is lost, or may have ended.
func (h *held) expired(d *Delivery, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return d.over || !now.Before(d.expires)
}

// started notes when the timeout or deadline will end a handler's context.
func (h *held) started(d *Delivery, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.until = until
}

// returned reports whether a handler that has returned was complained about.
func (h *held) returned(d *Delivery) (complained bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return d.complained
}

// takeWaiting takes the tasks that no slot has begun: the caller is to give them back.
func (h *held) takeWaiting() (taken []*Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.all {
		if d.phase.CompareAndSwap(waiting, givenBack) {
			taken = append(taken, d)
		}
	}
	return taken
}

// endAll ends the contexts of all handlers.
func (h *held) endAll(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, d := range h.all {
		d.end(cause, now)
	}
}

// end ends the handler's context, and reports whether it was the first to. It is called with the set locked: cancelling
// runs no foreign code but AfterFuncs, each in a goroutine of its own.
func (d *Delivery) end(cause error, now time.Time) bool {
	d.cancel(cause)
	if !d.ended.IsZero() {
		return false
	}
	d.ended = now
	return true
}

// earlier is the earlier of two times, of which a zero one means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
