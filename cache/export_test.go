package cache

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// Suspendable gives a new Cache a clock whose wall time can be made to jump ahead of the monotonic one, as it does while
// a machine sleeps.
func (c *Cache) Suspendable() (suspend func(time.Duration)) {
	var jumped atomic.Int64
	clock := c.clock
	c.clock = func() instant {
		now := clock()
		now.wall = now.wall.Add(time.Duration(jumped.Load()))
		return now
	}
	return func(d time.Duration) { jumped.Add(int64(d)) }
}

// DumpInPasses is Dump that remembers no more than so many keys at a time.
func (c *Cache) DumpInPasses(ctx context.Context, w io.Writer, keysAPass int) (Dumped, error) {
	return c.dump(ctx, w, DumpOptions{}, keysAPass)
}

// DumpVersion is the newest format.
const DumpVersion = dumpVersion

// StaleAt is when an entry is to be refreshed.
func StaleAt(e Entry, o LoadOptions) time.Time { return staleAt(e, o) }

// HeldLocks counts the locks that are looked after.
func (c *Cache) HeldLocks() int {
	c.keeper.mu.Lock()
	defer c.keeper.mu.Unlock()
	return len(c.keeper.held)
}
