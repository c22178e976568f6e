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

// runs counts how often tasks were settled as done, which the store has confirmed.
type runs struct {
	mu   sync.Mutex
	done map[string]int
}

func (r *runs) add(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[id]++
	return len(r.done)
}

func (r *runs) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.done)
}

// TestKillingTheServerLosesNoTask kills the server under load, again and again, and restarts it with its store.
func TestKillingTheServerLosesNoTask(t *testing.T) {
	t.Parallel()
	const tasks, kills = 1500, 4
	server := testserver.NATS(t, servers.NATSOptions{Process: true})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	node := openQueue(t, ctx, server, "kill")
	require.NoError(t, node.Queue().Admin.Configure(ctx, "q", queue.Properties{Lease: 2 * time.Second}))
	seen := &runs{done: map[string]int{}}
	var working sync.WaitGroup
	working.Go(func() { enqueueAll(ctx, node.Queue(), tasks) })
	for i := range 3 {
		other := openQueue(t, ctx, server, "kill")
		working.Go(func() { workUntil(ctx, other.Queue(), fmt.Sprint("w", i), tasks, seen) })
	}

	for kill := range kills {
		for want := (kill + 1) * tasks / (kills + 2); seen.size() < want && ctx.Err() == nil; {
			pause(ctx, 5*time.Millisecond)
		}
		server.Kill()
		require.NoError(t, server.Restart(ctx))
	}
	working.Wait()

	require.NoError(t, ctx.Err(), "%d of %d tasks were done", seen.size(), tasks)
	for id, n := range seen.done {
		require.Equal(t, 1, n, "times that %s was settled as done", id)
	}
	stats, err := node.Queue().Admin.Stats(ctx, "q")
	require.NoError(t, err)
	require.Zero(t, stats.Active+stats.Scheduled+stats.Dead+stats.Completed, "%+v", stats)
}

// TestAKilledWorkersTasksRunElsewhere ends workers without a goodbye while they have tasks in hand.
func TestAKilledWorkersTasksRunElsewhere(t *testing.T) {
	t.Parallel()
	const tasks = 300
	server := testserver.NATS(t, servers.NATSOptions{Process: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	node := openQueue(t, ctx, server, "dead")
	require.NoError(t, node.Queue().Admin.Configure(ctx, "q", queue.Properties{Lease: 500 * time.Millisecond}))
	enqueueAll(ctx, node.Queue(), tasks)
	for i := range 5 {
		link, err := servers.StartProxy(server.Addr())
		require.NoError(t, err)
		dying, err := transports.OpenURL(ctx, server.URLAt(link.Addr()), transports.Settings{Namespace: "dead", Options: map[string]any{"discover": false}})
		require.NoError(t, err)
		claimed, err := dying.Queue().Claim(ctx, queue.Claim{Worker: fmt.Sprint("dying", i), Queues: []string{"q"}, Max: 20})
		require.NoError(t, err)
		require.Len(t, claimed.Tasks, 20)
		link.Refuse(true)
		link.Cut()
		require.NoError(t, dying.Close())
		link.Close()
	}
	seen := &runs{done: map[string]int{}}

	workUntil(ctx, node.Queue(), "w", tasks, seen)

	require.NoError(t, ctx.Err(), "%d of %d tasks were done", seen.size(), tasks)
	for id, n := range seen.done {
		require.Equal(t, 1, n, "times that %s was settled as done", id)
	}
	stats, err := node.Queue().Admin.Stats(ctx, "q")
	require.NoError(t, err)
	require.Equal(t, int64(100), stats.Totals.Lost)
	require.Equal(t, int64(tasks), stats.Totals.Completed)
}

func openQueue(t *testing.T, ctx context.Context, server *servers.NATS, namespace string) transports.Transport {
	t.Helper()
	node, err := transports.OpenURL(ctx, server.URL(), transports.Settings{Namespace: namespace})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// enqueueAll stores tasks with IDs of their own, each until the store has confirmed it or has it already.
func enqueueAll(ctx context.Context, q *queue.Backend, tasks int) {
	for i := 0; i < tasks && ctx.Err() == nil; {
		t := queue.Task{ID: fmt.Sprint("t", i), CallerID: true, Kind: "k", Queue: "q", MaxAttempts: 5, MaxLost: 1000, Payload: []byte("payload")}
		receipts, err := q.Enqueue(ctx, []queue.Task{t})
		if err == nil && receipts[0].Err == nil {
			i++
			continue
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// workUntil claims and completes until so many tasks are done by all, repeating each batch until it is answered.
func workUntil(ctx context.Context, q *queue.Backend, worker string, tasks int, seen *runs) {
	for number := uint64(1); seen.size() < tasks && ctx.Err() == nil; number++ {
		claimed, err := q.Claim(ctx, queue.Claim{Worker: worker, Queues: []string{"q"}, Max: 20, Wait: 200 * time.Millisecond})
		if err != nil {
			pause(ctx, 10*time.Millisecond)
			continue
		}
		items := make([]queue.Settlement, len(claimed.Tasks))
		for i, l := range claimed.Tasks {
			items[i] = queue.Settlement{Ref: l.Ref(), Outcome: queue.Done}
		}
		for ctx.Err() == nil {
			errs, err := q.Settle(ctx, queue.Settlements{Worker: worker, Number: number, Items: items})
			if err != nil {
				pause(ctx, 10*time.Millisecond)
				continue
			}
			for i, err := range errs {
				if err == nil {
					seen.add(items[i].ID)
				}
			}
			break
		}
	}
}
