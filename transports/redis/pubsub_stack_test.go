package redis_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

// What pubsub.PubSub promises above the driver, over a real server and real faults.

func busOver(t *testing.T, tr transports.Transport) *pubsub.PubSub {
	t.Helper()
	bus := pubsub.New(tr.PubSub(), pubsub.Options{})
	t.Cleanup(func() { _ = bus.Close() })
	return bus
}

func TestConcurrentPublishersOfOneSubjectMakeNoFalseGapOverRedis(t *testing.T) {
	t.Parallel()
	const publishers, each = 64, 100
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	from, to := busOver(t, node(t, addr, ns)), busOver(t, node(t, addr, ns))
	s, err := to.Subscribe(t.Context(), "load.x", pubsub.Buffer(publishers*each))
	require.NoError(t, err)

	var publishing sync.WaitGroup
	failed := make(chan error, publishers)
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				// Some are large: they travel on another connection, past the small ones.
				payload := make([]byte, 100+(p*i%7/6)*100_000)
				if _, err := from.Publish(context.Background(), "load.x", payload); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	publishing.Wait()
	require.Empty(t, failed)

	eventually(t, "all arrive", func() bool { return s.Stats().Received == publishers*each })
	require.Zero(t, s.Stats().Gaps)
	require.Zero(t, s.Stats().Duplicates)
}

func TestWhatALinkLostIsCountedExactlyOverRedis(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	far, proxy := behind(t, addr, ns, quick)
	from, to := busOver(t, node(t, addr, ns)), busOver(t, far)
	literal, err := to.Subscribe(t.Context(), "count.x")
	require.NoError(t, err)
	wild, err := to.Subscribe(t.Context(), "count.*")
	require.NoError(t, err)

	published := 0
	send := func() {
		published++
		_, err := from.Publish(t.Context(), "count.x", fmt.Append(nil, published))
		require.NoError(t, err)
	}
	for range 5 {
		send()
	}
	for _, s := range []*pubsub.Stream{literal, wild} {
		eventually(t, "the first arrive", func() bool { return s.Stats().Received == 5 })
	}
	proxy.Swallow(true)
	for range 37 {
		send()
	}
	eventually(t, "the dead link is noticed", func() bool { return literal.Stats().Gaps > 0 || !status(far).Connected })
	proxy.Swallow(false)
	for _, s := range []*pubsub.Stream{literal, wild} {
		eventually(t, "both are subscribed again", func() bool { return s.Stats().Gaps > 0 })
	}
	send()

	for _, s := range []*pubsub.Stream{literal, wild} {
		eventually(t, "what came and what is known to be lost is all", func() bool {
			stats := s.Stats()
			return stats.Received+stats.Missed == uint64(published)
		})
		require.EqualValues(t, 37, s.Stats().Missed)
		requireReconnectThenCount(t, s, 37)
	}
}

// requireReconnectThenCount reads a stream up to a gap of a reconnect, and the exact one after it.
func requireReconnectThenCount(t *testing.T, s *pubsub.Stream, lost int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	reconnected := false
	for e, err := range s.All(ctx) {
		require.NoError(t, err)
		switch {
		case e.Gap == nil:
		case e.Gap.Cause == pubsub.Reconnected:
			reconnected = true
		default:
			require.True(t, reconnected)
			require.Equal(t, pubsub.Skipped, e.Gap.Cause)
			require.Equal(t, lost, e.Gap.Lost)
			return
		}
	}
}
