package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// kill ends a plugin's process without a goodbye.
func kill(t *testing.T, p *plugin.Program) {
	t.Helper()
	var pid int
	require.Eventually(t, func() bool { pid = p.PID(); return pid != 0 }, slow, time.Millisecond, "the plugin does not run")
	process, err := os.FindProcess(pid)
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	require.Eventually(t, func() bool { return p.PID() != pid }, slow, time.Millisecond, "the end of the plugin was not noticed")
}

// serves waits until calls work.
func serves(t *testing.T, node transports.Transport) {
	t.Helper()
	require.Eventually(t, func() bool { return node.Health(t.Context()) == nil }, slow, 5*time.Millisecond, "the plugin does not serve again")
}

func TestCallsUnderWayFailWhenThePluginIsKilled(t *testing.T) {
	t.Parallel()
	p := start(t, "memory")
	node := open(t, p)
	_, err := node.Cache().Acquire(t.Context(), []cache.Claim{{Lock: "l", Holder: "a", TTL: time.Hour}})
	require.NoError(t, err)
	failed := make(chan error, 2)
	go func() {
		_, err := node.Cache().Acquire(t.Context(), []cache.Claim{{Lock: "l", Holder: "b", TTL: time.Hour, Wait: time.Hour}})
		failed <- err
	}()
	go func() {
		_, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: time.Hour})
		failed <- err
	}()
	// Whether they wait already makes no difference to what must follow.

	kill(t, p)

	for range 2 {
		select {
		case err := <-failed:
			require.ErrorIs(t, err, fault.Unavailable)
		case <-time.After(slow):
			require.FailNow(t, "a call did not end with its plugin")
		}
	}
	serves(t, node)
	set, err := node.Cache().Set(t.Context(), []cache.Write{{Key: "k", Value: []byte("v")}})
	require.NoError(t, err)
	require.NoError(t, set[0].Err)
}

func TestSubscriptionsAndWatchesGoOnInTheNextProcess(t *testing.T) {
	t.Parallel()
	p := start(t, "memory")
	node := open(t, p)
	events, changes := make(chan pubsub.Event, 100), make(chan cache.Change, 100)
	for i := range 3 {
		sub, err := node.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: fmt.Sprint("s.", i)}, func(all []pubsub.Event) {
			for _, e := range all {
				events <- e
			}
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, sub.Close()) }()
	}
	watch, err := node.Cache().Watcher.Watch(t.Context(), "k", func(all []cache.Change) {
		for _, c := range all {
			changes <- c
		}
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, watch.Close()) }()

	for round := range 2 {
		kill(t, p)

		for range 3 {
			gap := next(t, events).Gap
			require.Equal(t, &pubsub.Gap{Cause: pubsub.Reconnected, Lost: pubsub.Unknown}, gap, "round %d", round)
		}
		require.True(t, next(t, changes).Resync)
		serves(t, node)
		_, err = node.PubSub().Publish(t.Context(), []pubsub.Message{{Subject: "s.1", Payload: []byte("after"), Sender: "me", Seq: 1, SubjectSeq: 1}})
		require.NoError(t, err)
		require.Equal(t, "after", string(next(t, events).Message.Payload))
		_, err = node.Cache().Set(t.Context(), []cache.Write{{Key: "k1", Value: []byte("v")}})
		require.NoError(t, err)
		require.Equal(t, cache.Change{Key: "k1"}, next(t, changes))
	}
}

func next[V any](t *testing.T, from <-chan V) V {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(slow):
		require.FailNow(t, "nothing came")
	}
	panic("unreachable")
}

func TestALockThatThePluginHasLostIsLost(t *testing.T) {
	t.Parallel()
	p := start(t, "memory")
	node := open(t, p)
	c := cache.New(node.Cache(), cache.Options{})
	defer func() { require.NoError(t, c.Close()) }()
	lock, err := c.Lock(t.Context(), "l", cache.TTL(3*time.Second))
	require.NoError(t, err)

	kill(t, p)

	select {
	case <-lock.Context().Done():
		require.ErrorIs(t, context.Cause(lock.Context()), fault.LeaseLost)
	case <-time.After(slow):
		require.FailNow(t, "the lock's holder was not told")
	}
}

// TestNothingThatTheStoreHasIsLostWithThePlugin kills the plugin again and again under work on a store that outlives it.
func TestNothingThatTheStoreHasIsLostWithThePlugin(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t, servers.RedisOptions{})
	p := start(t, "redis")
	node, err := p.Open(t.Context(), transports.Settings{Namespace: "test", URL: server.URL()})
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close()) }()

	var done, attempted, acknowledged atomic.Int64
	var work sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 8 {
		work.Go(func() { errs <- add(t.Context(), node, &attempted, &acknowledged, &done, fmt.Sprint("own-", i)) })
	}
	for range 3 {
		before := acknowledged.Load()
		require.Eventually(t, func() bool { return acknowledged.Load() > before+50 }, slow, time.Millisecond, "no work is done")
		kill(t, p)
	}
	before := acknowledged.Load()
	require.Eventually(t, func() bool { return acknowledged.Load() > before+50 }, slow, time.Millisecond, "no work is done")
	done.Store(1)
	work.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}

	got, err := node.Cache().Get(t.Context(), []cache.Read{{Key: "sum"}})
	require.NoError(t, err)
	var sum int64
	_, err = fmt.Sscan(string(got[0].Entry.Value), &sum)
	require.NoError(t, err)
	require.GreaterOrEqual(t, sum, acknowledged.Load(), "an addition was lost that the plugin had acknowledged")
	require.LessOrEqual(t, sum, attempted.Load(), "an addition was made twice")
}

