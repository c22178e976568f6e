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

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
)

const (
	tasks    = 10_000
	workers  = 3
	slots    = 10
	lease    = time.Second
	taskTime = 20 * time.Millisecond // so that all of it takes several kills
	runsKey  = "chaos:runs"          // a hash: how often each task's handler was begun
	childEnv = "BACKPLANE_CHAOS_WORKER"
)

var work = queue.NewKind[int]("work")

// A cluster of three worker processes loses one to SIGKILL every second, and one is stopped for longer than its lease
// and then goes on. Every task is completed exactly once, by the store's count; none is lost, none is dead; and no more
// handlers are begun again than tasks were in the hands of the processes that were killed or stopped, at that moment.
func TestEveryTaskIsCompletedOnceWhileWorkersAreKilledAndStopped(t *testing.T) {
	redis := testserver.Redis(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	node := open(t, redis.URL())
	inspector := queue.NewInspector(node.Queue())
	require.NoError(t, inspector.Configure(ctx, queue.DefaultQueue, queue.Properties{Lease: lease}))
	client := queue.NewClient(node.Queue(), queue.ClientOptions{})
	payloads := make([]int, tasks)
	for i := range payloads {
		payloads[i] = i
	}
	_, err := queue.EnqueueMany(ctx, client, work, payloads)
	require.NoError(t, err)
	stale := claimAndForget(t, ctx, node.Queue(), 5)

	crew := map[string]*exec.Cmd{}
	hired := 0
	hire := func() {
		name := fmt.Sprintf("worker-%d", hired)
		hired++
		crew[name] = startWorker(t, redis.URL(), name)
	}
	for range workers {
		hire()
	}
	atRisk, kills := 0, 0
	stats := func() queue.Stats {
		s, err := inspector.Stats(ctx, queue.DefaultQueue)
		require.NoError(t, err)
		return s
	}
	waitForCompleted := func(more int64) {
		for want := stats().Totals.Completed + more; stats().Totals.Completed < want; {
			require.NoError(t, pause(ctx, 20*time.Millisecond))
		}
	}

	waitForCompleted(200) // all of them are at work
	sleeper := anyOf(crew)
	require.NoError(t, crew[sleeper].Process.Signal(syscall.SIGSTOP))
	atRisk += heldBy(t, ctx, inspector, sleeper)
	asleep := time.Now()
	for next := time.Now(); stats().Pending+stats().Active+stats().Scheduled > 0; {
		require.NoError(t, pause(ctx, 50*time.Millisecond))
		if sleeper != "" && time.Since(asleep) > 2*lease {
			require.NoError(t, crew[sleeper].Process.Signal(syscall.SIGCONT))
			sleeper = ""
		}
		if time.Since(next) < time.Second || stats().Totals.Completed > tasks-500 {
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
	require.EqualValues(t, tasks, s.Totals.Completed, "each task is acknowledged exactly once")
	require.Zero(t, s.Dead)
	require.GreaterOrEqual(t, kills, 3)
	begun, again := countRuns(t, ctx, redis.URL())
	require.Equal(t, tasks, begun, "every task ran")
	require.LessOrEqual(t, again, atRisk, "only what a killed or stopped process held runs again")
	require.Positive(t, again, "the kills hit something")
	for i, err := range settle(t, ctx, node.Queue(), stale) {
		require.ErrorIs(t, err, fault.LeaseLost, "stale settlement %d", i)
	}
	after := stats()
	require.EqualValues(t, tasks, after.Totals.Completed, "and changes nothing")
	require.GreaterOrEqual(t, after.Totals.Stale, s.Totals.Stale+int64(len(stale)))
	t.Logf("%d tasks, %d kills, 1 stop; %d held at those moments, %d begun again, %d leases lost, %d stale settlements refused",
		tasks, kills, atRisk, again, s.Totals.Lost, after.Totals.Stale)
}

// claimAndForget makes claims whose leases will be long over when they are settled.
func claimAndForget(t *testing.T, ctx context.Context, b *queue.Backend, n int) []queue.Leased {
	t.Helper()
	got, err := b.Claim(ctx, queue.Claim{Worker: "forgetful", Queues: []string{queue.DefaultQueue}, Max: n})
	require.NoError(t, err)
	require.Len(t, got.Tasks, n)
	return got.Tasks
}

func settle(t *testing.T, ctx context.Context, b *queue.Backend, stale []queue.Leased) []error {
	t.Helper()
	s := queue.Settlements{Worker: "forgetful", Number: 1}
	for i, task := range stale {
		s.Items = append(s.Items, queue.Settlement{Ref: task.Ref(), Outcome: queue.Outcome(1 + i%int(queue.Release))})
	}
	errs, err := b.Settle(ctx, s)
	require.NoError(t, err)
	return errs
}

// heldBy counts the tasks that a worker has claimed and not settled.
func heldBy(t *testing.T, ctx context.Context, i *queue.Inspector, worker string) int {
	t.Helper()
	held := 0
	for info, err := range i.Tasks(ctx, queue.DefaultQueue, queue.Active) {
		require.NoError(t, err)
		if strings.HasPrefix(info.Holder, worker+"-") {
			held++
		}
	}
	return held
}

// countRuns tells how many tasks ran at all, and how many handlers were begun beyond the first of their task.
func countRuns(t *testing.T, ctx context.Context, url string) (begun, again int) {
	t.Helper()
	raw := rawClient(t, url)
	runs, err := raw.HGetAll(ctx, runsKey).Result()
	require.NoError(t, err)
	for _, n := range runs {
		var count int
		_, err := fmt.Sscan(n, &count)
		require.NoError(t, err)
		again += count - 1
	}
	return len(runs), again
}

func rawClient(t *testing.T, url string) *goredis.Client {
	t.Helper()
	o, err := goredis.ParseURL(url)
	require.NoError(t, err)
	raw := goredis.NewClient(o)
	t.Cleanup(func() { require.NoError(t, raw.Close()) })
	return raw
}

func anyOf(crew map[string]*exec.Cmd, but ...string) string {
	for name := range crew {
		if len(but) == 0 || name != but[0] {
			return name
		}
	}
	return ""
}

// startWorker runs this test binary again, as a worker.
func startWorker(t *testing.T, url, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestWorkerProcess$")
	cmd.Env = append(os.Environ(), childEnv+"="+name+" "+url)
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

// TestWorkerProcess is what such a process runs, until it is killed. Elsewhere it checks that it is not one.
func TestWorkerProcess(t *testing.T) {
	name, url, isWorker := strings.Cut(os.Getenv(childEnv), " ")
	if !isWorker {
		require.Empty(t, os.Getenv(childEnv))
		return
	}
	node := open(t, url)
	raw := rawClient(t, url)
	worker, err := queue.NewWorker(node.Queue(), queue.WorkerOptions{Name: name, Concurrency: slots})
	require.NoError(t, err)
	require.NoError(t, queue.Handle(worker, work, func(ctx context.Context, job *queue.Job[int]) error {
		if err := raw.HIncrBy(ctx, runsKey, job.ID, 1).Err(); err != nil {
			return err
		}
		return pause(ctx, taskTime)
	}))
	require.NoError(t, worker.Run(t.Context()))
}
