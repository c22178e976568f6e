package memory_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/memory"
)

// job is a task that is complete but for what change sets.
func job(id string, change ...func(*queue.Task)) queue.Task {
	t := queue.Task{ID: id, Kind: "k", Queue: "q", MaxAttempts: 3, MaxLost: 2, Payload: []byte(id)}
	for _, c := range change {
		c(&t)
	}
	return t
}

func enqueue(t require.TestingT, b *queue.Backend, task queue.Task) queue.Receipt {
	receipts, err := b.Enqueue(background, []queue.Task{task})
	return one(t, receipts, err)
}

func claim(t require.TestingT, b *queue.Backend, n int, wait time.Duration) []queue.Leased {
	claimed, err := b.Claim(background, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: n, Wait: wait})
	require.NoError(t, err)
	return claimed.Tasks
}

func ids(tasks []queue.Leased) []string {
	var all []string
	for _, t := range tasks {
		all = append(all, t.ID)
	}
	return all
}

// settler numbers the batches of one worker.
type settler struct {
	b      *queue.Backend
	number uint64
}

func (s *settler) settle(t require.TestingT, item queue.Settlement) error {
	s.number++
	errs, err := s.b.Settle(background, queue.Settlements{Worker: "w", Number: s.number, Items: []queue.Settlement{item}})
	return one(t, errs, err)
}

func find(t require.TestingT, b *queue.Backend, id string) queue.Info {
	info, err := b.Admin.Find(background, "q", id)
	require.NoError(t, err)
	return info
}

func stats(t require.TestingT, b *queue.Backend) queue.Stats {
	s, err := b.Admin.Stats(background, "q")
	require.NoError(t, err)
	return s
}

func TestTasksAreClaimedByPriorityThenAgeAndGivenToOneWorker(t *testing.T) {
	pair := cluster(t, 2)
	a, b := pair[0].Queue(), pair[1].Queue()
	for i := range 6 {
		require.NoError(t, enqueue(t, a, job(fmt.Sprint(i), func(t *queue.Task) { t.Priority = i % 2 * 9 })).Err)
	}

	first := claim(t, a, 4, 0)
	second := claim(t, b, 4, 0)

	require.Equal(t, []string{"1", "3", "5", "0"}, ids(first))
	require.Equal(t, []string{"2", "4"}, ids(second))
	require.Equal(t, "1", string(first[0].Payload))
	require.Equal(t, queue.DefaultLease, first[0].Lease)
	require.Empty(t, claim(t, a, 1, 0))
}

func TestALostLeaseComesBackBeforeYoungerTasksAndItsOldClaimIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].Queue()
		s := settler{b: b}
		for _, id := range []string{"1", "2", "3"} {
			enqueue(t, b, job(id))
		}
		stale := claim(t, b, 2, 0)

		time.Sleep(queue.DefaultLease)
		again := claim(t, b, 3, 0)

		require.Equal(t, []string{"1", "2", "3"}, ids(again))
		require.Equal(t, 1, again[0].Lost)
		require.Zero(t, again[0].Attempts)
		for outcome := queue.Done; outcome <= queue.Release; outcome++ {
			err := s.settle(t, queue.Settlement{Ref: stale[0].Ref(), Outcome: outcome})
			require.Equal(t, fault.LeaseLost, fault.CodeOf(err))
		}
		extended, err := b.Extend(background, []queue.Ref{stale[0].Ref(), again[0].Ref()})
		require.NoError(t, err)
		require.Equal(t, fault.LeaseLost, fault.CodeOf(extended[0]))
		require.NoError(t, extended[1])
		require.NoError(t, s.settle(t, queue.Settlement{Ref: again[0].Ref(), Outcome: queue.Done}))
		require.Equal(t, queue.Totals{Enqueued: 3, Completed: 1, Lost: 2, Stale: 5}, stats(t, b).Totals)
	})
}

func TestATaskWhoseLeaseIsLostTooOftenIsDeadWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].Queue()
		enqueue(t, b, job("1"))
		for range 3 {
			require.Len(t, claim(t, b, 1, time.Hour), 1)
		}

		require.Empty(t, claim(t, b, 1, time.Hour))

		info := find(t, b, "1")
		require.Equal(t, queue.DeadLetter, info.State)
		require.Equal(t, 3, info.Lost)
		require.Zero(t, info.Attempts)
		require.Contains(t, info.LastError, "lost 3 times")
	})
}