// add adds to a counter, and reads back what it writes, until it is told to stop.
func add(ctx context.Context, node transports.Transport, attempted, acknowledged, done *atomic.Int64, key string) error {
	for n := 0; done.Load() == 0; n++ {
		attempted.Add(1)
		sums, err := node.Cache().Add(ctx, []cache.Increment{{Key: "sum", Delta: 1}})
		switch {
		case errors.Is(err, fault.Unavailable):
			time.Sleep(time.Millisecond)
			continue
		case err != nil:
			return err
		case sums[0].Err != nil:
			return sums[0].Err
		}
		acknowledged.Add(1)
		value := fmt.Sprint(n)
		if _, err := node.Cache().Set(ctx, []cache.Write{{Key: key, Value: []byte(value)}}); err != nil {
			continue // it may be there or not
		}
		got, err := node.Cache().Get(ctx, []cache.Read{{Key: key}})
		if err == nil && string(got[0].Entry.Value) != value {
			return fmt.Errorf("%s is %q, not %q", key, got[0].Entry.Value, value)
		}
	}
	return nil
}

// TestTasksRunOnceEachThroughCrashesOfThePlugin has a worker whose plugin is killed, and a store that counts.
func TestTasksRunOnceEachThroughCrashesOfThePlugin(t *testing.T) {
	t.Parallel()
	const tasks = 2000
	server := testserver.Redis(t, servers.RedisOptions{})
	p := start(t, "redis")
	node, err := p.Open(t.Context(), transports.Settings{Namespace: "test", URL: server.URL()})
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close()) }()
	require.NoError(t, node.Queue().Admin.Configure(t.Context(), queue.DefaultQueue, queue.Properties{Lease: 2 * time.Second}))
	client := queue.NewClient(node.Queue(), queue.ClientOptions{})
	kind := queue.NewKind[int]("count")
	for i := range tasks {
		_, err := queue.Enqueue(t.Context(), client, kind, i)
		require.NoError(t, err)
	}
	worker, err := queue.NewWorker(node.Queue(), queue.WorkerOptions{Concurrency: 16})
	require.NoError(t, err)
	var ran atomic.Int64
	require.NoError(t, queue.Handle(worker, kind, func(context.Context, *queue.Job[int]) error {
		ran.Add(1)
		time.Sleep(time.Millisecond)
		return nil
	}))
	require.NoError(t, worker.Start(t.Context()))
	for range 3 {
		before := ran.Load()
		require.Eventually(t, func() bool { return ran.Load() > before+100 }, slow, time.Millisecond, "no task runs")
		kill(t, p)
	}

	require.Eventually(t, func() bool {
		stats, err := node.Queue().Admin.Stats(t.Context(), queue.DefaultQueue)
		return err == nil && stats.Totals.Completed == tasks
	}, 2*slow, 20*time.Millisecond, "tasks were lost")
	require.NoError(t, worker.Stop(t.Context()))
	stats, err := node.Queue().Admin.Stats(t.Context(), queue.DefaultQueue)
	require.NoError(t, err)
	require.EqualValues(t, tasks, stats.Totals.Completed)
	require.Zero(t, stats.Dead+stats.Pending+stats.Active+stats.Scheduled)
}

func TestAPluginThatOffersSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t, "fickle")
	flag := filepath.Join(t.TempDir(), "flag")
	node, err := p.Open(t.Context(), transports.Settings{Namespace: "test", Options: map[string]any{"flag": flag}})
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close()) }()
	require.NotNil(t, node.Cache().Lists)
	require.NoError(t, os.WriteFile(flag, nil, 0o600))

	kill(t, p)

	require.Eventually(t, func() bool {
		err := node.Health(t.Context())
		return errors.Is(err, fault.Unavailable) && containsAll(err.Error(), "offers something else", "restart this node")
	}, slow, 5*time.Millisecond)
	require.NoError(t, os.Remove(flag))
	serves(t, node)
}

func TestANodeClosesWhileItsPluginIsGone(t *testing.T) {
	t.Parallel()
	p := start(t, "memory")
	node, err := p.Open(t.Context(), transports.Settings{Namespace: "test"})
	require.NoError(t, err)
	sub, err := node.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {})
	require.NoError(t, err)

	kill(t, p)

	require.NoError(t, node.Close())
	require.NoError(t, node.Close())
	require.NoError(t, sub.Close())
	require.ErrorIs(t, node.Health(t.Context()), fault.Closed)
	_, err = node.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {})
	require.ErrorIs(t, err, fault.Closed)
}
