package backplane_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
)

var greet = queue.NewKind[string]("greet")

// open opens a node of a cluster in memory that only this test has.
func open(t *testing.T, name string) *backplane.Node {
	t.Helper()
	c := backplane.URL("memory:" + t.Name())
	c.Node.Name = name
	return openConfig(t, c)
}

func openConfig(t *testing.T, c backplane.Config) *backplane.Node {
	t.Helper()
	node, err := backplane.Open(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

func TestNodesShareEverything(t *testing.T) {
	a, b := open(t, "a"), open(t, "b")
	ctx := t.Context()

	_, err := a.Cache().Set(ctx, "k", []byte("v"))
	require.NoError(t, err)
	entry, err := b.Cache().Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(entry.Value))

	stream, err := b.PubSub().Subscribe(ctx, "news.*")
	require.NoError(t, err)
	_, err = a.PubSub().Publish(ctx, "news.sport", []byte("1:0"))
	require.NoError(t, err)
	event, err := stream.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, "1:0", string(event.Message.Payload))
	require.Equal(t, a.Incarnation(), event.Message.Sender)

	require.NoError(t, rpc.Handle(b.RPC(), "add", func(_ context.Context, n [2]int) (int, error) { return n[0] + n[1], nil }))
	sum, err := rpc.Call[int](ctx, a.RPC(), rpc.Any(), "add", [2]int{2, 3})
	require.NoError(t, err)
	require.Equal(t, 5, sum)
	require.Len(t, a.Members(), 2)
}

func TestRunStartsWorkersAndEndsInOrder(t *testing.T) {
	node := open(t, "a")
	worker, err := node.Worker(queue.WorkerOptions{})
	require.NoError(t, err)
	began, stopping := make(chan struct{}), make(chan struct{})
	var after error
	require.NoError(t, queue.Handle(worker, greet, func(ctx context.Context, _ *queue.Job[string]) error {
		close(began)
		<-stopping
		// The node is closing, and what a running task needs is still there.
		_, setErr := node.Cache().Set(ctx, "k", []byte("v"))
		_, publishErr := node.PubSub().Publish(ctx, "s", nil)
		after = errors.Join(setErr, publishErr, ctx.Err())
		return nil
	}))
	_, err = queue.Enqueue(t.Context(), node.Queue(), greet, "Ada")
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var ran error
	running.Go(func() { ran = node.Run(ctx) })
	<-began
	require.ErrorIs(t, node.Run(t.Context()), fault.Invalid, "it runs already")
	cancel()
	close(stopping)
	running.Wait()

	require.NoError(t, ran)
	require.NoError(t, after)
	_, err = node.Cache().Get(t.Context(), "k")
	require.ErrorIs(t, err, fault.Closed)
	require.ErrorIs(t, node.Run(t.Context()), fault.Closed)
	_, err = node.Worker(queue.WorkerOptions{})
	require.ErrorIs(t, err, fault.Closed)
}

func TestAProgramGivesOptionsBesideTheFile(t *testing.T) {
	c := backplane.URL("memory:" + t.Name())
	c.CacheOptions.LockTTL = time.Minute
	c.QueueOptions.Middleware = []queue.EnqueueMiddleware{func(queue.Enqueuer) queue.Enqueuer {
		return func(context.Context, []queue.Task) ([]queue.Receipt, error) {
			return nil, fault.New(fault.PermissionDenied, "not you")
		}
	}}
	c.RPCOptions.ServerMiddleware = []func(rpc.Handler) rpc.Handler{func(next rpc.Handler) rpc.Handler {
		return func(ctx context.Context, in *rpc.Incoming) ([]byte, error) {
			if in.Method == "secret" {
				return nil, fault.New(fault.PermissionDenied, "not you")
			}
			return next(ctx, in)
		}
	}}
	c.RPCOptions.Name = "impostor"
	c.Node.Name = "a"
	node := openConfig(t, c)
	require.NoError(t, rpc.Handle(node.RPC(), "secret", func(context.Context, int) (int, error) { return 1, nil }))

	lock, err := node.Cache().Lock(t.Context(), "l")
	require.NoError(t, err)
	require.Equal(t, time.Minute, lock.TTL())
	_, err = queue.Enqueue(t.Context(), node.Queue(), greet, "Ada")
	require.ErrorIs(t, err, fault.PermissionDenied)
	_, err = rpc.Call[int](t.Context(), node.RPC(), rpc.Any(), "secret", 1)
	require.ErrorIs(t, err, fault.PermissionDenied)
	require.Equal(t, "a", node.Members()[0].Name)
	require.NoError(t, lock.Unlock(t.Context()))
}

