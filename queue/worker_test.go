package queue_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

var errBroken = errors.New("broken")

func TestEveryTaskIsRunOnceAndSettled(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		ids := enqueue(t, s, 1000)
		var sum atomic.Int64
		w := newWorker(t, s, queue.WorkerOptions{}, func(_ context.Context, job *queue.Job[int]) error {
			sum.Add(int64(job.Payload))
			return nil
		})
		start(t, w)

		after(time.Second)

		require.EqualValues(t, 999*1000/2, sum.Load())
		require.Equal(t, len(ids), s.count(queue.Completed))
		stats := w.Stats()
		require.Equal(t, queue.WorkerStats{Claimed: 1000, Done: 1000}, stats)
		health := w.Health()
		require.True(t, health.Running)
		require.NoError(t, health.Err)
		require.WithinDuration(t, time.Now(), health.LastClaim, time.Second)
	})
}

func TestWhatAHandlerReturnsDecidesWhatBecomesOfTheTask(t *testing.T) {
	handlers := map[string]func(context.Context, *queue.Job[int]) error{
		"nil":    succeed,
		"error":  func(context.Context, *queue.Job[int]) error { return errBroken },
		"skip":   func(context.Context, *queue.Job[int]) error { return fmt.Errorf("wrapped: %w", queue.Skip(errBroken)) },
		"retry":  func(context.Context, *queue.Job[int]) error { return queue.RetryIn(errBroken, time.Minute) },
		"snooze": func(context.Context, *queue.Job[int]) error { return queue.SnoozeFor(time.Minute) },
		"panic":  func(context.Context, *queue.Job[int]) error { panic(errBroken) },
		"goexit": func(context.Context, *queue.Job[int]) error { runtime.Goexit(); return nil },
	}
	for name, c := range map[string]struct {
		handler  string
		options  []queue.Option
		state    queue.State
		attempts int
		in       time.Duration
		because  string
	}{
		"nil completes":                        {handler: "nil", state: queue.Completed},
		"an error is retried":                  {handler: "error", state: queue.Scheduled, attempts: 1, in: 3 * time.Second, because: "broken"},
		"an error at the last attempt is dead": {handler: "error", options: []queue.Option{queue.MaxAttempts(1)}, state: queue.DeadLetter, attempts: 1, because: "attempt 1 of 1: broken"},
		"an error too late for another attempt is dead": {handler: "error", options: []queue.Option{queue.Deadline(time.Date(2000, 1, 1, 0, 0, 2, 0, time.UTC))},
			state: queue.DeadLetter, attempts: 1, because: "deadline exceeded"},
		"Skip is dead at once":                  {handler: "skip", state: queue.DeadLetter, attempts: 1, because: "wrapped: broken"},
		"RetryIn is retried then":               {handler: "retry", state: queue.Scheduled, attempts: 1, in: time.Minute, because: "broken"},
		"RetryIn at the last attempt is dead":   {handler: "retry", options: []queue.Option{queue.MaxAttempts(1)}, state: queue.DeadLetter, attempts: 1, because: "broken"},
		"SnoozeFor burns no attempt":            {handler: "snooze", options: []queue.Option{queue.MaxAttempts(1)}, state: queue.Scheduled, in: time.Minute},
		"a panic is retried, with its stack":    {handler: "panic", state: queue.Scheduled, attempts: 1, in: 3 * time.Second, because: "worker_test.go"},
		"a handler that does not return either": {handler: "goexit", state: queue.Scheduled, attempts: 1, in: 3 * time.Second, because: "runtime.Goexit"},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T) {
				s := newStore(t)
				id := enqueue(t, s, 1, c.options...)[0]
				w := newWorker(t, s, queue.WorkerOptions{Backoff: func(int, error) time.Duration { return 3 * time.Second }}, handlers[c.handler])
				start(t, w)
				began := time.Now()

				after(time.Second)

				r := s.find(id)
				require.Equal(t, c.state, r.state)
				require.Equal(t, c.attempts, r.Attempts)
				require.Contains(t, r.LastError, c.because)
				require.LessOrEqual(t, len(r.LastError), 4<<10)
				if c.in > 0 {
					require.Equal(t, c.in, r.due.Sub(began))
				}
			})
		})
	}
}

