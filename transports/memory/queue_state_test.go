package memory_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

// act does one Admin call with one ID.
func act(t require.TestingT, do func(id string) ([]error, error), id string) fault.Code {
	errs, err := do(id)
	return fault.CodeOf(one(t, errs, err))
}

func remove(b *queue.Backend) func(string) ([]error, error) {
	return func(id string) ([]error, error) { return b.Admin.Remove(background, "q", []string{id}) }
}

func requeue(b *queue.Backend) func(string) ([]error, error) {
	return func(id string) ([]error, error) { return b.Admin.Requeue(background, "q", []string{id}) }
}

func cancel(b *queue.Backend) func(string) ([]error, error) {
	return func(id string) ([]error, error) { return b.Admin.Cancel(background, "q", []string{id}) }
}

func TestOutcomesLeadWhereTheySay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for outcome, want := range map[queue.Outcome]struct {
			state    queue.State
			attempts int
			totals   queue.Totals
		}{
			queue.Done:    {queue.Completed, 0, queue.Totals{Enqueued: 1, Completed: 1}},
			queue.Retry:   {queue.Scheduled, 1, queue.Totals{Enqueued: 1, Retried: 1}},
			queue.Snooze:  {queue.Scheduled, 0, queue.Totals{Enqueued: 1, Snoozed: 1}},
			queue.Dead:    {queue.DeadLetter, 1, queue.Totals{Enqueued: 1, Dead: 1}},
			queue.Release: {queue.Pending, 0, queue.Totals{Enqueued: 1, Released: 1}},
		} {
			b := cluster(t, 1)[0].Queue()
			s := settler{b: b}
			enqueue(t, b, job("1", func(t *queue.Task) { t.Retention = time.Hour }))
			held := claim(t, b, 1, 0)
			active := find(t, b, "1")
			require.Equal(t, queue.Active, active.State)
			require.Equal(t, "w", active.Holder)
			require.True(t, active.Expires.Equal(time.Now().Add(queue.DefaultLease)))

			err := s.settle(t, queue.Settlement{
				Ref: held[0].Ref(), Outcome: outcome, Delay: time.Minute, Error: "because", Result: []byte("result"),
			})

			require.NoError(t, err)
			info := find(t, b, "1")
			require.Equal(t, want.state, info.State, outcome)
			require.Equal(t, want.attempts, info.Attempts, outcome)
			require.Equal(t, want.totals, stats(t, b).Totals, outcome)
			require.Empty(t, info.Holder)
			require.Equal(t, want.attempts == 1 || outcome == queue.Snooze, info.LastError == "because", outcome)
			require.Equal(t, outcome == queue.Done, string(info.Result) == "result", outcome)
			if want.state == queue.Scheduled {
				require.True(t, info.RunAt.Equal(time.Now().Add(time.Minute)))
				require.Empty(t, claim(t, b, 1, time.Minute-1))
				require.Equal(t, []string{"1"}, ids(claim(t, b, 1, 1)))
			}
		}
	})
}

func TestACompletedTaskIsKeptForItsRetentionAndAnErrorIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].Queue()
		s := settler{b: b}
		enqueue(t, b, job("kept", func(t *queue.Task) { t.Retention = time.Second }))
		enqueue(t, b, job("not kept"))
		enqueue(t, b, job("dead"))
		held := claim(t, b, 3, 0)
		require.NoError(t, s.settle(t, queue.Settlement{Ref: held[0].Ref(), Outcome: queue.Done, Result: []byte("r")}))
		require.NoError(t, s.settle(t, queue.Settlement{Ref: held[1].Ref(), Outcome: queue.Done, Result: []byte("r")}))
		require.NoError(t, s.settle(t, queue.Settlement{Ref: held[2].Ref(), Outcome: queue.Dead, Error: strings.Repeat("e", 5000)}))

		for i := range 50 { // more than one call sweeps away
			id := fmt.Sprint(i)
			enqueue(t, b, job(id, func(t *queue.Task) { t.Retention = time.Second }))
			require.NoError(t, s.settle(t, queue.Settlement{Ref: claim(t, b, 1, 0)[0].Ref(), Outcome: queue.Done}))
		}
		require.Equal(t, "r", string(find(t, b, "kept").Result))
		require.Len(t, find(t, b, "dead").LastError, limits.MaxError)
		require.True(t, enqueue(t, b, job("kept")).Duplicate)
		_, err := b.Admin.Find(background, "q", "not kept")
		require.Equal(t, fault.NotFound, fault.CodeOf(err))
		time.Sleep(time.Second)
		_, err = b.Admin.Find(background, "q", "49")
		require.Equal(t, fault.NotFound, fault.CodeOf(err))
		list, err := b.Admin.List(background, queue.List{Queue: "q", State: queue.Completed})
		require.NoError(t, err)
		require.Empty(t, list.Tasks)
		require.Zero(t, stats(t, b).Completed)
		require.False(t, enqueue(t, b, job("kept")).Duplicate)
	})
}

