package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

func queueStackCases() []Case {
	return onStack(append(needing(NeedsAdmin, []Case{
		{Name: "queue/stack/workers-on-two-nodes-run-every-task-once", Clause: clauseWorkerRuns, Run: workersRunAll},
		{Name: "queue/stack/a-failing-task-is-tried-again-and-then-dead", Clause: clauseWorkerFails, Run: workerRetries},
		{Name: "queue/stack/a-snoozed-task-counts-no-attempt", Clause: clauseWorkerFails, Run: workerSnoozes},
		{Name: "queue/stack/a-panic-is-a-failed-attempt", Clause: clauseWorkerFails, Run: workerPanics},
		{Name: "queue/stack/a-skipped-task-is-dead-at-once", Clause: clauseWorkerFails, Run: workerSkips},
		{Name: "queue/stack/an-unknown-kind-stays", Clause: clauseWorkerKnows, Run: workerUnknownKind},
		{Name: "queue/stack/a-payload-that-cannot-be-decoded-is-dead", Clause: clauseWorkerKnows, Run: workerUndecodable},
		{Name: "queue/stack/a-worker-that-stops-gives-back", Clause: clauseWorkerStop, Run: workerGivesBack},
		{Name: "queue/stack/a-long-task-keeps-its-lease", Clause: clauseWorkerLease, Run: workerExtends},
		{Name: "queue/stack/a-cancelled-tasks-handler-is-told", Clause: clauseWorkerLease, Run: workerCancelled},
		{Name: "queue/stack/results-are-found", Clause: clauseDone, Run: workerResults},
	}), Case{Name: "queue/stack/what-is-not-offered-is-unsupported", Clause: clauseUnsupported, Run: queueNotOffered}))
}

var (
	work  = queue.NewKind[int]("work", queue.OnQueue("q"))
	other = queue.NewKind[int]("other", queue.OnQueue("q"))
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// workerOn starts a worker that handles the kind "work", and stops it when the case ends.
func workerOn(e *Env, node transports.Transport, handle func(ctx context.Context, job *queue.Job[int]) error, with ...func(*queue.WorkerOptions)) *queue.Worker {
	e.Helper()
	o := queue.WorkerOptions{
		Queues: map[string]int{"q": 1}, Concurrency: 4, Logger: quiet(), ShutdownTimeout: e.Timing.Wait,
		Backoff: func(int, error) time.Duration { return 10 * time.Millisecond },
	}
	for _, change := range with {
		change(&o)
	}
	w, err := queue.NewWorker(node.Queue(), o)
	require.NoError(e, err)
	require.NoError(e, queue.Handle(w, work, handle))
	require.NoError(e, w.Start(e.Context()))
	e.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), e.Timing.Wait)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			e.Errorf("stopping a worker: %v", err)
		}
	})
	return w
}

func clientOn(node transports.Transport) *queue.Client {
	return queue.NewClient(node.Queue(), queue.ClientOptions{})
}

// put enqueues one task and answers its ID.
func put(e *Env, node transports.Transport, kind queue.Kind[int], payload int, options ...queue.Option) string {
	e.Helper()
	r, err := queue.Enqueue(e.Context(), clientOn(node), kind, payload, options...)
	require.NoError(e, err)
	require.False(e, r.Duplicate)
	return r.ID
}

// eventually requires that the queue comes to hold so many tasks in each state.
func (q queueOn) eventually(want map[queue.State]int64) {
	q.e.Helper()
	q.e.Eventually(func() bool {
		have := states(q.stats())
		if len(have) != len(want) {
			return false
		}
		for state, n := range want {
			if have[state] != n {
				return false
			}
		}
		return true
	}, "tasks by state become %v", want)
}

func workersRunAll(e *Env) {
	there := e.Open()
	const n = 200
	var mu sync.Mutex
	runs := map[int]int{}
	handle := func(_ context.Context, job *queue.Job[int]) error {
		mu.Lock()
		defer mu.Unlock()
		runs[job.Payload]++
		return nil
	}
	workerOn(e, e.Node, handle)
	workerOn(e, there, handle)
	payloads := make([]int, n)
	for i := range payloads {
		payloads[i] = i
	}
	_, err := queue.EnqueueMany(e.Context(), clientOn(there), work, payloads)
	require.NoError(e, err)

	q := onQueue(e, e.Node)
	e.Eventually(func() bool { return q.stats().Totals.Completed == n }, "every task is done")
	q.mustCount(map[queue.State]int64{})
	mu.Lock()
	defer mu.Unlock()
	require.Len(e, runs, n)
	for payload, times := range runs {
		require.Equal(e, 1, times, "runs of task %d", payload)
	}
}