func TestRetriesGoOnUntilTheAttemptsAreUsedUp(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1, queue.MaxAttempts(4))[0]
		var attempts []int
		w := newWorker(t, s, queue.WorkerOptions{}, func(_ context.Context, job *queue.Job[int]) error {
			attempts = append(attempts, job.Attempt())
			return errBroken
		}, queue.WithBackoff(func(attempt int, err error) time.Duration { return time.Duration(attempt) * time.Second }))
		start(t, w)

		after(time.Minute)

		require.Equal(t, []int{1, 2, 3, 4}, attempts)
		require.Equal(t, queue.DeadLetter, s.find(id).state)
		require.Equal(t, 4, s.find(id).Attempts)
		require.EqualValues(t, 3, w.Stats().Retried)
		require.EqualValues(t, 1, w.Stats().Dead)
	})
}

func TestAPanicIsCaughtAndSeenByMiddleware(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		ids := enqueue(t, s, 2, queue.MaxAttempts(1))
		var seen []string
		watch := func(name string, breaks bool) queue.Middleware {
			return func(next queue.Handler) queue.Handler {
				return func(ctx context.Context, d *queue.Delivery) error {
					if breaks && string(d.Payload) == "1" {
						panic("middleware broke")
					}
					err := next(ctx, d)
					var p *queue.PanicError
					if errors.As(err, &p) {
						seen = append(seen, fmt.Sprint(name, " saw ", p.Value))
					}
					return err
				}
			}
		}
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 1, Middleware: []queue.Middleware{watch("outer", true)}},
			func(context.Context, *queue.Job[int]) error { panic("handler broke") }, queue.WithMiddleware(watch("inner", false)))
		start(t, w)

		after(time.Second)

		require.Equal(t, []string{"inner saw handler broke", "outer saw handler broke"}, seen)
		require.Contains(t, s.find(ids[0]).LastError, "panic: handler broke\n")
		require.Contains(t, s.find(ids[1]).LastError, "panic: middleware broke\n")
		require.EqualValues(t, 2, w.Stats().Panics)
	})
}

func TestAResultIsKept(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1, queue.Retention(time.Hour))[0]
		tooLarge := make(chan error, 1)
		start(t, newWorker(t, s, queue.WorkerOptions{}, func(_ context.Context, job *queue.Job[int]) error {
			tooLarge <- job.SetResult(make([]byte, 64<<10+1))
			return job.SetResult([]byte("result"))
		}))

		after(time.Second)

		require.ErrorIs(t, <-tooLarge, fault.TooLarge)
		require.Equal(t, "result", string(s.find(id).result))
	})
}

func TestLargeResultsAreSettledAFewAtATime(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.latency = time.Second
		const n = 200
		enqueue(t, s, n, queue.Retention(time.Hour))
		start(t, newWorker(t, s, queue.WorkerOptions{Concurrency: n}, func(_ context.Context, job *queue.Job[int]) error {
			return job.SetResult(make([]byte, 64<<10))
		}))

		after(time.Minute)

		require.Equal(t, n, s.count(queue.Completed))
		for _, b := range s.settled {
			size := 0
			for _, item := range b.Items {
				size += len(item.Result)
			}
			require.LessOrEqual(t, size, 4<<20)
		}
	})
}

func TestAnUndecodablePayloadIsDeadWithTheReason(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1)[0]
		s.edit(id, func(r *record) { r.Payload = []byte(`"seven"`) })
		start(t, newWorker(t, s, queue.WorkerOptions{}, func(context.Context, *queue.Job[int]) error {
			t.Error("the handler must not run")
			return nil
		}))

		after(time.Second)

		require.Equal(t, queue.DeadLetter, s.find(id).state)
		require.Contains(t, s.find(id).LastError, "cannot be decoded to int")
	})
}

