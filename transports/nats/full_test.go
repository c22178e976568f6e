package nats_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

// streamsOf speaks to a server as an operator does.
func streamsOf(t *testing.T, server *servers.NATS) jetstream.JetStream {
	t.Helper()
	nc, err := natsgo.Connect(server.URL())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

// fillQueue stores tasks of a size until one is refused, and gives the IDs of those that were not, and why.
func fillQueue(t *testing.T, ctx context.Context, q *queue.Backend, prefix string, size int) (stored []string, refusal error) {
	t.Helper()
	for n := 0; ; n++ {
		id := fmt.Sprint(prefix, n)
		receipts, err := q.Enqueue(ctx, []queue.Task{{ID: id, Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 10, Payload: make([]byte, size)}})
		require.NoError(t, err)
		if receipts[0].Err != nil {
			return stored, receipts[0].Err
		}
		stored = append(stored, id)
	}
}

// mustRunOnce claims and completes until all these tasks are done, each once.
func mustRunOnce(t *testing.T, ctx context.Context, q *queue.Backend, ids []string) {
	t.Helper()
	seen := &runs{done: map[string]int{}}
	workUntil(ctx, q, "drains", len(ids), seen)
	require.NoError(t, ctx.Err(), "%d of %d tasks were done", seen.size(), len(ids))
	for _, id := range ids {
		require.Equal(t, 1, seen.done[id], "times that %s was settled as done", id)
	}
	require.Len(t, seen.done, len(ids))
}

// TestAQueueAtItsBoundTakesNoTasksAndWorksOn has two nodes fill it, and others make room.
func TestAQueueAtItsBoundTakesNoTasksAndWorksOn(t *testing.T) {
	t.Parallel()
	const most, size = 16 << 20, 256 << 10
	server := testserver.NATS(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open := func() *queue.Backend {
		node, err := transports.OpenURL(ctx, server.URL(), transports.Settings{Namespace: "full", Options: map[string]any{"queue_max_bytes": most}, Logger: quiet})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Close()) })
		return node.Queue()
	}
	one, two := open(), open()

	stored, refusal := fillQueue(t, ctx, one, "a", size)
	require.ErrorIs(t, refusal, fault.Exhausted)
	require.ErrorContains(t, refusal, "queue_max_bytes")
	more, refusal := fillQueue(t, ctx, two, "b", size)
	require.ErrorIs(t, refusal, fault.Exhausted)
	require.Empty(t, more, "a queue that one node has filled is full for another")
	require.InDelta(t, most/size, len(stored), 2)

	claimed, err := two.Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 8})
	require.NoError(t, err)
	require.Len(t, claimed.Tasks, 8, "claims go on")
	items := make([]queue.Settlement, 8)
	for i, l := range claimed.Tasks {
		items[i] = queue.Settlement{Ref: l.Ref(), Outcome: queue.Done}
	}
	errs, err := two.Settle(ctx, queue.Settlements{Worker: "w", Number: 1, Items: items})
	require.NoError(t, err, "settlements go on")
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		again, _ := fillQueue(t, ctx, one, fmt.Sprint("c", time.Now().UnixNano()), size)
		more = append(more, again...)
		return len(more) > 0
	}, 20*time.Second, 50*time.Millisecond, "there is room again")

	mustRunOnce(t, ctx, two, append(stored[8:], more...))
}