func workerRetries(e *Env) {
	there := e.Open()
	var attempts sync.Map
	var runs atomic.Int32
	workerOn(e, e.Node, func(_ context.Context, job *queue.Job[int]) error {
		attempts.Store(job.Attempt(), true)
		return fmt.Errorf("failure %d", runs.Add(1))
	})
	id := put(e, there, work, 1, queue.MaxAttempts(3))

	q := onQueue(e, there)
	q.eventually(map[queue.State]int64{queue.DeadLetter: 1})
	dead := q.mustFind(id, queue.DeadLetter)
	require.Equal(e, 3, dead.Attempts)
	require.Contains(e, dead.LastError, "failure 3")
	require.Equal(e, int32(3), runs.Load())
	for n := 1; n <= 3; n++ {
		_, ran := attempts.Load(n)
		require.True(e, ran, "attempt %d", n)
	}
}

func workerSnoozes(e *Env) {
	there := e.Open()
	var runs, counted atomic.Int32
	workerOn(e, e.Node, func(_ context.Context, job *queue.Job[int]) error {
		counted.Add(int32(job.Attempts))
		if runs.Add(1) < 4 {
			return queue.SnoozeFor(20 * time.Millisecond)
		}
		return nil
	})
	put(e, there, work, 1, queue.MaxAttempts(1))
	q := onQueue(e, there)
	e.Eventually(func() bool { return q.stats().Totals.Completed == 1 }, "the task is done")
	require.Equal(e, int32(4), runs.Load())
	require.Zero(e, counted.Load(), "attempts counted")
	require.Equal(e, int64(3), q.stats().Totals.Snoozed)
}

func workerPanics(e *Env) {
	there := e.Open()
	var runs atomic.Int32
	w := workerOn(e, e.Node, func(context.Context, *queue.Job[int]) error {
		if runs.Add(1) == 1 {
			panic("oh no")
		}
		return nil
	})
	put(e, there, work, 1)
	q := onQueue(e, there)
	e.Eventually(func() bool { return q.stats().Totals.Completed == 1 }, "the task is done at its second attempt")
	require.Equal(e, int64(1), q.stats().Totals.Retried)
	require.Equal(e, int64(1), w.Stats().Panics)
}

func workerSkips(e *Env) {
	there := e.Open()
	workerOn(e, e.Node, func(context.Context, *queue.Job[int]) error { return queue.Skip(errors.New("hopeless")) })
	id := put(e, there, work, 1)
	q := onQueue(e, there)
	q.eventually(map[queue.State]int64{queue.DeadLetter: 1})
	require.Contains(e, q.mustFind(id, queue.DeadLetter).LastError, "hopeless")
}

func workerUnknownKind(e *Env) {
	there := e.Open()
	w := workerOn(e, e.Node, func(context.Context, *queue.Job[int]) error { return nil })
	id := put(e, there, other, 7)
	put(e, there, work, 1)
	q := onQueue(e, there)
	e.Eventually(func() bool { return w.Stats().Unknown > 0 && q.stats().Totals.Completed == 1 }, "the worker meets a kind that it does not know")

	var info queue.Info
	e.Eventually(func() bool {
		var err error
		info, err = there.Queue().Admin.Find(e.Context(), "q", id)
		require.NoError(e, err, "a task of an unknown kind is kept")
		return info.LastError != ""
	}, "the task shows why it waits")
	require.Contains(e, info.LastError, other.Name)
	require.Contains(e, []queue.State{queue.Pending, queue.Scheduled, queue.Active}, info.State)
	require.Zero(e, info.Attempts, "it counts no attempt")
	require.Equal(e, "7", string(info.Payload))
}

func workerUndecodable(e *Env) {
	there := e.Open()
	workerOn(e, e.Node, func(context.Context, *queue.Job[int]) error { return nil })
	q := onQueue(e, there)
	q.mustEnqueue(taskWith("t", func(t *queue.Task) { t.Kind, t.Payload = work.Name, []byte("{no number") }))
	q.eventually(map[queue.State]int64{queue.DeadLetter: 1})
	require.Contains(e, q.mustFind("t", queue.DeadLetter).LastError, "decoded")
}

