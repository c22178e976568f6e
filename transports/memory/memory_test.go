package memory_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

func open(t *testing.T, url, namespace string) transports.Transport {
	t.Helper()
	node, err := transports.OpenURL(background, url, transports.Settings{Namespace: namespace})
	require.NoError(t, err)
	t.Cleanup(func() { _ = node.Close() })
	return node
}

func TestNodesShareAStoreByNameAndNamespace(t *testing.T) {
	a := open(t, "memory:share", "one")
	require.NoError(t, set(t, a.Cache(), cache.Write{Key: "k"}).Err)

	for _, c := range []struct {
		url, namespace string
		found          bool
	}{
		{"memory:share", "one", true},
		{"memory://share", "one", true},
		{"MEMORY:share", "one", true},
		{"memory:share", "two", false},
		{"memory:other", "one", false},
		{"memory:", "one", false},
	} {
		got := get(t, open(t, c.url, c.namespace).Cache(), "k")
		require.Equal(t, c.found, got.Found, "%s %s", c.url, c.namespace)
	}
}

func TestAStoreLivesUntilItsLastNodeHasClosed(t *testing.T) {
	a, b := open(t, "memory:lives", "one"), open(t, "memory:lives", "one")
	require.NoError(t, set(t, a.Cache(), cache.Write{Key: "k"}).Err)

	require.NoError(t, a.Close())
	c := open(t, "memory:lives", "one")
	require.True(t, get(t, c.Cache(), "k").Found)
	require.NoError(t, b.Close())
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())

	require.False(t, get(t, open(t, "memory:lives", "one").Cache(), "k").Found)
}

func TestWhatCannotBeOpenedSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		settings transports.Settings
		message  string
	}{
		"option":    {transports.Settings{Kind: "memory", Namespace: "n", Options: map[string]any{"size": 1, "age": 2}}, "unknown option age, size"},
		"query":     {transports.Settings{URL: "memory:x?size=1", Namespace: "n"}, "unknown option size"},
		"user":      {transports.Settings{URL: "memory://u:p@x", Namespace: "n"}, "memory:NAME"},
		"not a URL": {transports.Settings{URL: "memory://%zz", Namespace: "n"}, "memory:NAME"},
		"namespace": {transports.Settings{Kind: "memory"}, "no name"},
		"other":     {transports.Settings{Kind: "memory", URL: "redis://x", Namespace: "n"}, "not the URL of a memory store"},
	} {
		node, err := transports.Open(background, c.settings)
		require.Nil(t, node, name)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), name)
		require.ErrorContains(t, err, c.message, name)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := memory.Open(ctx, transports.Settings{Namespace: "n"})
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	var store memory.Store
	_, err = store.Open("a b")
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}

func TestItIsAllInProcessAndSaysWhatItCanDo(t *testing.T) {
	node := cluster(t, 1)[0]

	require.Equal(t, "memory", node.Kind())
	require.True(t, node.InProcess())
	require.Nil(t, node.RPC())
	require.NoError(t, node.Health(background))
	caps := transports.CapabilitiesOf(node)
	require.GreaterOrEqual(t, caps.Cache.FenceMemory, 24*time.Hour)
	require.GreaterOrEqual(t, caps.Queue.IDMemory, 5*time.Minute)
	require.True(t, caps.PubSub.Receivers)
	require.True(t, caps.RPC.NoReceiver)
}