func TestAWaitingClaimWakesForWhateverIsDueNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		a, b := pair[0].Queue(), pair[1].Queue()
		s := settler{b: a}
		woke := make(chan string, 1)
		wait := func() {
			claimed := claim(t, b, 1, time.Hour)
			woke <- fmt.Sprint(ids(claimed), time.Now().Unix())
		}
		expect := func(id string, after time.Duration, do func()) {
			t.Helper()
			at := time.Now().Add(after).Unix()
			go wait()
			synctest.Wait()
			do()
			require.Equal(t, fmt.Sprint([]string{id}, at), <-woke)
		}

		expect("now", 0, func() { enqueue(t, a, job("now")) })
		expect("soon", 5*time.Second, func() {
			enqueue(t, a, job("soon", func(t *queue.Task) { t.RunAt = time.Now().Add(5 * time.Second) }))
		})
		expect("now", queue.DefaultLease-5*time.Second, func() {}) // its lease was lost
		expect("soon", 5*time.Second, func() {})
		enqueue(t, a, job("given back"))
		held := claim(t, a, 1, 0)
		expect("given back", 0, func() {
			require.NoError(t, s.settle(t, queue.Settlement{Ref: held[0].Ref(), Outcome: queue.Release}))
		})
		require.NoError(t, a.Admin.Pause(background, "q"))
		enqueue(t, a, job("paused"))
		expect("paused", 0, func() { require.NoError(t, a.Admin.Resume(background, "q")) })
		enqueue(t, a, job("shortened"))
		held = claim(t, a, 1, 0)
		expect("shortened", time.Second, func() {
			require.NoError(t, a.Admin.Configure(background, "q", queue.Properties{Lease: time.Second}))
			extended, err := a.Extend(background, []queue.Ref{held[0].Ref()})
			require.NoError(t, one(t, extended, err))
		})
	})
}

func TestARepeatedBatchOfSettlementsGetsTheSameAnswer(t *testing.T) {
	b := cluster(t, 1)[0].Queue()
	enqueue(t, b, job("1"))
	held := claim(t, b, 1, 0)
	batch := queue.Settlements{Worker: "w", Number: 7, Items: []queue.Settlement{
		{Ref: held[0].Ref(), Outcome: queue.Done},
		{Ref: queue.Ref{Queue: "q", ID: "none", Token: "x"}, Outcome: queue.Done},
		{Ref: held[0].Ref()},
	}}

	first, err := b.Settle(background, batch)
	require.NoError(t, err)
	second, err := b.Settle(background, batch)
	require.NoError(t, err)
	batch.Items = batch.Items[:1]
	_, other := b.Settle(background, batch)
	batch.Number = 6
	_, err = b.Settle(background, batch)

	require.NoError(t, first[0])
	require.Equal(t, fault.LeaseLost, fault.CodeOf(first[1]))
	require.Equal(t, fault.Invalid, fault.CodeOf(first[2]))
	require.Equal(t, first, second)
	require.Equal(t, fault.Conflict, fault.CodeOf(other), "the number of another batch")
	require.Equal(t, fault.Conflict, fault.CodeOf(err))
	require.Equal(t, int64(1), stats(t, b).Totals.Completed)
}

func TestCloseEndsWaitingCallsAndTheContextDoesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		ended := make(chan error, 2)
		ctx, cancel := context.WithCancel(background)
		wait := func(ctx context.Context, node *memory.Transport) {
			claimed, err := node.Queue().Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: time.Hour})
			if len(claimed.Tasks) > 0 {
				err = fmt.Errorf("claimed %v", claimed)
			}
			ended <- err
		}
		go wait(ctx, pair[0])
		synctest.Wait()
		cancel()
		require.NoError(t, <-ended)
		go wait(background, pair[1])
		synctest.Wait()
		require.NoError(t, pair[1].Close())
		require.Equal(t, fault.Closed, fault.CodeOf(<-ended))

		_, err := pair[0].Queue().Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
		require.Equal(t, fault.Canceled, fault.CodeOf(err))
	})
}
