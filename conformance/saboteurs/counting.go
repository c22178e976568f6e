package saboteurs

import (
	"context"
	"strconv"
	"sync"

	"github.com/gobackplane/backplane/cache"
)

// counting numbers the versions of each entry from its creation on, as a store without better revisions would.
type counting struct {
	mu     sync.Mutex
	counts map[string]int                               // by key
	shown  map[cache.Revision]cache.Revision            // by the real one
	real   map[string]map[cache.Revision]cache.Revision // by key and the one shown: of the last that was shown so
}

func newCounting() *counting {
	return &counting{
		counts: map[string]int{}, shown: map[cache.Revision]cache.Revision{}, real: map[string]map[cache.Revision]cache.Revision{},
	}
}

// show is the number of a real revision, which is the next one if it has none yet.
func (c *counting) show(key string, real cache.Revision) cache.Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	if real == "" {
		return ""
	}
	if shown, known := c.shown[real]; known {
		return shown
	}
	c.counts[key]++
	shown := cache.Revision(strconv.Itoa(c.counts[key]))
	c.shown[real] = shown
	if c.real[key] == nil {
		c.real[key] = map[cache.Revision]cache.Revision{}
	}
	c.real[key][shown] = real
	return shown
}

// mean is the condition that a caller means who has seen only numbers.
func (c *counting) mean(key string, condition *cache.Condition) {
	shown, is := condition.WantsRevision()
	c.mu.Lock()
	defer c.mu.Unlock()
	if real, known := c.real[key][shown]; is && known {
		*condition = cache.IfRevision(real)
	}
}

func (c *counting) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.counts, key)
}

func (c *counting) replace(honest cache.Backend, d *driver) {
	d.get = func(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
		got, err := honest.Get(ctx, reads)
		for i := range got {
			got[i].Entry.Revision = c.show(reads[i].Key, got[i].Entry.Revision)
		}
		return got, err
	}
	d.set = func(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
		written, err := honest.Set(ctx, altered(writes, func(w *cache.Write) { c.mean(w.Key, &w.If) }))
		for i := range written {
			written[i].Revision = c.show(writes[i].Key, written[i].Revision)
		}
		return written, err
	}
	d.add = func(ctx context.Context, increments []cache.Increment) ([]cache.Sum, error) {
		sums, err := honest.Add(ctx, increments)
		for i := range sums {
			sums[i].Revision = c.show(increments[i].Key, sums[i].Revision)
		}
		return sums, err
	}
	d.remove = func(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
		removed, err := honest.Delete(ctx, altered(removals, func(r *cache.Removal) { c.mean(r.Key, &r.If) }))
		for i := range removed {
			if removed[i].Existed {
				c.forget(removals[i].Key)
			}
		}
		return removed, err
	}
}
