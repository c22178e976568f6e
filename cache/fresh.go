package cache

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// refreshes are the keys that this process refreshes in the background, or has just tried to. The zero refreshes is
// ready.
type refreshes struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

// How long a key is left alone after a refresh that did not happen: another node has the lock, or the loader failed.
const (
	retryBusy   = 250 * time.Millisecond
	retryFailed = time.Second
)

// staleAt is from when on an entry is to be refreshed. The jitter comes from the revision, so all nodes agree on it.
func staleAt(entry Entry, o LoadOptions) time.Time {
	fresh := o.Fresh
	if o.Jitter > 0 {
		fresh -= time.Duration(float64(fresh) * o.Jitter * entry.Revision.unit())
	}
	return entry.Created.Add(fresh)
}

// unit is a number of [0, 1) that belongs to the revision.
func (r Revision) unit() float64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(r)) // never fails
	return float64(hash.Sum64()>>11) / (1 << 53)
}

func randomUnit() float64 { return rand.Float64() }

// refresh loads a key anew in the background, unless somebody does already.
func (c *Cache) refresh(ctx context.Context, l loading, stale Revision) {
	if !c.fresh.begin(l.key, c.options.Refreshes, &c.stats) {
		return
	}
	l.stale = stale
	own, done := c.whileOpen(context.WithoutCancel(ctx))
	begun := c.spawn(func() {
		defer done()
		defer c.fresh.end(l.key)
		c.refreshNow(own, l)
	})
	if !begun {
		done()
		c.fresh.end(l.key)
	}
}

func (c *Cache) refreshNow(ctx context.Context, l loading) {
	asking := asking{c: c, op: l.op, name: l.key, ttl: l.o.Lease}
	lock, err := asking.once(ctx, ctx, 0)
	if errors.Is(err, ErrLocked) {
		_ = c.pause(ctx, jittered(retryBusy)) // whoever has it refreshes it, or will be asked again
		return
	}
	if err == nil {
		c.stats.refreshes.Add(1)
		err = refreshUnder(ctx, l, lock)
	}
	if err == nil || errors.Is(err, ErrNotFound) || c.closed.Load() {
		return
	}
	c.stats.refreshesFailed.Add(1)
	c.log.Warn("cache: a background refresh failed; the old value serves on", "key", l.key, "error", err)
	_ = c.pause(ctx, jittered(retryFailed))
}

func refreshUnder(ctx context.Context, l loading, lock *Lock) error {
	defer lock.unlockSoon(ctx)
	_, err := l.under(ctx, lock)
	return err
}

// begin notes that a key is being refreshed; false when it is already, or too many are.
func (r *refreshes) begin(key string, most int, stats *counters) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, running := r.keys[key]; running {
		return false
	}
	if len(r.keys) >= most {
		stats.refreshesSkipped.Add(1)
		return false
	}
	if r.keys == nil {
		r.keys = map[string]struct{}{}
	}
	r.keys[key] = struct{}{}
	return true
}

func (r *refreshes) end(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, key)
}
