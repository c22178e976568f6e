package nats_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
)

// store is a namespace of its own on some servers.
type store struct {
	t         *testing.T
	servers   []*servers.NATS
	namespace string
	replicas  int
	opened    int
}

func newStore(t *testing.T) *store {
	return &store{t: t, servers: []*servers.NATS{testserver.SharedNATS(t)}, namespace: "t-" + nuid.Next(), replicas: 1}
}

// node opens the cache of another node, on the next server.
func (s *store) node() *cache.Backend {
	s.t.Helper()
	server := s.servers[s.opened%len(s.servers)]
	s.opened++
	node, err := transports.OpenURL(s.t.Context(), server.URL(), transports.Settings{
		Namespace: s.namespace, Options: map[string]any{"replicas": s.replicas},
	})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, node.Close()) })
	require.NotNil(s.t, node.Cache())
	return node.Cache()
}

func (s *store) stream() string { return "BP_" + s.namespace + "_cache" }

func (s *store) jetstream() jetstream.JetStream {
	s.t.Helper()
	nc, err := natsgo.Connect(s.servers[0].URL())
	require.NoError(s.t, err)
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(s.t, err)
	return js
}

func set(t *testing.T, b *cache.Backend, w cache.Write) cache.Written {
	t.Helper()
	written, err := b.Set(t.Context(), []cache.Write{w})
	require.NoError(t, err)
	return written[0]
}

func get(t *testing.T, b *cache.Backend, key string) cache.Got {
	t.Helper()
	got, err := b.Get(t.Context(), []cache.Read{{Key: key, Expiry: true}})
	require.NoError(t, err)
	require.NoError(t, got[0].Err)
	return got[0]
}

func acquire(t *testing.T, b *cache.Backend, lock, holder string) cache.Lease {
	t.Helper()
	leases, err := b.Acquire(t.Context(), []cache.Claim{{Lock: lock, Holder: holder, TTL: time.Hour}})
	require.NoError(t, err)
	require.NoError(t, leases[0].Err)
	return leases[0]
}

func TestTheServerRemovesWhatHasEnded(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	b := s.node()
	require.NoError(t, set(t, b, cache.Write{Key: "short", Value: []byte("v"), TTL: 10 * time.Millisecond}).Err)
	require.NoError(t, set(t, b, cache.Write{Key: "kept", Value: []byte("v")}).Err)
	removed, err := b.Delete(t.Context(), []cache.Removal{{Key: "kept"}})
	require.NoError(t, err)
	require.True(t, removed[0].Existed)
	require.NoError(t, set(t, b, cache.Write{Key: "kept", Value: []byte("v"), TTL: time.Hour}).Err)

	stream, err := s.jetstream().Stream(t.Context(), s.stream())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Msgs == 1
	}, 20*time.Second, 50*time.Millisecond, "the server keeps what has ended")
	require.True(t, get(t, b, "kept").Found)
}

func TestAWriteKeepsTheLifetimeThatItIsGiven(t *testing.T) {
	b := newStore(t).node()
	first := set(t, b, cache.Write{Key: "k", Value: []byte("1"), TTL: time.Hour})
	require.NoError(t, first.Err)

	second := set(t, b, cache.Write{Key: "k", Value: []byte("2"), TTL: time.Hour, If: cache.IfRevision(first.Revision)})
	require.NoError(t, second.Err)
	sums, err := b.Add(t.Context(), []cache.Increment{{Key: "k", Delta: 1}})
	require.NoError(t, err)
	require.NoError(t, sums[0].Err)

	entry := get(t, b, "k").Entry
	require.Equal(t, "3", string(entry.Value))
	require.WithinDuration(t, time.Now().Add(time.Hour), entry.Expires, time.Minute)
}

func TestAStreamThatWasRemovedIsMadeAnew(t *testing.T) {
	s := newStore(t)
	b := s.node()
	seen := map[cache.Revision]bool{}
	for range 10 {
		seen[set(t, b, cache.Write{Key: "k", Value: []byte("v")}).Revision] = true
	}
	old := set(t, b, cache.Write{Key: "k", Value: []byte("v")}).Revision
	fence := acquire(t, b, "l", "a").Fence

	require.NoError(t, s.jetstream().DeleteStream(t.Context(), s.stream()))

	require.False(t, get(t, b, "k").Found)
	require.Equal(t, fault.Conflict, fault.CodeOf(set(t, b, cache.Write{Key: "k", If: cache.IfRevision(old)}).Err))
	for range 10 {
		revision := set(t, b, cache.Write{Key: "k", Value: []byte("v")}).Revision
		require.False(t, seen[revision], "a revision came again")
	}
	require.Greater(t, acquire(t, b, "l", "b").Fence, fence)
}

func TestAStreamThatCannotServeIsRefusedWithTheReason(t *testing.T) {
	s := newStore(t)
	require.NoError(t, set(t, s.node(), cache.Write{Key: "k"}).Err)
	js := s.jetstream()
	stream, err := js.Stream(t.Context(), s.stream())
	require.NoError(t, err)
	broken := stream.CachedInfo().Config
	broken.MaxAge = time.Hour
	_, err = js.UpdateStream(t.Context(), broken)
	require.NoError(t, err)

	_, err = s.node().Get(t.Context(), []cache.Read{{Key: "k"}})

	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.ErrorContains(t, err, "max_age")
}