func workerGivesBack(e *Env) {
	there := e.Open()
	begun := make(chan struct{}, 64)
	w := workerOn(e, e.Node, func(ctx context.Context, _ *queue.Job[int]) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}, func(o *queue.WorkerOptions) { o.Concurrency, o.ShutdownTimeout = 2, 10*time.Millisecond })
	for i := range 8 {
		put(e, there, work, i)
	}
	Await(e, begun, "the first handler")
	require.NoError(e, w.Stop(e.Within(e.Timing.Wait)))

	q := onQueue(e, there)
	q.eventually(map[queue.State]int64{queue.Pending: 8}) // what a claim brings that had ended comes back just after
	for _, l := range q.mustClaimMany(8) {
		require.Zero(e, l.Attempts, "a worker that stops counts no attempt")
		require.Zero(e, l.Lost, "and loses no lease")
	}
}

func workerExtends(e *Env) {
	there := e.Open()
	q := onQueue(e, there)
	lease := q.lends(8)
	begun := make(chan struct{}, 64)
	workerOn(e, e.Node, func(ctx context.Context, _ *queue.Job[int]) error {
		begun <- struct{}{}
		long := time.NewTimer(2 * lease)
		defer long.Stop()
		select {
		case <-long.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	put(e, there, work, 1)
	Await(e, begun, "the handler")
	e.Eventually(func() bool {
		q.mustHaveNone() // what it holds is nobody else's
		return q.stats().Totals.Completed == 1
	}, "the task is done")
	require.Empty(e, begun, "further runs")
	require.Zero(e, q.stats().Totals.Lost)
}

func workerCancelled(e *Env) {
	there := e.Open()
	q := onQueue(e, there)
	q.lends(8)
	begun, cause := make(chan struct{}, 1), make(chan error, 1)
	workerOn(e, e.Node, func(ctx context.Context, _ *queue.Job[int]) error {
		begun <- struct{}{}
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return ctx.Err()
	})
	id := put(e, there, work, 1)
	Await(e, begun, "the handler")
	require.NoError(e, queue.NewInspector(there.Queue()).Cancel(e.Context(), "q", id))
	require.ErrorIs(e, Await(e, cause, "the end of the handler's context"), queue.ErrCanceled)
	q.eventually(map[queue.State]int64{queue.Cancelled: 1})
}

func workerResults(e *Env) {
	there := e.Open()
	workerOn(e, e.Node, func(_ context.Context, job *queue.Job[int]) error {
		return job.SetResult([]byte(fmt.Sprint("twice is ", 2*job.Payload)))
	})
	id := put(e, there, work, 21, queue.Retention(time.Hour))
	q := onQueue(e, there)
	q.eventually(map[queue.State]int64{queue.Completed: 1})
	require.Equal(e, "twice is 42", string(q.mustFind(id, queue.Completed).Result))
}

// queueNotOffered takes away what may be missing, so that it is checked on every transport.
func queueNotOffered(e *Env) {
	e.Promptly("refusing", func() { refuseQueue(e, nil); refuseAdmin(e, nil) })
}

func refuseQueue(e *Env, b *queue.Backend) {
	_, err := queue.Enqueue(e.Context(), queue.NewClient(b, queue.ClientOptions{}), work, 1)
	requireCode(e, fault.Unsupported, err, "Enqueue")
	_, err = queue.NewWorker(b, queue.WorkerOptions{})
	requireCode(e, fault.Unsupported, err, "NewWorker")
}

func refuseAdmin(e *Env, b *queue.Backend) {
	i := queue.NewInspector(b)
	_, err := i.Stats(e.Context(), "q")
	requireCode(e, fault.Unsupported, err, "Stats")
	_, err = i.Queues(e.Context())
	requireCode(e, fault.Unsupported, err, "Queues")
	_, err = i.Find(e.Context(), "q", "t")
	requireCode(e, fault.Unsupported, err, "Find")
	requireCode(e, fault.Unsupported, i.Remove(e.Context(), "q", "t"), "Remove")
	requireCode(e, fault.Unsupported, i.Pause(e.Context(), "q"), "Pause")
}
