package main

import (
	"context"
	"strconv"
	"time"

	"github.com/bsm/redislock"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/cache"
)

// keysPerRow is how many keys the cache rows use: enough that no two goroutines meet often.
const keysPerRow = 1024

var cacheKeys = func() []string {
	keys := make([]string, keysPerRow)
	for i := range keys {
		keys[i] = "key:" + strconv.Itoa(i)
	}
	return keys
}()

func keyFor(goroutine, i int) string { return cacheKeys[(goroutine*31+i)%keysPerRow] }

// Budget: one round trip, one plain command; 64 goroutines share round trips.
func cacheRow(name string, bar float64, goroutines int, op func(*cache.Cache, *goredis.Client, []byte) (ours, theirs operation)) row {
	return row{name: name, peer: "go-redis, plain pool", unit: "/s", bar: bar, pinned: goroutines == 1, setup: func(e *env) (side, side, error) {
		t, err := e.open()
		if err != nil {
			return nil, nil, err
		}
		c := cache.New(t.Cache(), cache.Options{})
		e.cleanup(func() { c.Close() })
		raw := e.client()
		value := make([]byte, 100)
		for _, key := range cacheKeys {
			if _, err := c.Set(e.ctx, key, value); err != nil {
				return nil, nil, err
			}
			if err := raw.Set(e.ctx, key, value, 0).Err(); err != nil {
				return nil, nil, err
			}
		}
		ours, theirs := op(c, raw, value)
		return perSecond(goroutines, ours), perSecond(goroutines, theirs), nil
	}}
}

type operation = func(ctx context.Context, goroutine, i int) error

func cacheGet(c *cache.Cache, raw *goredis.Client, _ []byte) (ours, theirs operation) {
	return func(ctx context.Context, g, i int) error {
			_, err := c.Get(ctx, keyFor(g, i))
			return err
		}, func(ctx context.Context, g, i int) error {
			return raw.Get(ctx, keyFor(g, i)).Err()
		}
}

func cacheSet(c *cache.Cache, raw *goredis.Client, value []byte) (ours, theirs operation) {
	return func(ctx context.Context, g, i int) error {
			_, err := c.Set(ctx, keyFor(g, i), value)
			return err
		}, func(ctx context.Context, g, i int) error {
			return raw.Set(ctx, keyFor(g, i), value, 0).Err()
		}
}

// Budget: two round trips, two scripts. Ours gives a fence and renews itself; the peer does neither. Each goroutine has
// locks of its own, so nobody waits.
func lockRow(name string, bar float64, goroutines int) row {
	return row{name: name, peer: "bsm/redislock", unit: "/s", bar: bar, pinned: goroutines == 1, setup: func(e *env) (side, side, error) {
		t, err := e.open()
		if err != nil {
			return nil, nil, err
		}
		c := cache.New(t.Cache(), cache.Options{})
		e.cleanup(func() { c.Close() })
		locker := redislock.New(e.client())
		ours := func(ctx context.Context, g, i int) error {
			lock, err := c.Lock(ctx, keyFor(g, 0))
			if err != nil {
				return err
			}
			return lock.Unlock(ctx)
		}
		theirs := func(ctx context.Context, g, i int) error {
			lock, err := locker.Obtain(ctx, "lock:"+keyFor(g, 0), 15*time.Second, nil)
			if err != nil {
				return err
			}
			return lock.Release(ctx)
		}
		return perSecond(goroutines, ours), perSecond(goroutines, theirs), nil
	}}
}
