package embedded_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/nats/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, options map[string]any) *embedded.Transport {
	t.Helper()
	node, err := embedded.Open(t.Context(), transports.Settings{Namespace: "shop", Options: options})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node.(*embedded.Transport)
}

func connect(t *testing.T, to *embedded.Transport) transports.Transport {
	t.Helper()
	node, err := transports.OpenURL(t.Context(), to.URL(), transports.Settings{Namespace: "shop"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

// talk publishes at one node and hears it at the other.
func talk(t *testing.T, from, to transports.Transport) {
	t.Helper()
	heard := make(chan string, 64)
	sub, err := to.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) {
		for _, e := range events {
			if e.Message != nil {
				heard <- string(e.Message.Payload)
			}
		}
	})
	require.NoError(t, err)
	defer sub.Close()
	require.Eventually(t, func() bool { // through another server of a cluster the first may be missed
		_, err := from.PubSub().Publish(t.Context(), []pubsub.Message{{Subject: "s", Payload: []byte("hello"), Sender: "me", Seq: 1, SubjectSeq: 1}})
		require.NoError(t, err)
		select {
		case text := <-heard:
			return text == "hello"
		case <-time.After(100 * time.Millisecond):
			return false
		}
	}, 20*time.Second, time.Millisecond)
}

func TestOtherNodesConnectToTheServerInside(t *testing.T) {
	server := open(t, map[string]any{"secret": "s3cret"})
	require.Equal(t, embedded.Kind, server.Kind())
	other := connect(t, server)

	talk(t, server, other)
	talk(t, other, server)
	require.NoError(t, server.Health(t.Context()))
	require.NoError(t, server.Close())
	require.ErrorIs(t, server.Health(t.Context()), fault.Closed)
	require.NoError(t, server.Close())
}

func TestTheSecretIsNeeded(t *testing.T) {
	server := open(t, map[string]any{"secret": "s3cret"})

	for _, url := range []string{"nats://" + server.Addr(), "nats://backplane:wrong@" + server.Addr()} {
		_, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: "shop"})
		require.ErrorIs(t, err, fault.Unauthenticated)
		require.NotContains(t, err.Error(), "wrong@")
	}
}