// TestAFullStoreLosesNothing fills what the server has in all. Then nothing can be done until there is room, and after
// that everything is there: leases that ended and tasks that fell due meanwhile too, which the server leaves alone.
func TestAFullStoreLosesNothing(t *testing.T) {
	t.Parallel()
	server := testserver.NATS(t, servers.NATSOptions{MaxStore: 16 << 20})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	operator := streamsOf(t, server)
	_, err := operator.CreateStream(ctx, jetstream.StreamConfig{Name: "ballast", Subjects: []string{"ballast"}})
	require.NoError(t, err)
	for range 16 {
		_, err := operator.Publish(ctx, "ballast", make([]byte, 512<<10))
		require.NoError(t, err)
	}
	node := openQueue(t, ctx, server, "full")
	q, c := node.Queue(), node.Cache()
	require.NoError(t, q.Admin.Configure(ctx, "q", queue.Properties{Lease: time.Second}))
	written, err := c.Set(ctx, []cache.Write{{Key: "k", Value: []byte("before")}})
	require.NoError(t, err)
	require.NoError(t, written[0].Err)
	leases, err := c.Acquire(ctx, []cache.Claim{{Lock: "l", Holder: "h", TTL: time.Hour}})
	require.NoError(t, err)
	require.NoError(t, leases[0].Err)
	early, err := q.Enqueue(ctx, []queue.Task{
		{ID: "early", Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 10},
		{ID: "delayed", Kind: "k", Queue: "q", Priority: 3, MaxAttempts: 1, MaxLost: 10, RunAt: time.Now().Add(2 * time.Second)},
	})
	require.NoError(t, err)
	require.NoError(t, early[0].Err)
	require.NoError(t, early[1].Err)
	claimed, err := q.Claim(ctx, queue.Claim{Worker: "stale", Queues: []string{"q"}, Max: 1})
	require.NoError(t, err)
	require.Len(t, claimed.Tasks, 1)

	stored, refusal := fillQueue(t, ctx, q, "t", 64<<10)
	require.ErrorIs(t, refusal, fault.Exhausted)
	require.ErrorContains(t, refusal, "raise it, or remove")
	written, err = c.Set(ctx, []cache.Write{{Key: "k", Value: make([]byte, 64<<10)}})
	require.NoError(t, err)
	require.ErrorIs(t, written[0].Err, fault.Exhausted)
	pause(ctx, 4*time.Second) // both fall due, and the server has no room for them
	require.NoError(t, operator.DeleteStream(ctx, "ballast"))

	mustRunOnce(t, ctx, q, append(stored, "early", "delayed"))
	got, err := c.Get(ctx, []cache.Read{{Key: "k"}})
	require.NoError(t, err)
	require.Equal(t, "before", string(got[0].Entry.Value))
	released, err := c.Release(ctx, []cache.Lease{leases[0]})
	require.NoError(t, err)
	require.NoError(t, released[0], "the lock was held all the while")
	errs, err := q.Settle(ctx, queue.Settlements{Worker: "stale", Number: 1, Items: []queue.Settlement{{Ref: claimed.Tasks[0].Ref(), Outcome: queue.Done}}})
	require.NoError(t, err)
	require.ErrorIs(t, errs[0], fault.LeaseLost)
}

// TestAFullCacheCanBeEmptied gives the cache's stream a limit, as an operator does.
func TestAFullCacheCanBeEmptied(t *testing.T) {
	server := testserver.NATS(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := openQueue(t, ctx, server, "full").Cache()
	set := func(key string, size int) error {
		written, err := c.Set(ctx, []cache.Write{{Key: key, Value: make([]byte, size)}})
		require.NoError(t, err)
		return written[0].Err
	}
	require.NoError(t, set("k", 1000))
	leases, err := c.Acquire(ctx, []cache.Claim{{Lock: "l", Holder: "h", TTL: time.Hour}})
	require.NoError(t, err)
	require.NoError(t, leases[0].Err)
	operator := streamsOf(t, server)
	stream, err := operator.Stream(ctx, "BP_full_cache")
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	config.MaxBytes = 4 << 20
	_, err = operator.UpdateStream(ctx, config)
	require.NoError(t, err)

	n := 0
	for ; err == nil; n++ {
		err = set(fmt.Sprint("k", n), 64<<10)
	}
	require.ErrorIs(t, err, fault.Exhausted)
	require.ErrorContains(t, err, "the stream is full")

	got, err := c.Get(ctx, []cache.Read{{Key: "k0"}})
	require.NoError(t, err)
	require.Len(t, got[0].Entry.Value, 64<<10, "nothing was dropped")
	released, err := c.Release(ctx, []cache.Lease{leases[0]})
	require.NoError(t, err)
	require.NoError(t, released[0])
	removed, err := c.Delete(ctx, []cache.Removal{{Key: "k0"}, {Key: "k1"}})
	require.NoError(t, err)
	require.NoError(t, removed[0].Err)
	require.NoError(t, removed[1].Err)
	require.NoError(t, set("k-new", 64<<10), "there is room again")
}

// TestAStreamOfTasksThatWouldDropSomeIsRefused: with schedules JetStream knows no limit at which a stream refuses more.
func TestAStreamOfTasksThatWouldDropSomeIsRefused(t *testing.T) {
	server := testserver.NATS(t)
	openQueue(t, t.Context(), server, "full")
	operator := streamsOf(t, server)
	stream, err := operator.Stream(t.Context(), "BP_full_queue")
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	config.MaxBytes = 4 << 20
	_, err = operator.UpdateStream(t.Context(), config)
	require.NoError(t, err)

	_, err = transports.OpenURL(t.Context(), server.URL(), transports.Settings{Namespace: "full", Logger: quiet})

	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "BP_full_queue")
	require.ErrorContains(t, err, "queue_max_bytes")
}