// A health endpoint must not hang because a node has only just been opened, or hears nobody.
func TestHealthDoesNotWaitForTheMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := open(t, "a")
		began := time.Now()

		early := node.Health(t.Context())

		require.Zero(t, time.Since(began))
		require.False(t, early.Ready)
		require.Contains(t, early.Reason, "membership")
		require.NoError(t, node.Ready(t.Context()))
		require.True(t, node.Health(t.Context()).Ready)
		require.NoError(t, node.Close())
	})
}

func TestRunAndCloseAtTheSameTimeEndWell(t *testing.T) {
	for range 50 {
		node := open(t, "a")
		worker, err := node.Worker(queue.WorkerOptions{})
		require.NoError(t, err)
		require.NoError(t, queue.Handle(worker, greet, func(context.Context, *queue.Job[string]) error { return nil }))
		var both sync.WaitGroup
		var ran error
		both.Go(func() { ran = node.Run(t.Context()) })

		require.NoError(t, node.Close())
		both.Wait()

		if ran != nil {
			require.ErrorIs(t, ran, fault.Closed)
			require.ErrorContains(t, ran, "the node is closed", "and nothing of workers")
		}
	}
}

func TestRunFailsWithItsWorkers(t *testing.T) {
	node := open(t, "a")
	_, err := node.Worker(queue.WorkerOptions{})
	require.NoError(t, err)

	require.ErrorContains(t, node.Run(t.Context()), "handles no kind")
}

func TestCloseGivesTasksBackThatDoNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := backplane.URL("memory:" + t.Name())
		c.Shutdown = 5 * time.Second
		watcher, node := openConfig(t, c), openConfig(t, c)
		worker, err := node.Worker(queue.WorkerOptions{})
		require.NoError(t, err)
		began := make(chan struct{})
		require.NoError(t, queue.Handle(worker, greet, func(ctx context.Context, _ *queue.Job[string]) error {
			close(began)
			<-ctx.Done()
			return ctx.Err()
		}))
		_, err = queue.Enqueue(t.Context(), watcher.Queue(), greet, "Ada")
		require.NoError(t, err)
		go func() { _ = node.Run(t.Context()) }()
		<-began
		start := time.Now()

		require.NoError(t, node.Close())

		require.GreaterOrEqual(t, time.Since(start), 5*time.Second)
		require.Less(t, time.Since(start), 10*time.Second)
		stats, err := watcher.Inspector().Stats(t.Context(), queue.DefaultQueue)
		require.NoError(t, err)
		require.EqualValues(t, 1, stats.Pending, "the task waits for another worker")
		require.EqualValues(t, 1, stats.Totals.Released)
		require.Zero(t, stats.Totals.Retried, "and no attempt was burnt")
		require.NoError(t, watcher.Close())
	})
}

func TestConcernsWithoutATransportAnswerUnsupported(t *testing.T) {
	c := backplane.URL("memory:" + t.Name())
	c.Use = backplane.Use{Cache: "default"}
	node := openConfig(t, c)
	ctx := t.Context()

	_, err := node.Cache().Set(ctx, "k", nil)
	require.NoError(t, err)
	_, err = queue.Enqueue(ctx, node.Queue(), greet, "Ada")
	require.ErrorIs(t, err, fault.Unsupported)
	_, err = node.Worker(queue.WorkerOptions{})
	require.ErrorIs(t, err, fault.Unsupported)
	_, err = node.Inspector().Queues(ctx)
	require.ErrorIs(t, err, fault.Unsupported)
	_, err = node.PubSub().Subscribe(ctx, "a")
	require.ErrorIs(t, err, fault.Unsupported)
	_, err = rpc.Call[int](ctx, node.RPC(), rpc.Any(), "m", 1)
	require.ErrorIs(t, err, fault.Unsupported)
	require.NoError(t, node.Ready(ctx))
}

