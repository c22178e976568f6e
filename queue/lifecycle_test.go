package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func TestStartAndStopMayBeRepeated(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		w := newWorker(t, s, queue.WorkerOptions{}, succeed)
		require.NoError(t, w.Start(t.Context()))
		require.NoError(t, w.Start(t.Context()))
		require.True(t, w.Health().Running)

		require.NoError(t, w.Stop(t.Context()))
		require.NoError(t, w.Stop(t.Context()))

		require.False(t, w.Health().Running)
		require.ErrorIs(t, w.Start(t.Context()), fault.Closed)
	})
}

func TestAWorkerThatNeverStartedCanBeStopped(t *testing.T) {
	w := newWorker(t, newStore(t), queue.WorkerOptions{}, succeed)

	require.NoError(t, w.Stop(t.Context()))
	require.NoError(t, w.Stop(t.Context()))
	require.ErrorIs(t, w.Run(t.Context()), fault.Closed)
}

func TestStartingAndStoppingFromEverywhereEndsWell(t *testing.T) {
	for range 50 {
		w := newWorker(t, newStore(t), queue.WorkerOptions{Concurrency: 2}, succeed)
		done := make(chan struct{})
		for range 4 {
			go func() { _ = w.Start(context.WithoutCancel(t.Context())); done <- struct{}{} }()
			go func() { _ = w.Stop(context.WithoutCancel(t.Context())); done <- struct{}{} }()
		}
		for range 8 {
			<-done
		}
		require.NoError(t, w.Stop(t.Context()))
	}
}

func TestStartDoesNotBeginWithAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	require.ErrorIs(t, newWorker(t, newStore(t), queue.WorkerOptions{}, succeed).Start(ctx), context.Canceled)
}

func TestRunLetsHandlersFinishAndBeginsNoMore(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 10)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 4}, func(ctx context.Context, _ *queue.Job[int]) error {
			time.Sleep(5 * time.Second)
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		require.NoError(t, w.Run(ctx))

		require.Equal(t, 4, s.count(queue.Completed))
		require.Equal(t, 6, s.count(queue.Pending))
		require.EqualValues(t, 4, w.Stats().Done)
	})
}

func TestHandlersHaveTheValuesOfStartsContextAndNotItsEnd(t *testing.T) {
	inTime(t, func(t *testing.T) {
		type key struct{}
		s := newStore(t)
		id := enqueue(t, s, 1)[0]
		w := newWorker(t, s, queue.WorkerOptions{}, func(ctx context.Context, job *queue.Job[int]) error {
			time.Sleep(time.Second)
			_ = job.SetResult([]byte(ctx.Value(key{}).(string)))
			return ctx.Err()
		})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))

		require.NoError(t, w.Start(ctx))
		cancel()
		after(2 * time.Second)

		require.Equal(t, "value", string(s.find(id).result))
		require.NoError(t, w.Stop(t.Context()))
	})
}

func TestShutdownGivesBackUnburntWhatDoesNotFinish(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		ids := enqueue(t, s, 4, queue.MaxAttempts(1))
		causes := make(chan error, 4)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 3, ShutdownTimeout: time.Minute}, func(ctx context.Context, job *queue.Job[int]) error {
			if job.Payload == 1 {
				<-ctx.Done()
				return nil // done after all
			}
			if job.Payload == 2 {
				<-ctx.Done()
				return errBroken // failed, and not because of the shutdown
			}
			return hang(causes)(ctx, job)
		})
		require.NoError(t, w.Start(t.Context()))
		after(time.Second)
		began := time.Now()

		require.NoError(t, w.Stop(t.Context()))

		require.Equal(t, time.Minute, time.Since(began), "the lease was kept all the while")
		require.ErrorIs(t, <-causes, queue.ErrShutdown)
		for i, want := range []queue.State{queue.Pending, queue.Completed, queue.DeadLetter, queue.Pending} {
			require.Equal(t, want, s.find(ids[i]).state, i)
		}
		require.Zero(t, s.find(ids[0]).Attempts)
		require.Zero(t, s.find(ids[0]).Lost)
	})
}

func TestShutdownGivesBackAtOnceWhatHasNotBegun(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.latency = time.Millisecond
		enqueue(t, s, 100)
		enqueue(t, s, 40, queue.OnQueue("slow"))
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 4, Queues: map[string]int{queue.DefaultQueue: 2, "slow": 1}, Strict: true}, func(ctx context.Context, job *queue.Job[int]) error {
			if job.Queue == "slow" {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		require.NoError(t, w.Start(t.Context()))
		for w.Stats().Done < 100 {
			after(time.Millisecond)
		}
		after(10 * time.Millisecond)
		require.Positive(t, w.Stats().Waiting, "the test must have made the worker prefetch")

		stopped := make(chan error)
		go func() { stopped <- w.Stop(t.Context()) }()
		after(100 * time.Millisecond)

		require.Equal(t, 4, s.count(queue.Active))
		require.Zero(t, w.Stats().Waiting)
		require.NoError(t, <-stopped)
		require.Equal(t, 40, s.count(queue.Pending))
	})
}