func TestSettingsThatCannotBeRight(t *testing.T) {
	for name, c := range map[string]struct {
		options map[string]any
		says    string
	}{
		"no secret":          {map[string]any{}, "insecure: true"},
		"both":               {map[string]any{"secret": "x", "insecure": true}, "take one out"},
		"unknown":            {map[string]any{"secret": "x", "port": 1}, `"port" is not known`},
		"odd address":        {map[string]any{"secret": "x", "listen": "here"}, "write host:port"},
		"peers without port": {map[string]any{"secret": "x", "peers": "a:1"}, "cluster_listen"},
		"odd replicas":       {map[string]any{"secret": "x", "replicas": 9}, "at most 5"},
	} {
		_, err := embedded.Open(t.Context(), transports.Settings{Namespace: "shop", Options: c.options})
		require.ErrorIs(t, err, fault.Invalid, name)
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestATakenPortIsToldAtOnce(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()

	_, err = embedded.Open(t.Context(), transports.Settings{Namespace: "shop", Options: map[string]any{"insecure": true, "listen": taken.Addr().String()}})

	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorContains(t, err, "address already in use")
}

func TestAURLIsEnough(t *testing.T) {
	node, err := transports.OpenURL(t.Context(), "nats-embedded:?insecure=true", transports.Settings{Namespace: "shop"})
	require.NoError(t, err)
	require.NoError(t, node.Close())
}

// ports are free ones, for servers that must know each other's before they start.
func ports(t *testing.T, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		all[i] = l.Addr().String()
		defer l.Close()
	}
	return all
}

func TestThreeServersFormACluster(t *testing.T) {
	peers := ports(t, 3)
	nodes := make([]transports.Transport, 3)
	var starting sync.WaitGroup
	errs := make([]error, 3)
	for i := range nodes {
		folder := t.TempDir()
		starting.Go(func() {
			nodes[i], errs[i] = embedded.Open(context.Background(), transports.Settings{Namespace: "shop", Options: map[string]any{
				"secret": "s3cret", "folder": folder, "name": fmt.Sprint("node-", i), "cluster_listen": peers[i], "peers": peers, "replicas": 3,
			}})
		})
	}
	starting.Wait()
	for i, node := range nodes {
		require.NoError(t, errs[i])
		t.Cleanup(func() { require.NoError(t, node.Close()) })
	}

	talk(t, nodes[0], nodes[1])
	talk(t, nodes[2], nodes[0])

	store(t, nodes[1], "k", "on all three")

	require.NoError(t, nodes[2].Close())
	talk(t, nodes[0], nodes[1])
	require.Equal(t, "on all three", stored(t, nodes[0], "k"))
}

func store(t *testing.T, node transports.Transport, key, value string) {
	t.Helper()
	require.Eventually(t, func() bool { // a cluster may be choosing a leader
		w, err := node.Cache().Set(t.Context(), []cache.Write{{Key: key, Value: []byte(value)}})
		return err == nil && w[0].Err == nil
	}, 30*time.Second, 20*time.Millisecond)
}

func stored(t *testing.T, node transports.Transport, key string) string {
	t.Helper()
	var value string
	require.Eventually(t, func() bool {
		got, err := node.Cache().Get(t.Context(), []cache.Read{{Key: key}})
		if err != nil || got[0].Err != nil {
			return false
		}
		value = string(got[0].Entry.Value)
		return true
	}, 30*time.Second, 20*time.Millisecond)
	return value
}

func TestTheFolderKeepsWhatWasStored(t *testing.T) {
	options := map[string]any{"secret": "s3cret", "folder": t.TempDir(), "name": "only"}
	first := open(t, options)
	require.NotNil(t, first.Cache(), "with a folder there is JetStream")
	store(t, first, "k", "kept")
	require.NoError(t, first.Close())

	again := open(t, options)

	require.Equal(t, "kept", stored(t, again, "k"))
	require.Equal(t, "kept", stored(t, connect(t, again), "k"))
}

func TestTheFolderKeepsTasksLeasesAndLocks(t *testing.T) {
	options := map[string]any{"secret": "s3cret", "folder": t.TempDir(), "name": "only"}
	first := open(t, options)
	require.NoError(t, first.Queue().Admin.Configure(t.Context(), "q", queue.Properties{Lease: time.Hour}))
	receipts, err := first.Queue().Enqueue(t.Context(), []queue.Task{
		{ID: "held", Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1}, {ID: "waits", Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1},
		{ID: "later", Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1, RunAt: time.Now().Add(time.Hour)},
	})
	require.NoError(t, err)
	for _, r := range receipts {
		require.NoError(t, r.Err)
	}
	held, err := first.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
	require.NoError(t, err)
	require.Len(t, held.Tasks, 1)
	require.Equal(t, "held", held.Tasks[0].ID)
	leases, err := first.Cache().Acquire(t.Context(), []cache.Claim{{Lock: "l", Holder: "me", TTL: time.Hour}})
	require.NoError(t, err)
	require.NoError(t, leases[0].Err)
	require.NoError(t, first.Close())

	again := open(t, options)

	stats, err := again.Queue().Admin.Stats(t.Context(), "q")
	require.NoError(t, err)
	require.Equal(t, []int64{1, 1, 1}, []int64{stats.Active, stats.Pending, stats.Scheduled})
	errs, err := again.Queue().Settle(t.Context(), queue.Settlements{Worker: "w", Number: 1, Items: []queue.Settlement{{Ref: held.Tasks[0].Ref(), Outcome: queue.Done}}})
	require.NoError(t, err)
	require.NoError(t, errs[0], "the lease stands")
	others, err := again.Cache().Acquire(t.Context(), []cache.Claim{{Lock: "l", Holder: "other", TTL: time.Hour}})
	require.NoError(t, err)
	require.ErrorIs(t, others[0].Err, fault.Locked)
	released, err := again.Cache().Release(t.Context(), leases)
	require.NoError(t, err)
	require.NoError(t, released[0], "the lock is still its holder's")
}

func TestWithoutAFolderNothingIsStored(t *testing.T) {
	node := open(t, map[string]any{"insecure": true})

	require.Nil(t, node.Cache())
	require.Nil(t, node.Queue())
}
