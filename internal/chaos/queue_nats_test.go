//go:build unix

package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
)

const (
	natsTasks    = 2000
	natsSlots    = 8
	natsLease    = 3 * time.Second
	natsChildEnv = "BACKPLANE_CHAOS_NATS_WORKER"
)

// Three worker processes on NATS lose one to SIGKILL every second, and one is stopped for longer than its lease and then
// goes on. Every task is completed exactly once, as the store has it, none is dead, and no more handlers are begun again
// than tasks were in the hands of the processes at those moments.
func TestEveryTaskOnNATSIsCompletedOnceWhileWorkersAreKilledAndStopped(t *testing.T) {
	server := testserver.NATS(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	node := open(t, server.URL())
	inspector := queue.NewInspector(node.Queue())
	require.NoError(t, inspector.Configure(ctx, queue.DefaultQueue, queue.Properties{Lease: natsLease}))
	payloads := make([]int, natsTasks)
	_, err := queue.EnqueueMany(ctx, queue.NewClient(node.Queue(), queue.ClientOptions{}), work, payloads, queue.Retention(time.Hour))
	require.NoError(t, err)
	stale := claimAndForget(t, ctx, node.Queue(), 5)
	stats := func() queue.Stats {
		s, err := inspector.Stats(ctx, queue.DefaultQueue)
		require.NoError(t, err)
		return s
	}
	crew := map[string]*exec.Cmd{}
	hired := 0
	hire := func() {
		name := fmt.Sprintf("worker-%d", hired)
		hired++
		crew[name] = startNATSWorker(t, server.URL(), name)
	}
	for range workers {
		hire()
	}
	for stats().Totals.Completed < 100 { // all of them are at work
		require.NoError(t, pause(ctx, 20*time.Millisecond))
	}

	atRisk, kills := 0, 0
	sleeper, asleep := anyOf(crew), time.Now()
	require.NoError(t, crew[sleeper].Process.Signal(syscall.SIGSTOP))
	atRisk += heldBy(t, ctx, inspector, sleeper)
	for next := time.Now(); stats().Pending+stats().Active+stats().Scheduled > 0; {
		require.NoError(t, pause(ctx, 50*time.Millisecond))
		if sleeper != "" && time.Since(asleep) > 2*natsLease {
			require.NoError(t, crew[sleeper].Process.Signal(syscall.SIGCONT))
			sleeper = ""
		}
		if time.Since(next) < time.Second || kills > 0 && stats().Totals.Completed > natsTasks-200 {
			continue
		}
		next = time.Now()
		victim := anyOf(crew, sleeper)
		// Stopped first, so that what it holds can be counted, and nothing changes until it is dead.
		require.NoError(t, crew[victim].Process.Signal(syscall.SIGSTOP))
		atRisk += heldBy(t, ctx, inspector, victim)
		require.NoError(t, crew[victim].Process.Kill())
		_ = crew[victim].Wait()
		delete(crew, victim)
		kills++
		hire()
	}

	s := stats()
	require.EqualValues(t, natsTasks, s.Completed, "each task is completed, and kept")
	require.Zero(t, s.Dead)
	require.LessOrEqual(t, s.Totals.Completed, int64(natsTasks), "each task is acknowledged once")
	require.GreaterOrEqual(t, s.Totals.Completed, int64(natsTasks-atRisk), "a crash between a settlement and its count loses the count")
	begun, again := countNATSRuns(t, ctx, node.Cache())
	require.Equal(t, natsTasks, begun, "every task ran")
	require.LessOrEqual(t, again, atRisk, "only what a killed or stopped process held runs again")
	require.Positive(t, again, "the kills hit something")
	for i, err := range settle(t, ctx, node.Queue(), stale) {
		require.ErrorIs(t, err, fault.LeaseLost, "stale settlement %d", i)
	}
	after := stats()
	require.EqualValues(t, natsTasks, after.Completed, "and changes nothing")
	require.Equal(t, s.Totals.Completed, after.Totals.Completed, "and changes nothing")
	t.Logf("%d tasks, %d kills, 1 stop; %d held at those moments, %d begun again, %d leases lost", natsTasks, kills, atRisk, again, s.Totals.Lost)
}

const natsRuns = "runs."

// countNATSRuns tells how many tasks ran at all, and how many handlers were begun beyond the first of their task.
func countNATSRuns(t *testing.T, ctx context.Context, c *cache.Backend) (begun, again int) {
	t.Helper()
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := c.Keys(ctx, cache.Page{Prefix: natsRuns, Cursor: cursor, Limit: 500})
		require.NoError(t, err)
		cursor = page.Next
		reads := make([]cache.Read, len(page.Keys))
		for i, key := range page.Keys {
			reads[i].Key = key
		}
		if len(reads) == 0 {
			continue
		}
		entries, err := c.Get(ctx, reads)
		require.NoError(t, err)
		for _, e := range entries {
			var n int
			_, err := fmt.Sscan(string(e.Entry.Value), &n)
			require.NoError(t, err)
			begun, again = begun+1, again+n-1
		}
	}
	return begun, again
}

// startNATSWorker runs this test binary again, as a worker.
func startNATSWorker(t *testing.T, url, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNATSWorkerProcess$")
	cmd.Env = append(os.Environ(), natsChildEnv+"="+name+" "+url)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// TestNATSWorkerProcess is what such a process runs, until it is killed. Elsewhere it checks that it is not one.
func TestNATSWorkerProcess(t *testing.T) {
	name, url, isWorker := strings.Cut(os.Getenv(natsChildEnv), " ")
	if !isWorker {
		require.Empty(t, os.Getenv(natsChildEnv))
		return
	}
	node := open(t, url)
	worker, err := queue.NewWorker(node.Queue(), queue.WorkerOptions{Name: name, Concurrency: natsSlots})
	require.NoError(t, err)
	require.NoError(t, queue.Handle(worker, work, func(ctx context.Context, job *queue.Job[int]) error {
		sums, err := node.Cache().Add(ctx, []cache.Increment{{Key: natsRuns + job.ID, Delta: 1}})
		if err != nil {
			return err
		}
		if sums[0].Err != nil {
			return sums[0].Err
		}
		return pause(ctx, taskTime)
	}))
	require.NoError(t, worker.Run(t.Context()))
}
