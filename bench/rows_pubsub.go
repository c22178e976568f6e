package main

import (
	"context"

	"github.com/gobackplane/backplane/pubsub"
)

var payload128 = make([]byte, 128)

// Budget: one round trip, one PUBLISH; 64 goroutines share round trips. Nobody listens, on either side.
func publishRow(name string, bar float64, goroutines int) row {
	return row{name: name, peer: "go-redis, plain pool", unit: "/s", bar: bar, pinned: goroutines == 1, setup: func(e *env) (side, side, error) {
		t, err := e.open()
		if err != nil {
			return nil, nil, err
		}
		bus := pubsub.New(t.PubSub(), pubsub.Options{})
		e.cleanup(func() { bus.Close() })
		raw := e.client()
		ours := func(ctx context.Context, g, i int) error {
			_, err := bus.Publish(ctx, "bench.subject", payload128)
			return err
		}
		theirs := func(ctx context.Context, g, i int) error {
			return raw.Publish(ctx, "bench.subject", payload128).Err()
		}
		return perSecond(goroutines, ours), perSecond(goroutines, theirs), nil
	}}
}