// calls is one of every call, with arguments that are right.
func calls(ctx context.Context, n *memory.Transport) map[string]error {
	c, q, p := n.Cache(), n.Queue(), n.PubSub()
	all := map[string]error{}
	is := func(name string, err error) { all[name] = err }
	_, err := c.Get(ctx, []cache.Read{{Key: "k"}})
	is("get", err)
	_, err = c.Set(ctx, []cache.Write{{Key: "k"}})
	is("set", err)
	_, err = c.Delete(ctx, []cache.Removal{{Key: "k"}})
	is("delete", err)
	_, err = c.Touch(ctx, []cache.Lifetime{{Key: "k"}})
	is("touch", err)
	_, err = c.Add(ctx, []cache.Increment{{Key: "k"}})
	is("add", err)
	_, err = c.Keys(ctx, cache.Page{})
	is("keys", err)
	_, err = c.Acquire(ctx, []cache.Claim{{Lock: "l", Holder: "h", TTL: time.Minute}})
	is("acquire", err)
	_, err = c.Renew(ctx, []cache.Lease{{Lock: "l", Holder: "h", TTL: time.Minute}})
	is("renew", err)
	_, err = c.Release(ctx, []cache.Lease{{Lock: "l", Holder: "h"}})
	is("release", err)
	_, err = c.Holders.Held(ctx, cache.Page{})
	is("held", err)
	_, err = c.Watcher.Watch(ctx, "", func([]cache.Change) {})
	is("watch", err)
	_, err = c.Lists.Push(ctx, []cache.Push{{List: "l", Values: [][]byte{nil}}})
	is("push", err)
	_, err = c.Lists.Pop(ctx, []cache.Pop{{List: "l", Max: 1}})
	is("pop", err)
	_, err = c.Lists.Range(ctx, []cache.Range{{List: "l", Max: 1}})
	is("range", err)
	_, err = c.Lists.Length(ctx, []cache.Read{{Key: "l"}})
	is("length", err)
	_, err = c.Lists.Drop(ctx, []cache.Removal{{Key: "l"}})
	is("drop", err)
	_, err = c.Lists.Names(ctx, cache.Page{})
	is("names", err)
	_, err = p.Publish(ctx, []pubsub.Message{{Subject: "s"}})
	is("publish", err)
	_, err = p.Subscribe(ctx, pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {})
	is("subscribe", err)
	_, err = q.Enqueue(ctx, []queue.Task{job("1")})
	is("enqueue", err)
	_, err = q.Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
	is("claim", err)
	_, err = q.Settle(ctx, queue.Settlements{Worker: "w", Number: 1})
	is("settle", err)
	_, err = q.Extend(ctx, nil)
	is("extend", err)
	_, err = q.Admin.Queues(ctx)
	is("queues", err)
	_, err = q.Admin.Stats(ctx, "q")
	is("stats", err)
	_, err = q.Admin.List(ctx, queue.List{Queue: "q", State: queue.Pending})
	is("list", err)
	_, err = q.Admin.Find(ctx, "q", "1")
	is("find", err)
	_, err = q.Admin.Remove(ctx, "q", nil)
	is("remove", err)
	_, err = q.Admin.Requeue(ctx, "q", nil)
	is("requeue", err)
	_, err = q.Admin.Cancel(ctx, "q", nil)
	is("cancel", err)
	is("pause", q.Admin.Pause(ctx, "q"))
	is("resume", q.Admin.Resume(ctx, "q"))
	is("configure", q.Admin.Configure(ctx, "q", queue.Properties{}))
	_, err = q.Admin.Properties(ctx, "q")
	is("properties", err)
	is("health", n.Health(ctx))
	return all
}

func TestEveryCallIsRefusedAfterItsContextAndAfterClose(t *testing.T) {
	pair := cluster(t, 2)
	cancelled, cancel := context.WithCancel(background)
	cancel()
	expired, cancel := context.WithDeadline(background, time.Unix(0, 0))
	defer cancel()

	for name, err := range calls(background, pair[0]) {
		require.NoError(t, err, name)
	}
	for name, err := range calls(cancelled, pair[0]) {
		require.Equal(t, fault.Canceled, fault.CodeOf(err), name)
	}
	for name, err := range calls(expired, pair[0]) {
		require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(err), name)
	}
	require.NoError(t, pair[1].Close())
	for name, err := range calls(background, pair[1]) {
		require.Equal(t, fault.Closed, fault.CodeOf(err), name)
	}
}

