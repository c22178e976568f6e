package cache

import (
	"context"
	"io"
	"time"
)

// Suspend makes the wall clock jump ahead of the monotonic one, as it does while a machine sleeps.
func (c *Cache) Suspend(d time.Duration) {
	clock := c.clock
	c.keeper.mu.Lock()
	defer c.keeper.mu.Unlock()
	c.clock = func() instant {
		now := clock()
		now.wall = now.wall.Add(d)
		return now
	}
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
