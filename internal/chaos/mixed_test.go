package chaos

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"

	_ "github.com/gobackplane/backplane/transports/nats"
)

var errand = queue.NewKind[int]("errand")

// member is a node of a cluster that keeps on Redis and talks over NATS.
type member struct {
	*backplane.Node
	ran  atomic.Int64 // tasks
	news atomic.Int64 // messages heard
}

func join(t *testing.T, name string, redis *servers.Redis, nats *servers.NATS) *member {
	t.Helper()
	node, err := backplane.Open(t.Context(), backplane.Config{
		Node:    backplane.NodeConfig{Name: name},
		Cluster: backplane.ClusterConfig{Name: "mixed", Insecure: true},
		Transports: map[string]backplane.TransportConfig{
			"store": {URL: redis.URL()},
			"bus":   {URL: nats.URL()},
		},
		Use:      backplane.Use{Cache: "store", Queue: "store", PubSub: "bus", RPC: "bus"},
		Shutdown: 5 * time.Second,
	})
	require.NoError(t, err)
	m := &member{Node: node}
	worker, err := node.Worker(queue.WorkerOptions{})
	require.NoError(t, err)
	require.NoError(t, queue.Handle(worker, errand, func(context.Context, *queue.Job[int]) error { m.ran.Add(1); return nil }))
	require.NoError(t, rpc.Handle(node.RPC(), "name", func(context.Context, struct{}) (string, error) { return name, nil }))
	_, err = node.PubSub().SubscribeFunc(t.Context(), "news.>", func(_ context.Context, e pubsub.Event) {
		if e.Message != nil {
			m.news.Add(1)
		}
	})
	require.NoError(t, err)
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { ended <- node.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	return m
}

// keeps reports whether what is on the store works, from one node to another.
func (m *member) keeps(t *testing.T, other *member) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := m.Cache().Set(ctx, "k", []byte(t.Name())); err != nil {
		return false
	}
	if entry, err := other.Cache().Get(ctx, "k"); err != nil || string(entry.Value) != t.Name() {
		return false
	}
	before := m.ran.Load() + other.ran.Load()
	if _, err := queue.Enqueue(ctx, m.Queue(), errand, 1); err != nil {
		return false
	}
	return until(ctx, func() bool { return m.ran.Load()+other.ran.Load() > before })
}

// talks reports whether what is on the bus works, from one node to another.
func (m *member) talks(t *testing.T, other *member) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	name, err := rpc.Call[string](ctx, m.RPC(), rpc.Node(other.Incarnation()), "name", struct{}{})
	if err != nil || name != other.Name() {
		return false
	}
	before := other.news.Load()
	if _, err := m.PubSub().Publish(ctx, "news.today", nil); err != nil {
		return false
	}
	return until(ctx, func() bool { return other.news.Load() > before })
}

func until(ctx context.Context, holds func() bool) bool {
	for !holds() {
		if pause(ctx, 10*time.Millisecond) != nil {
			return false
		}
	}
	return true
}

// Of Redis and NATS one goes away: what depends on the other goes on, and the rest is back once it is.
func TestRedisAndNATSBackOneClusterAndFailApart(t *testing.T) {
	redis := testserver.Redis(t, servers.RedisOptions{Persist: true})
	nats := testserver.NATS(t)
	a, b := join(t, "a", redis, nats), join(t, "b", redis, nats)
	require.Eventually(t, func() bool { return a.keeps(t, b) && a.talks(t, b) }, backAfter, 50*time.Millisecond, "before any fault")

	redis.Kill()
	require.Eventually(t, func() bool { return !a.keeps(t, b) }, backAfter, 50*time.Millisecond, "the store is away")
	for range 5 {
		require.True(t, a.talks(t, b) && b.talks(t, a), "pub/sub and RPC go on without the store")
	}
	_, err := a.Cache().Get(t.Context(), "k")
	require.Equal(t, fault.Unavailable, fault.CodeOf(err), "%v", err)
	require.NoError(t, redis.Restart(t.Context()))
	require.Eventually(t, func() bool { return a.keeps(t, b) && b.keeps(t, a) }, backAfter, 50*time.Millisecond, "the store is back")

	nats.Kill()
	require.Eventually(t, func() bool { return !a.talks(t, b) }, backAfter, 50*time.Millisecond, "the bus is away")
	for range 5 {
		require.True(t, a.keeps(t, b) && b.keeps(t, a), "cache and queue go on without the bus")
	}
	require.NoError(t, nats.Restart(t.Context()))
	require.Eventually(t, func() bool { return a.talks(t, b) && b.talks(t, a) }, 2*backAfter, 50*time.Millisecond, "the bus is back")
}