func TestAnIDThatTheCallerChoseIsKnownAfterItsTaskIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].Queue()
		s := settler{b: b}
		mine := job("1", func(t *queue.Task) { t.CallerID = true })
		enqueue(t, b, mine)
		held := claim(t, b, 1, 0)
		require.NoError(t, s.settle(t, queue.Settlement{Ref: held[0].Ref(), Outcome: queue.Done}))

		time.Sleep(b.Capabilities.IDMemory - 1)
		require.Equal(t, queue.Receipt{ID: "1", Duplicate: true}, enqueue(t, b, mine))
		time.Sleep(time.Nanosecond)
		require.Equal(t, queue.Receipt{ID: "1"}, enqueue(t, b, mine))
		require.Equal(t, fault.OK, act(t, remove(b), "1"))
		require.True(t, enqueue(t, b, mine).Duplicate, "also when it was removed")
		require.Equal(t, int64(2), stats(t, b).Totals.Duplicates)
	})
}

func TestAUniqueKeyIsHeldUntilItsTaskEndsInAnyWay(t *testing.T) {
	unique := func(id string) queue.Task { return job(id, func(t *queue.Task) { t.UniqueKey = "u" }) }
	for name, end := range map[string]func(*testing.T, *queue.Backend){
		"done": func(t *testing.T, b *queue.Backend) {
			s := settler{b: b}
			require.NoError(t, s.settle(t, queue.Settlement{Ref: claim(t, b, 1, 0)[0].Ref(), Outcome: queue.Done}))
		},
		"dead": func(t *testing.T, b *queue.Backend) {
			s := settler{b: b}
			require.NoError(t, s.settle(t, queue.Settlement{Ref: claim(t, b, 1, 0)[0].Ref(), Outcome: queue.Dead}))
		},
		"cancelled": func(t *testing.T, b *queue.Backend) { require.Equal(t, fault.OK, act(t, cancel(b), "1")) },
		"removed":   func(t *testing.T, b *queue.Backend) { require.Equal(t, fault.OK, act(t, remove(b), "1")) },
	} {
		t.Run(name, func(t *testing.T) {
			b := cluster(t, 1)[0].Queue()
			require.Equal(t, queue.Receipt{ID: "1"}, enqueue(t, b, unique("1")))
			require.Equal(t, queue.Receipt{ID: "1", Duplicate: true}, enqueue(t, b, unique("2")))
			s := settler{b: b, number: 100}
			require.NoError(t, s.settle(t, queue.Settlement{Ref: claim(t, b, 1, 0)[0].Ref(), Outcome: queue.Retry}))
			require.True(t, enqueue(t, b, unique("2")).Duplicate, "a retry is no end")
			other := unique("2")
			other.Queue = "other"
			require.False(t, enqueue(t, b, other).Duplicate, "another queue")

			s.number = 0
			held := cluster(t, 1)[0].Queue()
			require.False(t, enqueue(t, held, unique("1")).Duplicate, "another store")
			enqueue(t, held, job("3"))
			end(t, held)

			require.Equal(t, queue.Receipt{ID: "4"}, enqueue(t, held, unique("4")))
		})
	}
}

