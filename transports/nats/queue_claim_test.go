package nats_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

// TestAClaimThatEndsGivesBackWhatItIsGivenAtThatMoment ends waiting claims behind a slow link at every step of their being
// given a task: before it is on its way, while it is, while its lease is being written, and while the answer is.
func TestAClaimThatEndsGivesBackWhatItIsGivenAtThatMoment(t *testing.T) {
	t.Parallel()
	const rounds, step = 60, time.Millisecond
	server := testserver.NATS(t, servers.NATSOptions{Process: true})
	slow, link, there := slowQueue(t, server)
	require.NoError(t, there.Admin.Configure(t.Context(), "q", queue.Properties{Lease: time.Hour}))
	link.Delay(5 * time.Millisecond)
	given := 0

	for i := range rounds {
		id := fmt.Sprint("t", i)
		ctx, end := context.WithCancel(t.Context())
		var claiming sync.WaitGroup
		var claimed queue.Claimed
		var failed error
		claiming.Go(func() {
			claimed, failed = slow.Driver.Claim(ctx, queue.Claim{Worker: "ends", Queues: []string{"q"}, Max: 4, Wait: time.Minute})
		})
		pause(ctx, 40*time.Millisecond) // until it waits; if it does not yet, it is ended somewhat earlier
		receipts, err := there.Driver.Enqueue(t.Context(), []queue.Task{{ID: id, Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1}})
		require.NoError(t, err)
		require.NoError(t, receipts[0].Err)
		pause(ctx, time.Duration(i)*step)
		end()
		claiming.Wait()
		require.NoError(t, failed)
		given += len(claimed.Tasks)

		if len(claimed.Tasks) == 0 {
			got, err := there.Driver.Claim(t.Context(), queue.Claim{Worker: "next", Queues: []string{"q"}, Max: 1, Wait: 30 * time.Second})
			require.NoError(t, err)
			require.Len(t, got.Tasks, 1, "the task of a claim that was ended %v after it was enqueued", time.Duration(i)*step)
			claimed = got
		}
		l := claimed.Tasks[0]
		require.Equal(t, id, l.ID)
		require.Zero(t, l.Lost)
		require.Zero(t, l.Attempts)
		errs, err := there.Driver.Settle(t.Context(), queue.Settlements{Worker: "next", Number: uint64(i + 1), Items: []queue.Settlement{{Ref: l.Ref(), Outcome: queue.Done}}})
		require.NoError(t, err)
		require.NoError(t, errs[0])
	}

	require.Less(t, given, rounds, "some must have ended before they had an answer")
	stats, err := there.Admin.Stats(t.Context(), "q")
	require.NoError(t, err)
	require.Zero(t, stats.Active+stats.Pending, "%+v", stats)
	require.Zero(t, stats.Totals.Lost)
}

// TestAWorkerThatStopsGivesBackOverASlowLink has giving back take longer than the worker lets its handlers run on.
func TestAWorkerThatStopsGivesBackOverASlowLink(t *testing.T) {
	t.Parallel()
	const tasks = 8
	server := testserver.NATS(t, servers.NATSOptions{Process: true})
	slow, link, there := slowQueue(t, server)
	w, err := queue.NewWorker(slow, queue.WorkerOptions{
		Queues: map[string]int{"q": 1}, Concurrency: 2, ShutdownTimeout: time.Millisecond, Logger: quiet,
	})
	require.NoError(t, err)
	begun := make(chan struct{}, tasks)
	require.NoError(t, queue.Handle(w, queue.NewKind[int]("k"), func(ctx context.Context, _ *queue.Job[int]) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	link.Delay(25 * time.Millisecond)
	require.NoError(t, w.Start(t.Context()))
	for i := range tasks {
		_, err := queue.Enqueue(t.Context(), queue.NewClient(there, queue.ClientOptions{}), queue.NewKind[int]("k"), i, queue.OnQueue("q"))
		require.NoError(t, err)
	}
	<-begun

	require.NoError(t, w.Stop(t.Context()))

	require.Eventually(t, func() bool { // what an ended claim brings comes back just after
		stats, err := there.Admin.Stats(t.Context(), "q")
		return err == nil && stats.Pending == tasks && stats.Active == 0 && stats.Totals.Lost == 0
	}, 20*time.Second, 10*time.Millisecond)
}

// slowQueue opens a queue twice: over a link that can be made slow, and over one that cannot.
func slowQueue(t *testing.T, server *servers.NATS) (slow *queue.Backend, link *servers.Proxy, there *queue.Backend) {
	t.Helper()
	link, err := servers.StartProxy(server.Addr())
	require.NoError(t, err)
	t.Cleanup(link.Close)
	node, err := transports.OpenURL(t.Context(), server.URLAt(link.Addr()), transports.Settings{
		Namespace: "slow", Options: map[string]any{"discover": false}, Logger: quiet,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node.Queue(), link, openQueue(t, t.Context(), server, "slow").Queue()
}
