package main

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/cache"
)

// natsCacheRows are those over JetStream, against its own key-value store: files on both sides, one server.
var natsCacheRows = []row{
	natsCacheRow("nats: cache get, 1 goroutine", 0.85, 1, natsCacheGet),
	natsCacheRow("nats: cache get, 64 goroutines", 0.85, 64, natsCacheGet),
	natsCacheRow("nats: cache set, 1 goroutine", 0.85, 1, natsCacheSet),
	natsCacheRow("nats: cache set, 64 goroutines", 0.85, 64, natsCacheSet),
	natsLockRow("nats: lock and unlock, 1 goroutine", 0.6, 1),
	natsLockRow("nats: lock and unlock, 64 goroutines", 0.6, 64),
}

// natsKey is keyFor without what the peer's keys cannot have.
func natsKey(g, i int) string { return "key" + keyFor(g, i)[len("key:"):] }

// Budget: one request, as the peer's: a direct get, or one publish.
func natsCacheRow(name string, bar float64, goroutines int, op func(*cache.Cache, jetstream.KeyValue, []byte) (ours, theirs operation)) row {
	return row{name: name, peer: "jetstream key-value", unit: "/s", bar: bar, pinned: goroutines == 1, nats: true, setup: func(e *env) (side, side, error) {
		c, kv, err := natsCaches(e)
		if err != nil {
			return nil, nil, err
		}
		value := make([]byte, 100)
		for i := range keysPerRow {
			if _, err := c.Set(e.ctx, natsKey(0, i), value); err != nil {
				return nil, nil, err
			}
			if _, err := kv.Put(e.ctx, natsKey(0, i), value); err != nil {
				return nil, nil, err
			}
		}
		ours, theirs := op(c, kv, value)
		return perSecond(goroutines, ours), perSecond(goroutines, theirs), nil
	}}
}

func natsCaches(e *env) (*cache.Cache, jetstream.KeyValue, error) {
	t, err := e.openNATS()
	if err != nil {
		return nil, nil, err
	}
	if t.Cache() == nil {
		return nil, nil, errors.New("the row's nats-server has no JetStream")
	}
	c := cache.New(t.Cache(), cache.Options{})
	e.cleanup(func() { c.Close() })
	raw, err := e.rawNATS()
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(raw)
	if err != nil {
		return nil, nil, err
	}
	kv, err := js.CreateKeyValue(e.ctx, jetstream.KeyValueConfig{Bucket: "peer", Storage: jetstream.FileStorage})
	return c, kv, err
}

func natsCacheGet(c *cache.Cache, kv jetstream.KeyValue, _ []byte) (ours, theirs operation) {
	return func(ctx context.Context, g, i int) error {
			_, err := c.Get(ctx, natsKey(g, i))
			return err
		}, func(ctx context.Context, g, i int) error {
			_, err := kv.Get(ctx, natsKey(g, i))
			return err
		}
}

func natsCacheSet(c *cache.Cache, kv jetstream.KeyValue, value []byte) (ours, theirs operation) {
	return func(ctx context.Context, g, i int) error {
			_, err := c.Set(ctx, natsKey(g, i), value)
			return err
		}, func(ctx context.Context, g, i int) error {
			_, err := kv.Put(ctx, natsKey(g, i), value)
			return err
		}
}

// Budget: four round trips: each of the two writes is decided upon what was read before. The peer makes a key and deletes
// it, two round trips: its lock has no holder to be told of, no lease, no fence that is remembered, and anybody may free it.
func natsLockRow(name string, bar float64, goroutines int) row {
	return row{name: name, peer: "jetstream create, delete", unit: "/s", bar: bar, pinned: goroutines == 1, nats: true, setup: func(e *env) (side, side, error) {
		c, kv, err := natsCaches(e)
		if err != nil {
			return nil, nil, err
		}
		ours := func(ctx context.Context, g, i int) error {
			lock, err := c.Lock(ctx, natsKey(g, 0))
			if err != nil {
				return err
			}
			return lock.Unlock(ctx)
		}
		theirs := func(ctx context.Context, g, i int) error {
			if _, err := kv.Create(ctx, natsKey(g, 0), nil); err != nil {
				return err
			}
			return kv.Delete(ctx, natsKey(g, 0))
		}
		return perSecond(goroutines, ours), perSecond(goroutines, theirs), nil
	}}
}