func TestShutdownKeepsWhatAClaimUnderWayBringsBack(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 1000)
		s.latency = 100 * time.Millisecond
		w := newWorker(t, s, queue.WorkerOptions{}, succeed)
		require.NoError(t, w.Start(t.Context()))
		after(250 * time.Millisecond)

		require.NoError(t, w.Stop(t.Context()))

		require.Zero(t, s.count(queue.Active), "nothing has to wait for its lease to end")
	})
}

func TestShutdownGivesBackThroughASlowStoreHoweverShortItsTimeout(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.latency = time.Second
		ids := enqueue(t, s, 8)
		ended := make(chan error, 8)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 2, ShutdownTimeout: time.Millisecond}, hang(ended))
		require.NoError(t, w.Start(t.Context()))
		after(3 * time.Second)
		require.Positive(t, w.Stats().Running)

		require.NoError(t, w.Stop(t.Context()))

		require.Equal(t, 8, s.count(queue.Pending), "nothing has to wait for its lease to end")
		for _, id := range ids {
			require.Zero(t, s.find(id).Attempts)
			require.Zero(t, s.find(id).Lost)
		}
		require.Zero(t, w.Stats().SettleDropped)
	})
}

func TestStopWithoutTimeLeftCutsTheLastSettlementsShort(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 1)
		w := newWorker(t, s, queue.WorkerOptions{ShutdownTimeout: time.Hour}, func(context.Context, *queue.Job[int]) error {
			s.faulty(away("settle"), nil)
			return nil
		})
		require.NoError(t, w.Start(t.Context()))
		after(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()

		require.ErrorIs(t, w.Stop(ctx), context.DeadlineExceeded)
		require.NoError(t, w.Stop(t.Context()))

		require.LessOrEqual(t, time.Since(began), 5*time.Second, "it gave up soon after its caller had")
		require.EqualValues(t, 1, w.Stats().SettleDropped)
	})
}

func TestShutdownSendsTheLastSettlementsThroughAStoreThatIsAway(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 10)
		w := newWorker(t, s, queue.WorkerOptions{}, func(context.Context, *queue.Job[int]) error {
			s.faulty(away(""), nil)
			return nil
		})
		require.NoError(t, w.Start(t.Context()))
		after(time.Second)
		time.AfterFunc(4*time.Second, func() { s.faulty(nil, nil) })

		require.NoError(t, w.Stop(t.Context()))

		require.Equal(t, 10, s.count(queue.Completed))
	})
}

func TestShutdownEndsAlthoughTheStoreStaysAway(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 2000)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 2}, func(context.Context, *queue.Job[int]) error {
			s.faulty(away("settle"), nil)
			return nil
		})
		require.NoError(t, w.Start(t.Context()))
		after(20 * time.Second)
		began := time.Now()

		require.NoError(t, w.Stop(t.Context()))

		require.LessOrEqual(t, time.Since(began), 2*queue.DefaultShutdownTimeout)
		stats := w.Stats()
		require.Zero(t, stats.Unsettled)
		require.Zero(t, stats.Running)
		require.EqualValues(t, stats.Claimed, stats.SettleDropped)
	})
}

func TestStopReturnsWithItsContextAndTheWorkerEndsAllTheSame(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1)[0]
		ended := make(chan error, 1)
		w := newWorker(t, s, queue.WorkerOptions{ShutdownTimeout: time.Hour}, hang(ended))
		require.NoError(t, w.Start(t.Context()))
		after(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()

		require.ErrorIs(t, w.Stop(ctx), context.DeadlineExceeded)

		require.Equal(t, time.Second, time.Since(began))
		require.ErrorIs(t, <-ended, queue.ErrShutdown)
		require.NoError(t, w.Stop(t.Context()))
		require.Equal(t, queue.Pending, s.find(id).state)
	})
}

func TestAHandlerThatDoesNotReturnIsLeftBehindAndSaidSo(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		ids := enqueue(t, s, 2)
		release := make(chan struct{})
		var returned atomic.Bool
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 1}, func(context.Context, *queue.Job[int]) error {
			<-release
			returned.Store(true)
			return nil
		})
		require.NoError(t, w.Start(t.Context()))
		after(time.Second)

		err := w.Stop(t.Context())

		require.ErrorIs(t, err, fault.DeadlineExceeded)
		require.ErrorContains(t, err, "1 handlers did not return")
		close(release)
		after(time.Second)
		require.True(t, returned.Load())
		require.Equal(t, queue.Active, s.find(ids[0]).state, "its lease runs out by itself")
		require.Equal(t, queue.Pending, s.find(ids[1]).state)
		require.EqualValues(t, 1, w.Stats().SettleDropped)
	})
}