func TestAListThatWouldNotFitIsExhausted(t *testing.T) {
	b := newStore(t).node()
	large := make([]byte, b.Capabilities.MaxValue)
	pushed, err := b.Lists.Push(t.Context(), []cache.Push{{List: "l", Values: [][]byte{large}}})
	require.NoError(t, err)
	require.NoError(t, pushed[0].Err, "one value of the largest size is a list")

	pushed, err = b.Lists.Push(t.Context(), []cache.Push{{List: "l", Values: [][]byte{[]byte("one more than fits into a message")}}})

	require.NoError(t, err)
	require.Equal(t, fault.Exhausted, fault.CodeOf(pushed[0].Err))
	lengths, err := b.Lists.Length(t.Context(), []cache.Read{{Key: "l"}})
	require.NoError(t, err)
	require.Equal(t, 1, lengths[0].Length)
}

func TestTheLargestKeyAndValueFitIntoAGuardedWriteWithACondition(t *testing.T) {
	b := newStore(t).node()
	key, value := strings.Repeat(".", b.Capabilities.MaxKey), make([]byte, b.Capabilities.MaxValue)
	lease := acquire(t, b, key, "a")
	guard := cache.Guard{Holder: "a", Fence: lease.Fence}

	written := set(t, b, cache.Write{Key: key, Value: value, TTL: time.Hour, If: cache.IfAbsent(), Guard: guard})
	require.NoError(t, written.Err)

	require.Len(t, get(t, b, key).Entry.Value, len(value))
	require.NoError(t, set(t, b, cache.Write{Key: key, Value: value, If: cache.IfRevision(written.Revision), Guard: guard}).Err)
}

func TestAThousandGuardedWritesWithConditionsGoTogether(t *testing.T) {
	t.Parallel()
	b := newStore(t).node()
	writes := make([]cache.Write, 1000)
	for i := range writes {
		writes[i] = cache.Write{Key: fmt.Sprint("k", i), Value: []byte("v"), If: cache.IfAbsent(), Guard: cache.Guard{Holder: "a"}}
	}

	written, err := b.Set(t.Context(), writes)

	require.NoError(t, err)
	for i, w := range written {
		require.NoError(t, w.Err, "element %d", i)
		require.Equal(t, get(t, b, writes[i].Key).Entry.Revision, w.Revision)
	}
}

func TestNoGuardedChangePassesALockThatWasTaken(t *testing.T) { guardedChanges(t, newStore(t)) }

func TestNoGuardedChangePassesALockThatWasTakenInACluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	cluster := testserver.NATSCluster(t)
	guardedChanges(t, &store{t: t, servers: cluster.Nodes, namespace: "t", replicas: 3})
}

// guardedChanges has outsiders change a key all the time, each change with a guard and dependent on what is there, while
// locks of the key are taken, renewed and released. From the moment at which a lock was given nothing may change.
func guardedChanges(t *testing.T, s *store) {
	nodes := []*cache.Backend{s.node(), s.node(), s.node()}
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 1)
	failed := make(chan error, len(nodes))
	for i, b := range nodes {
		go func() {
			guard := cache.Guard{Holder: fmt.Sprint("outsider", i)}
			for ctx.Err() == nil {
				sums, err := b.Add(ctx, []cache.Increment{{Key: "k", Delta: 1, Guard: guard}})
				if err == nil {
					err = sums[0].Err
				}
				switch {
				case err == nil:
					select {
					case changed <- struct{}{}:
					default:
					}
				case fault.CodeOf(err) != fault.Locked && ctx.Err() == nil:
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for round := range 30 {
		select {
		case <-changed:
		case err := <-failed:
			require.NoError(t, err, "an outsider gave up")
		}
		holder := nodes[round%len(nodes)]
		lease := acquire(t, holder, "k", "holder")
		before := get(t, holder, "k").Entry.Revision
		renewed, err := holder.Renew(t.Context(), []cache.Lease{lease})
		require.NoError(t, err)
		require.NoError(t, renewed[0].Err)
		require.Equal(t, lease.Fence, renewed[0].Fence)
		require.Equal(t, before, get(t, nodes[(round+1)%len(nodes)], "k").Entry.Revision, "somebody changed what was locked")
		errs, err := holder.Release(t.Context(), []cache.Lease{lease})
		require.NoError(t, err)
		require.NoError(t, errs[0])
	}
	cancel()
	for range nodes {
		require.NoError(t, <-failed)
	}
}

func TestAWatchSurvivesTheLossOfItsConsumer(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	b := s.node()
	changes := make(chan cache.Change, 100)
	watch, err := b.Watcher.Watch(t.Context(), "k", func(batch []cache.Change) {
		for _, change := range batch {
			changes <- change
		}
	})
	require.NoError(t, err)
	defer watch.Close()
	require.NoError(t, set(t, b, cache.Write{Key: "k1"}).Err)
	require.Equal(t, cache.Change{Key: "k1"}, <-changes)
	js := s.jetstream()
	stream, err := js.Stream(t.Context(), s.stream())
	require.NoError(t, err)

	for name := range stream.ConsumerNames(t.Context()).Name() {
		require.NoError(t, stream.DeleteConsumer(t.Context(), name))
	}
	require.NoError(t, set(t, b, cache.Write{Key: "k2"}).Err)

	require.Equal(t, cache.Change{Resync: true}, <-changes)
	require.Equal(t, cache.Change{Key: "k2"}, <-changes, "what was written while nobody watched")
}

func TestAWatchMayBeClosedByItsOwnFunction(t *testing.T) {
	b := newStore(t).node()
	ready, closed := make(chan cache.Watch, 1), make(chan error, 1)
	watch, err := b.Watcher.Watch(t.Context(), "", func([]cache.Change) { closed <- (<-ready).Close() })
	require.NoError(t, err)
	ready <- watch

	require.NoError(t, set(t, b, cache.Write{Key: "k"}).Err)

	require.NoError(t, <-closed)
	require.NoError(t, watch.Close())
}