func TestADamagedRecordIsDeadAndTheRestGoesOn(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		ids := enqueue(t, s, 3)
		s.edit(ids[1], func(r *record) { r.corrupt = true })
		start(t, newWorker(t, s, queue.WorkerOptions{}, succeed))

		after(time.Second)

		require.Equal(t, queue.DeadLetter, s.find(ids[1]).state)
		require.Contains(t, s.find(ids[1]).LastError, "the record has no end")
		require.Equal(t, 2, s.count(queue.Completed))
	})
}

func TestATaskOfAnUnknownKindStaysAndIsRunOnceSomebodyKnowsIt(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		other := queue.NewKind[string]("other", queue.MaxAttempts(1))
		receipt, err := queue.Enqueue(t.Context(), queue.NewClient(s.backend(), queue.ClientOptions{}), other, "x")
		require.NoError(t, err)
		var log strings.Builder
		w := newWorker(t, s, queue.WorkerOptions{Logger: textLogger(&log)}, succeed)
		start(t, w)

		after(10 * time.Minute)

		r := s.find(receipt.ID)
		require.Equal(t, queue.Scheduled, r.state)
		require.Zero(t, r.Attempts)
		require.Contains(t, r.LastError, `no handler for the kind "other"`)
		require.Contains(t, r.LastError, w.ID())
		unknown := w.Stats().Unknown
		require.Greater(t, unknown, int64(10), "it is tried now and then")
		require.Less(t, unknown, int64(40), "ever more rarely")
		require.LessOrEqual(t, strings.Count(log.String(), "does not handle"), 10)
		require.NoError(t, queue.Handle(w, other, func(context.Context, *queue.Job[string]) error { return nil }))
		after(2 * time.Minute)
		require.Equal(t, queue.Completed, s.find(receipt.ID).state)
	})
}

func TestATimeoutEndsTheContextAndKeepsTheSlotAndTheLease(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		ids := enqueue(t, s, 2, queue.Timeout(time.Minute), queue.MaxAttempts(2))
		var runs, overlap atomic.Int64
		causes := make(chan error, 10)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 1}, func(ctx context.Context, job *queue.Job[int]) error {
			if job.Payload == 1 {
				return nil
			}
			if runs.Add(1) > 1 {
				overlap.Add(1)
			}
			defer runs.Add(-1)
			<-ctx.Done()
			causes <- context.Cause(ctx)
			time.Sleep(10 * time.Minute) // far beyond the lease
			return nil
		})
		start(t, w)

		after(5 * time.Minute)
		require.Equal(t, queue.Active, s.find(ids[0]).state, "the lease is kept")
		require.Equal(t, queue.Pending, s.find(ids[1]).state, "the slot is kept")
		require.EqualValues(t, 1, w.Stats().Stuck)
		after(10 * time.Minute)

		require.ErrorIs(t, <-causes, queue.ErrTimeout)
		require.Equal(t, queue.Completed, s.find(ids[0]).state, "what it returns counts")
		require.Equal(t, queue.Completed, s.find(ids[1]).state)
		require.Zero(t, overlap.Load())
		require.Zero(t, w.Stats().Stuck)
	})
}

func TestATimeoutIsRetriedWithItsReason(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1, queue.Timeout(time.Second))[0]
		start(t, newWorker(t, s, queue.WorkerOptions{Backoff: queue.Exponential(time.Hour, time.Hour)}, func(ctx context.Context, job *queue.Job[int]) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}))

		after(time.Minute)

		require.Equal(t, 1, s.find(id).Attempts)
		require.Equal(t, queue.Scheduled, s.find(id).state)
		require.Contains(t, s.find(id).LastError, "timeout is over")
	})
}

func TestADeadlineEndsTheContextAndTheTask(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		soon := enqueue(t, s, 1, queue.Deadline(time.Now().Add(time.Minute)), queue.Timeout(time.Hour))[0]
		over := enqueue(t, s, 1, queue.Deadline(time.Now()))[0]
		causes := make(chan error, 2)
		start(t, newWorker(t, s, queue.WorkerOptions{}, func(ctx context.Context, job *queue.Job[int]) error {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}))

		after(2 * time.Minute)

		require.ErrorIs(t, <-causes, queue.ErrDeadline)
		require.Empty(t, causes, "the task whose deadline was over must not have run")
		for _, id := range []string{soon, over} {
			require.Equal(t, queue.DeadLetter, s.find(id).state)
			require.Contains(t, s.find(id).LastError, "deadline exceeded")
		}
	})
}

