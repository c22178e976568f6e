package queue

import (
	"sync"
	"time"
)

// pace decides when to claim, and how many.
//
// While tasks are few, one claim at a time waits for them, for as many as slots are free. While the last claim came
// back full, claims do not wait, and reach ahead of the free slots by as many tasks as the slots will probably finish
// during the round trip (reckoned from how long tasks took lately), at most prefetch: so long tasks are never taken
// from other workers, and a long round trip does not leave the slots idle.
//
//	asked:  tasks of claims under way     out: tasks claimed and not finished
type pace struct {
	slots    int
	prefetch int
	largest  int // claim that the transport takes

	mu       sync.Mutex
	changed  sync.Cond
	closed   bool
	out      int
	asked    int
	claims   int           // under way
	hungry   bool          // the last claim came back full
	ahead    int           // tasks the slots will finish during a claim
	each     time.Duration // how long a task takes: a moving average
	lastDone time.Time
}

func newPace(slots, prefetch, largest int) *pace {
	p := &pace{slots: slots, prefetch: prefetch, largest: largest}
	p.changed.L = &p.mu
	return p
}

// take waits until tasks should be claimed, and reserves room for them. false after close.
func (p *pace) take() (most int, wait, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed {
		if most, wait := p.next(); most > 0 {
			p.asked += most
			p.claims++
			return most, wait, true
		}
		p.changed.Wait()
	}
	return 0, false, false
}

// next is how many tasks to claim now, and whether to wait for them; 0: none until something changes.
func (p *pace) next() (most int, wait bool) {
	free := p.slots - p.out - p.asked
	switch room := free + p.ahead; {
	case !p.hungry && p.claims == 0:
		return min(free, p.largest), true
	case !p.hungry:
		return 0, false
	case p.claims == 0 && free > 0, room >= min(p.slots, p.largest): // a slot is idle, or a claim is worth its round trip
		return min(room, p.largest), false
	}
	return 0, false
}

// got ends a claim that asked for most tasks and got n of them.
func (p *pace) got(most, n int, waited bool, sent, now time.Time) {
	p.mu.Lock()
	p.asked -= most
	p.claims--
	p.out += n
	p.hungry = n >= most
	p.ahead = 0
	if p.hungry && !waited {
		// That nothing has been done for a while says more than what was done before it.
		each := max(p.each, now.Sub(p.lastDone), time.Microsecond)
		p.ahead = min(int(time.Duration(p.slots)*now.Sub(sent)/each), p.prefetch)
	}
	p.mu.Unlock()
	p.changed.Broadcast()
}

// done ends a task that kept a slot.
func (p *pace) done(began, now time.Time) {
	p.mu.Lock()
	p.out--
	p.each += (now.Sub(began) - p.each) / 16
	p.lastDone = now
	p.wake()
}

// dropped ends a task that was given back without having had a slot.
func (p *pace) dropped() {
	p.mu.Lock()
	p.out--
	p.wake()
}

func (p *pace) wake() {
	most, _ := p.next()
	p.mu.Unlock()
	if most > 0 {
		p.changed.Signal()
	}
}

// close makes take answer false from now on.
func (p *pace) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.changed.Broadcast()
}