func TestAUniqueKeyThatRanOutBelongsToTheNextTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].Queue()
		unique := func(id string) queue.Task {
			return job(id, func(t *queue.Task) { t.UniqueKey, t.UniqueFor = "u", time.Minute })
		}
		enqueue(t, b, unique("1"))
		time.Sleep(time.Minute)
		require.False(t, enqueue(t, b, unique("2")).Duplicate)

		require.Equal(t, fault.OK, act(t, cancel(b), "1"))

		require.Equal(t, queue.Receipt{ID: "2", Duplicate: true}, enqueue(t, b, unique("3")), "the older task had nothing to give back")
		require.Equal(t, fault.Conflict, act(t, requeue(b), "1"), "it may not come back beside the other")
		require.Equal(t, fault.OK, act(t, cancel(b), "2"))
		require.Equal(t, fault.OK, act(t, requeue(b), "1"))
		require.Equal(t, queue.Receipt{ID: "1", Duplicate: true}, enqueue(t, b, unique("3")))
	})
}

func TestAnIDConflictLeavesTheUniqueKeyFree(t *testing.T) {
	b := cluster(t, 1)[0].Queue()
	enqueue(t, b, job("1"))

	require.True(t, enqueue(t, b, job("1", func(t *queue.Task) { t.UniqueKey = "u" })).Duplicate)

	require.False(t, enqueue(t, b, job("2", func(t *queue.Task) { t.UniqueKey = "u" })).Duplicate)
}

func TestCancellingAnActiveTaskIsKeptUntilItsClaimEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for outcome, want := range map[queue.Outcome]queue.State{
			0:          queue.Cancelled, // its lease is lost
			queue.Done: queue.Completed, queue.Retry: queue.Cancelled, queue.Snooze: queue.Cancelled,
			queue.Dead: queue.Cancelled, queue.Release: queue.Cancelled,
		} {
			b := cluster(t, 1)[0].Queue()
			s := settler{b: b}
			enqueue(t, b, job("1", func(t *queue.Task) { t.Retention = time.Hour }))
			held := claim(t, b, 1, 0)
			require.Equal(t, fault.OK, act(t, cancel(b), "1"))
			require.Equal(t, fault.OK, act(t, cancel(b), "1"))
			require.Equal(t, queue.Active, find(t, b, "1").State)
			time.Sleep(queue.DefaultLease / 2)
			extended, err := b.Extend(background, []queue.Ref{held[0].Ref()})
			require.Equal(t, fault.Canceled, fault.CodeOf(one(t, extended, err)))
			require.True(t, find(t, b, "1").Expires.Equal(time.Now().Add(queue.DefaultLease)))

			if outcome == 0 {
				require.Empty(t, claim(t, b, 1, 2*queue.DefaultLease))
			} else {
				require.NoError(t, s.settle(t, queue.Settlement{Ref: held[0].Ref(), Outcome: outcome}))
			}

			require.Equal(t, want, find(t, b, "1").State, outcome)
			require.Equal(t, fault.Conflict, act(t, cancel(b), "1"))
			require.Empty(t, claim(t, b, 1, 0))
			require.Equal(t, fault.OK, act(t, requeue(b), "1"))
			again := claim(t, b, 1, 0)
			extended, err = b.Extend(background, []queue.Ref{again[0].Ref()})
			require.NoError(t, one(t, extended, err), "the wish to cancel ended with the claim")
		}
	})
}