func TestAWorkerNeverClaimsMoreThanItsFreeSlotsWithoutPrefetch(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.latency = time.Millisecond
		enqueue(t, s, 500)
		start(t, newWorker(t, s, queue.WorkerOptions{Concurrency: 8, Prefetch: queue.NoPrefetch}, func(_ context.Context, job *queue.Job[int]) error {
			time.Sleep(time.Duration(job.Payload%10) * time.Millisecond)
			return nil
		}))

		after(time.Minute)

		require.Equal(t, 500, s.count(queue.Completed))
		for _, c := range s.claimed {
			require.LessOrEqual(t, c.Max, 8)
		}
	})
}

func TestLongTasksAreNotTakenFromOtherWorkers(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.latency = time.Millisecond
		enqueue(t, s, 500)
		start(t, newWorker(t, s, queue.WorkerOptions{Concurrency: 8}, func(context.Context, *queue.Job[int]) error {
			time.Sleep(10 * time.Second)
			return nil
		}))

		after(11 * time.Minute)

		require.Equal(t, 500, s.count(queue.Completed))
		require.LessOrEqual(t, s.mostClaimed, 8+8, "those running, and those whose settlement is on its way")
		for _, c := range s.claimed {
			require.LessOrEqual(t, c.Max, 8)
		}
	})
}

func TestShortTasksAreClaimedAheadSoThatARoundTripCostsLittle(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.latency = 2500 * time.Microsecond
		enqueue(t, s, 10_000)
		start(t, newWorker(t, s, queue.WorkerOptions{Concurrency: 64}, succeed))

		after(300 * time.Millisecond)

		require.Equal(t, 10_000, s.count(queue.Completed), "at least 33,000 a second, with 64 tasks a claim and 400 round trips a second")
	})
}

func TestAPrefetchedTaskThatNoSlotTakesIsGivenBack(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.latency = time.Millisecond
		enqueue(t, s, 100)
		slow := enqueue(t, s, 40, queue.OnQueue("slow"))
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 4, Queues: map[string]int{queue.DefaultQueue: 2, "slow": 1}, Strict: true}, func(ctx context.Context, job *queue.Job[int]) error {
			if job.Queue == "slow" {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		start(t, w)

		after(3 * time.Second)

		require.Equal(t, 100, s.count(queue.Completed))
		require.Equal(t, 4, s.count(queue.Active), "only those that run")
		require.Equal(t, len(slow)-4, s.count(queue.Pending))
		for _, id := range slow {
			require.Zero(t, s.find(id).Attempts)
			require.Zero(t, s.find(id).Lost)
		}
		require.Positive(t, w.Stats().Released, "the test must have made the worker prefetch")
	})
}

func TestAnIdleWorkerCostsOneWaitingCall(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		start(t, newWorker(t, s, queue.WorkerOptions{Queues: map[string]int{"a": 1, "b": 5, "c": 9}}, succeed))

		after(time.Minute)

		s.mu.Lock()
		waits := s.waits
		s.mu.Unlock()
		require.Equal(t, 1, waits)
		require.Zero(t, s.called("extend"))
		require.Zero(t, s.called("settle"))
	})
}

func TestANewTaskIsPickedUpAtOnce(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		picked := make(chan time.Time, 1)
		start(t, newWorker(t, s, queue.WorkerOptions{}, func(context.Context, *queue.Job[int]) error { picked <- time.Now(); return nil }))
		after(time.Minute + time.Millisecond)

		enqueue(t, s, 1)

		require.Equal(t, time.Now(), <-picked)
	})
}