func TestEachConcernHasTheTransportOfTheConfig(t *testing.T) {
	config := backplane.Config{
		Node: backplane.NodeConfig{Name: "a"},
		Transports: map[string]backplane.TransportConfig{
			"store": {URL: "memory:" + t.Name() + "store"},
			"bus":   {Kind: "memory", URL: "memory:" + t.Name() + "bus"},
		},
		Use: backplane.Use{Cache: "store", Queue: "store", PubSub: "bus", RPC: "bus"},
	}

	health := openConfig(t, config).Health(t.Context())

	require.Equal(t, []backplane.TransportHealth{
		{Name: "bus", Kind: "memory", Uses: []string{"pubsub", "rpc"}, OK: true},
		{Name: "store", Kind: "memory", Uses: []string{"cache", "queue"}, OK: true},
	}, health.Transports)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	redis := testserver.Shared(t)
	key := "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	for name, c := range map[string]struct {
		url  string
		keys []string
		code fault.Code
		says string
	}{
		"no key":            {redis.URL(), nil, fault.Invalid, `make one with "backplane key"`},
		"bad key":           {redis.URL(), []string{"hush"}, fault.Invalid, "32 are needed"},
		"nobody there":      {"redis://127.0.0.1:1?attempts=2", []string{key}, fault.Unavailable, "127.0.0.1:1"},
		"unknown kind":      {"rabbit://h", []string{key}, fault.Invalid, `unknown transport scheme "rabbit"`},
		"unknown option":    {redis.URL() + "?color=red", []string{key}, fault.Invalid, "color"},
		"password unwanted": {"redis://u:hush@" + redis.Addr(), []string{key}, fault.Unauthenticated, "password"},
	} {
		t.Run(name, func(t *testing.T) {
			config := backplane.URL(c.url)
			config.Cluster.Keys = c.keys

			_, err := backplane.Open(t.Context(), config)

			require.ErrorIs(t, err, c.code)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "hush")
		})
	}
}

func TestInsecureAndKeyedNodesOpenOnRedis(t *testing.T) {
	redis := testserver.Shared(t)
	cluster := testserver.Namespace(t)
	insecure := backplane.URL(redis.URL() + "?insecure=true&cluster=" + cluster)
	a, b := openConfig(t, insecure), openConfig(t, insecure)
	require.Eventually(t, func() bool { return len(a.Members()) == 2 && len(b.Members()) == 2 }, 5*time.Second, 10*time.Millisecond)

	keyed := backplane.URL(redis.URL() + "?cluster=" + cluster)
	keyed.Cluster.Keys = []string{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
	c := openConfig(t, keyed)
	require.NoError(t, c.Ready(t.Context()))
	require.Len(t, c.Members(), 1, "a node with a key does not listen to those without")
}

func TestHealthSaysThatTheStoreIsAway(t *testing.T) {
	redis := testserver.Redis(t)
	node := openConfig(t, backplane.URL(redis.URL()+"?insecure=true"))
	require.NoError(t, node.Ready(t.Context()))

	redis.Kill()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	health := node.Health(ctx)
	require.False(t, health.Ready)
	require.Contains(t, health.Reason, redis.Addr())
	require.False(t, health.Transports[0].OK)
	require.ErrorIs(t, node.Ready(ctx), fault.Unavailable)
}

func TestCloseEndsStreamsAndIsIdempotent(t *testing.T) {
	node := open(t, "a")
	stream, err := node.PubSub().Subscribe(t.Context(), "a")
	require.NoError(t, err)

	require.NoError(t, node.Close())
	require.NoError(t, node.Close())

	_, err = stream.Next(t.Context())
	require.ErrorIs(t, err, fault.Closed)
	_, err = node.PubSub().PublishMany(t.Context(), []pubsub.Message{{Subject: "a"}})
	require.ErrorIs(t, err, fault.Closed)
	_, err = rpc.Call[int](t.Context(), node.RPC(), rpc.Any(), "m", 1)
	require.ErrorIs(t, err, fault.Closed)
}