func TestOperatorsMoveTasksOnlyWhereThatIsSafe(t *testing.T) {
	b := cluster(t, 1)[0].Queue()
	s := settler{b: b}
	later := func(t *queue.Task) { t.RunAt = time.Now().Add(time.Hour) }
	enqueue(t, b, job("active"))
	enqueue(t, b, job("dead"))
	held := claim(t, b, 2, 0)
	require.NoError(t, s.settle(t, queue.Settlement{Ref: held[1].Ref(), Outcome: queue.Dead, Error: "e"}))
	enqueue(t, b, job("pending"))
	enqueue(t, b, job("scheduled", later))

	require.Equal(t, fault.Conflict, act(t, remove(b), "active"))
	require.Equal(t, fault.NotFound, act(t, remove(b), "none"))
	require.Equal(t, fault.Conflict, act(t, requeue(b), "active"))
	require.Equal(t, fault.Conflict, act(t, requeue(b), "pending"))
	require.Equal(t, fault.NotFound, act(t, requeue(b), "none"))
	require.Equal(t, fault.Conflict, act(t, cancel(b), "dead"))
	require.Equal(t, fault.NotFound, act(t, cancel(b), "none"))
	require.Equal(t, fault.Invalid, act(t, cancel(b), ""))
	require.Equal(t, fault.OK, act(t, requeue(b), "dead"))
	require.Equal(t, fault.OK, act(t, requeue(b), "scheduled"))
	require.Zero(t, find(t, b, "dead").Attempts)
	require.Equal(t, "e", find(t, b, "dead").LastError)
	require.Equal(t, fault.OK, act(t, remove(b), "pending"))

	require.Equal(t, []string{"dead", "scheduled"}, ids(claim(t, b, 9, 0)))
}

func TestAPausedQueueGivesNothingWhileOthersDo(t *testing.T) {
	b := cluster(t, 1)[0].Queue()
	for range 2 {
		require.NoError(t, b.Admin.Pause(background, "q"))
	}
	enqueue(t, b, job("1"))
	enqueue(t, b, job("2", func(t *queue.Task) { t.Queue = "r" }))

	claimed, err := b.Claim(background, queue.Claim{Worker: "w", Queues: []string{"q", "r"}, Max: 9})

	require.NoError(t, err)
	require.Equal(t, []string{"2"}, ids(claimed.Tasks))
	require.True(t, stats(t, b).Paused)
	for range 2 {
		require.NoError(t, b.Admin.Resume(background, "q"))
	}
	require.Equal(t, []string{"1"}, ids(claim(t, b, 9, 0)))
}

func TestQueuesAreConfiguredForAllNodesAndListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		a, b := pair[0].Queue(), pair[1].Queue()
		p, err := a.Admin.Properties(background, "q")
		require.NoError(t, err)
		require.Equal(t, queue.Properties{Lease: queue.DefaultLease}, p)

		require.NoError(t, a.Admin.Configure(background, "q", queue.Properties{Lease: time.Second}))
		require.NoError(t, a.Admin.Resume(background, "unknown"))
		claim(t, b, 1, 0)
		_, err = b.Claim(background, queue.Claim{Worker: "w", Queues: []string{"unknown"}, Max: 1, Wait: time.Second})
		require.NoError(t, err)
		enqueue(t, b, job("1", func(t *queue.Task) { t.Queue = "p" }))
		enqueue(t, b, job("1"))

		p, err = b.Admin.Properties(background, "q")
		require.NoError(t, err)
		require.Equal(t, time.Second, p.Lease)
		names, err := b.Admin.Queues(background)
		require.NoError(t, err)
		require.Equal(t, []string{"p", "q"}, names)
		require.Equal(t, time.Second, claim(t, b, 1, 0)[0].Lease)
		require.Equal(t, []string{"1"}, ids(claim(t, a, 1, time.Second)), "its lease of one second was lost")
	})
}

func TestOldestPendingIsTheAgeOfTheTaskThatIsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].Queue()
		require.Zero(t, stats(t, b).OldestPending)
		enqueue(t, b, job("1"))
		time.Sleep(time.Second)
		enqueue(t, b, job("2"))
		time.Sleep(time.Second)

		require.Equal(t, 2*time.Second, stats(t, b).OldestPending)
		claim(t, b, 1, 0)
		require.Equal(t, time.Second, stats(t, b).OldestPending)
	})
}

func TestTasksAreListedInOrderPageByPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].Queue()
		for i := range 7 {
			enqueue(t, b, job(fmt.Sprint("p", i)))
			enqueue(t, b, job(fmt.Sprint("s", i), func(t *queue.Task) { t.RunAt = time.Now().Add(time.Duration(7-i) * time.Hour) }))
		}
		list := func(state queue.State) []string {
			return pages(func(cursor string) (names []string, next string) {
				page, err := b.Admin.List(background, queue.List{Queue: "q", State: state, Cursor: cursor, Limit: 2})
				require.NoError(t, err)
				for _, info := range page.Tasks {
					require.Equal(t, state, info.State)
					names = append(names, info.ID)
				}
				require.LessOrEqual(t, len(names), 2)
				return names, page.Next
			})
		}

		require.Equal(t, []string{"p0", "p1", "p2", "p3", "p4", "p5", "p6"}, list(queue.Pending))
		require.Equal(t, []string{"s6", "s5", "s4", "s3", "s2", "s1", "s0"}, list(queue.Scheduled))
		require.Empty(t, list(queue.DeadLetter))
		claim(t, b, 3, 0)
		require.Equal(t, []string{"p0", "p1", "p2"}, list(queue.Active))
		for _, cursor := range []string{"x", "1", "1.2", "1.2.3x", "01.2.3"} {
			_, err := b.Admin.List(background, queue.List{Queue: "q", State: queue.Pending, Cursor: cursor})
			require.Equal(t, fault.Invalid, fault.CodeOf(err), cursor)
		}
	})
}

func TestAPageOfLargeTasksIsShort(t *testing.T) {
	b := cluster(t, 1)[0].Queue()
	payload := make([]byte, b.Capabilities.MaxPayload)
	for i := range 10 {
		require.NoError(t, enqueue(t, b, job(fmt.Sprint(i), func(t *queue.Task) { t.Payload = payload })).Err)
	}

	page, err := b.Admin.List(background, queue.List{Queue: "q", State: queue.Pending})

	require.NoError(t, err)
	require.Len(t, page.Tasks, 5)
	require.NotEmpty(t, page.Next)
}

func TestWhatTheStoreKeepsIsACopy(t *testing.T) {
	b := cluster(t, 1)[0].Queue()
	task := job("1", func(t *queue.Task) { t.Headers = map[string]string{"Trace": "x"} })
	task.Attempts, task.Lost, task.LastError = 7, 7, "ignored"
	enqueue(t, b, task)
	task.Payload[0], task.Headers["Trace"] = 'X', "X"

	info := find(t, b, "1")
	require.Equal(t, "1", string(info.Payload))
	require.Equal(t, map[string]string{"Trace": "x"}, info.Headers)
	require.Zero(t, info.Attempts+info.Lost)
	require.Empty(t, info.LastError)
	info.Payload[0], info.Headers["Trace"] = 'X', "X"

	held := claim(t, b, 1, 0)
	require.Equal(t, "1", string(held[0].Payload))
	held[0].Payload[0] = 'X'
	require.Equal(t, "1", string(find(t, b, "1").Payload))
}

func TestManyWaitingWorkersShareWhatComesAndNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, 3)
		const workers, sent = 30, 100
		work := func(i int) (done int) {
			b, worker := nodes[i%3].Queue(), fmt.Sprint(i)
			for batch := uint64(1); ; batch++ {
				claimed, err := b.Claim(background, queue.Claim{Worker: worker, Queues: []string{"q", "other"}, Max: 2, Wait: time.Hour})
				if err != nil || len(claimed.Tasks) == 0 {
					return done
				}
				var items []queue.Settlement
				for _, held := range claimed.Tasks {
					items = append(items, queue.Settlement{Ref: held.Ref(), Outcome: queue.Done})
				}
				_, _ = b.Settle(background, queue.Settlements{Worker: worker, Number: batch, Items: items})
				done += len(items)
			}
		}
		done := make(chan int, workers)
		for i := range workers {
			go func() { done <- work(i) }()
		}
		synctest.Wait()

		for i := range sent {
			enqueue(t, nodes[i%3].Queue(), job(fmt.Sprint(i), func(t *queue.Task) {
				t.RunAt = time.Now().Add(time.Duration(i%3) * time.Second)
			}))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()

		require.Equal(t, queue.Totals{Enqueued: sent, Completed: sent}, stats(t, nodes[0].Queue()).Totals)
		total := 0
		for range workers {
			total += <-done
		}
		require.Equal(t, sent, total)
	})
}