func TestQueuesAreServedByWeightAndNoneStarves(t *testing.T) {
	const claims = 20_000
	firsts := firstQueues{left: claims, counts: map[string]int{}, done: make(chan struct{})}
	w, err := queue.NewWorker(&queue.Backend{Driver: &firsts}, queue.WorkerOptions{Queues: map[string]int{"high": 6, "middle": 3, "low": 1}, Logger: quiet})
	require.NoError(t, err)
	require.NoError(t, queue.Handle(w, work, succeed))
	require.NoError(t, w.Start(t.Context()))

	<-firsts.done
	require.NoError(t, w.Stop(t.Context()))

	for name, share := range map[string]float64{"high": 0.6, "middle": 0.3, "low": 0.1} {
		require.InEpsilon(t, share*claims, firsts.counts[name], 0.15, name) // six standard deviations of the rarest
	}
}

// firstQueues counts which queue claims prefer.
type firstQueues struct {
	queue.Driver
	mu     sync.Mutex
	left   int
	counts map[string]int
	done   chan struct{}
}

func (f *firstQueues) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.left--; {
	case f.left > 0:
		f.counts[c.Queues[0]]++
	case f.left == 0:
		close(f.done)
	default:
		<-ctx.Done()
	}
	return queue.Claimed{}, nil
}

func TestAStrictOrderServesTheHeaviestFirst(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 20, queue.OnQueue("low"))
		enqueue(t, s, 20, queue.OnQueue("high"))
		var order []string
		start(t, newWorker(t, s, queue.WorkerOptions{Queues: map[string]int{"high": 2, "low": 1}, Strict: true, Concurrency: 1}, func(_ context.Context, job *queue.Job[int]) error {
			order = append(order, job.Queue)
			return nil
		}))

		after(time.Second)

		require.Len(t, order, 40)
		require.NotContains(t, order[:20], "low")
	})
}

func TestWhatCannotBeMetIsRefused(t *testing.T) {
	s := newStore(t)
	for name, o := range map[string]queue.WorkerOptions{
		"long name":         {Name: strings.Repeat("x", 240)},
		"empty queue":       {Queues: map[string]int{"": 1}},
		"long queue":        {Queues: map[string]int{strings.Repeat("x", 257): 1}},
		"weightless queue":  {Queues: map[string]int{"q": 0}},
		"no slots":          {Concurrency: -1},
		"negative prefetch": {Prefetch: -2},
		"negative timeout":  {ShutdownTimeout: -1},
	} {
		_, err := queue.NewWorker(s.backend(), o)
		require.ErrorIs(t, err, fault.Invalid, name)
	}

	w, err := queue.NewWorker(s.backend(), queue.WorkerOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, queue.Handle[int](w, work, nil), fault.Invalid)
	require.ErrorIs(t, queue.Handle(w, queue.NewKind[int](""), succeed), fault.Invalid)
	require.ErrorIs(t, queue.Handle(w, queue.NewKind[int](strings.Repeat("x", 257)), succeed), fault.Invalid)
	require.ErrorIs(t, w.Start(t.Context()), fault.Invalid, "no kind is handled")
	require.NoError(t, queue.Handle(w, work, succeed))
	require.ErrorIs(t, queue.Handle(w, work, succeed), fault.Invalid, "twice")
}

func TestALongErrorIsCutBetweenCharacters(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1)[0]
		start(t, newWorker(t, s, queue.WorkerOptions{}, func(context.Context, *queue.Job[int]) error {
			return errors.New("x" + strings.Repeat("é", 4<<10) + "\xff")
		}))

		after(time.Second)

		kept := s.find(id).LastError
		require.Len(t, kept, 4<<10-1)
		require.True(t, utf8.ValidString(kept))
	})
}

func TestOperatorsSeeWhichWorkerHoldsATask(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		a := newWorker(t, s, queue.WorkerOptions{Name: "web-1"}, succeed)
		b := newWorker(t, s, queue.WorkerOptions{Name: "web-1"}, succeed)
		start(t, a)

		after(time.Second)

		require.True(t, strings.HasPrefix(a.ID(), "web-1-"))
		require.NotEqual(t, a.ID(), b.ID())
		require.Equal(t, a.ID(), s.claimed[0].Worker)
	})
}
