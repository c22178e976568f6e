package cache

import "sync/atomic"

// Stats counts what a Cache did where no caller saw it. All numbers grow from 0 at New.
type Stats struct {
	Loads             uint64 // loaders run, in the background too
	LoadsRefused      uint64 // values of loaders refused, because their lock was lost or the entry changed meanwhile
	LoaderPanics      uint64 // loaders that panicked
	Refreshes         uint64 // background refreshes begun
	RefreshesFailed   uint64 // those that failed, and were logged
	RefreshesSkipped  uint64 // those not begun, because as many were running as Options.Refreshes allows
	LocksLost         uint64 // locks lost before they were unlocked, each logged
	RenewalsFailed    uint64 // calls that should have renewed locks and failed; they are repeated
	ReleasesAbandoned uint64 // locks that could not be given back in time, and ended by themselves
}

type counters struct {
	loads, loadsRefused, loaderPanics            atomic.Uint64
	refreshes, refreshesFailed, refreshesSkipped atomic.Uint64
	locksLost, renewalsFailed, releasesAbandoned atomic.Uint64
}

// Stats reads the counters.
func (c *Cache) Stats() Stats {
	n := &c.stats
	return Stats{
		Loads: n.loads.Load(), LoadsRefused: n.loadsRefused.Load(), LoaderPanics: n.loaderPanics.Load(),
		Refreshes: n.refreshes.Load(), RefreshesFailed: n.refreshesFailed.Load(), RefreshesSkipped: n.refreshesSkipped.Load(),
		LocksLost: n.locksLost.Load(), RenewalsFailed: n.renewalsFailed.Load(), ReleasesAbandoned: n.releasesAbandoned.Load(),
	}
}
