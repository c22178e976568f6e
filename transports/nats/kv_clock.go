package nats

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// storeClock knows the server's time from here: lifetimes are counted from the time at which the server stored a record, so
// whoever asks whether one has ended needs the server's clock and not its own.
//
// A sample is the server's answer to what time it is there. When it came in, the server's clock stood at that time or
// later; so now is never before what the clock says, and after it by at most one round trip of the best sample. Erring to
// this side, nothing ends early. The zero value knows nothing yet.
type storeClock struct {
	best   atomic.Pointer[[]sample]
	adding sync.Mutex // of those who add
}

// sample is one reading of the server's clock, with the time here before it was asked and after it had answered.
type sample struct {
	server      time.Time
	asked, told time.Time
}

const (
	samplesKept = 4
	// sampleEvery keeps what two clocks drift apart between samples (100 ppm at most) below 2 ms.
	sampleEvery = 15 * time.Second
	drift       = 10_000 // one part in so many
)

// earliest is the least that the server's clock can show at a time here.
func (s sample) earliest(now time.Time) time.Time {
	passed := now.Sub(s.told)
	return s.server.Add(passed - passed/drift)
}

// latest is the most that it can show.
func (s sample) latest(now time.Time) time.Time {
	passed := now.Sub(s.asked)
	return s.server.Add(passed + passed/drift)
}

// moment is what the server's clock shows, as far as that is known.
type moment struct {
	at     time.Time // it has reached this for certain
	latest time.Time // it has not passed this
	clock  *storeClock
	ended  <-chan struct{} // of the call that looks at the clock
}

// moment looks at the clock for a call, which ends with ctx.
func (c *storeClock) moment(ctx context.Context) moment {
	m := c.look()
	m.clock, m.ended = c, ctx.Done()
	return m
}

func (c *storeClock) look() moment {
	here := time.Now()
	m := moment{at: here, latest: here}
	known := c.best.Load()
	if known == nil {
		return m
	}
	for i, s := range *known {
		if t := s.earliest(here); i == 0 || t.After(m.at) {
			m.at = t
		}
		if t := s.latest(here); i == 0 || t.Before(m.latest) {
			m.latest = t
		}
	}
	return m
}

// now is a time that the server's clock has reached for certain.
func (c *storeClock) now() time.Time { return c.look().at }

// mostDoubt is how long a doubt is waited out. Over links that are slower than that what has ended to one node may be there
// to another for a moment.
const mostDoubt = 100 * time.Millisecond

// before tells whether something lasts that has an end. While that is in doubt it waits until it is not, so that what has
// ended to one node has ended to all that look afterwards, whatever their links: it is the wait for the end of an interval
// of Spanner's TrueTime (Corbett et al., OSDI 2012), and as long as the fastest of the last samples' round trips.
func (m moment) before(end time.Time) bool {
	switch {
	case !m.at.Before(end):
		return false
	case m.latest.Before(end), m.latest.Sub(m.at) > mostDoubt:
		return true
	}
	for began := time.Now(); ; {
		wait := end.Sub(m.clock.now())
		if wait <= 0 {
			return false
		}
		if wait > mostDoubt || time.Since(began) > mostDoubt { // the clock was set back
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-m.ended:
			timer.Stop()
			return true
		}
	}
}

// add takes a sample. One that an older sample contradicts shows that the server's clock was set back, or that another
// server leads now: then the older ones say nothing any more.
func (c *storeClock) add(s sample) {
	c.adding.Lock()
	defer c.adding.Unlock()
	kept := []sample{s}
	if known := c.best.Load(); known != nil {
		for _, old := range *known {
			if len(kept) < samplesKept && !old.earliest(s.told).After(s.latest(s.told)) {
				kept = append(kept, old)
			}
		}
	}
	c.best.Store(&kept)
}