func TestABatchOverTheLimitIsRefusedWhole(t *testing.T) {
	node := cluster(t, 1)[0]
	c, q, p := node.Cache(), node.Queue(), node.PubSub()
	writes := make([]cache.Write, c.Capabilities.MaxBatch+1)
	tasks := make([]queue.Task, q.Capabilities.MaxBatch+1)
	for i := range writes {
		writes[i].Key = fmt.Sprint(i)
	}
	for i := range tasks {
		tasks[i] = job(fmt.Sprint(i))
	}

	_, err := c.Set(background, writes)
	require.Equal(t, fault.TooLarge, fault.CodeOf(err))
	require.False(t, get(t, c, "0").Found)
	_, err = q.Enqueue(background, tasks)
	require.Equal(t, fault.TooLarge, fault.CodeOf(err))
	require.Equal(t, queue.Stats{Queue: "q"}, stats(t, q))
	_, err = p.Publish(background, make([]pubsub.Message, p.Capabilities.MaxBatch+1))
	require.Equal(t, fault.TooLarge, fault.CodeOf(err))
	written, err := c.Set(background, writes[1:])
	require.NoError(t, err)
	for i := range written {
		require.NoError(t, written[i].Err)
	}
}

func TestElementsAreCheckedOneByOne(t *testing.T) {
	node := cluster(t, 1)[0]
	c := node.Cache()
	longest := strings.Repeat("k", c.Capabilities.MaxKey)

	written, err := c.Set(background, []cache.Write{
		{Key: ""}, {Key: longest}, {Key: longest + "k"}, {Key: "v", Value: make([]byte, c.Capabilities.MaxValue)},
		{Key: "v2", Value: make([]byte, c.Capabilities.MaxValue+1)}, {Key: "t", TTL: c.Capabilities.MinTTL - 1},
	})

	require.NoError(t, err)
	var codes []fault.Code
	for _, w := range written {
		codes = append(codes, fault.CodeOf(w.Err))
	}
	require.Equal(t, []fault.Code{fault.Invalid, fault.OK, fault.Invalid, fault.OK, fault.TooLarge, fault.Invalid}, codes)
	require.Len(t, get(t, c, "v").Entry.Value, c.Capabilities.MaxValue)
}

func TestCloseWaitsForWhatMessagesAreDeliveredTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := cluster(t, 1)[0]
		returned := false
		_, err := node.PubSub().Subscribe(background, pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {
			time.Sleep(time.Second)
			returned = true
		})
		require.NoError(t, err)
		publish(t, node.PubSub(), "s", 1)
		synctest.Wait()

		require.NoError(t, node.Close())

		require.True(t, returned)
	})
}

func TestCloseDoesNotWaitForeverAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := cluster(t, 1)[0]
		stuck := make(chan struct{})
		_, err := node.PubSub().Subscribe(background, pubsub.Filter{Subject: "s"}, func([]pubsub.Event) { <-stuck })
		require.NoError(t, err)
		publish(t, node.PubSub(), "s", 1)
		synctest.Wait()
		began := time.Now()

		err = node.Close()

		require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(err))
		require.Equal(t, 5*time.Second, time.Since(began))
		close(stuck)
	})
}

func TestANodeCanBeClosedFromWithinDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		closed := make(chan error, 1)
		_, err := pair[0].PubSub().Subscribe(background, pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {
			closed <- pair[0].Close()
		})
		require.NoError(t, err)

		publish(t, pair[1].PubSub(), "s", 1)

		require.NoError(t, <-closed)
		require.Zero(t, publish(t, pair[1].PubSub(), "s", 2).Receivers)
	})
}

func TestTimeIsTheClocksThatWasGiven(t *testing.T) {
	clock := newHandClock()
	settings := transports.Settings{Kind: "memory", URL: "memory:clock", Namespace: "n", Clock: clock}
	node, err := transports.Open(background, settings)
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close()) }()
	q := node.Queue()
	claimed := make(chan []queue.Leased)
	enqueue(t, q, job("1", func(t *queue.Task) { t.RunAt = clock.Now().Add(time.Hour) }))
	require.Empty(t, claim(t, q, 1, 0))

	go func() {
		c, _ := q.Claim(background, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: 2 * time.Hour})
		claimed <- c.Tasks
	}()
	// The claim may be on its way to its timer, or may find the task due when it looks first: both are right.
	clock.pass(time.Hour)

	require.Equal(t, []string{"1"}, ids(<-claimed))
}
