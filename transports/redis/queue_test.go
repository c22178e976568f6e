package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/redis"
)

// newTask is a plain task of queue q.
func newTask() queue.Task {
	return queue.Task{
		ID: uuid.Must(uuid.NewV7()).String(), Kind: "mail", Queue: "q", Payload: []byte("hello"),
		EnqueuedAt: time.Now(), MaxAttempts: 3, MaxLost: 2,
	}
}

func newTasks(n int) []queue.Task {
	tasks := make([]queue.Task, n)
	for i := range tasks {
		tasks[i] = newTask()
	}
	return tasks
}

func ids[T any](tasks []T, id func(T) string) []string {
	all := make([]string, len(tasks))
	for i, t := range tasks {
		all[i] = id(t)
	}
	return all
}

func taskIDs(tasks []queue.Task) []string {
	return ids(tasks, func(t queue.Task) string { return t.ID })
}
func leasedIDs(tasks []queue.Leased) []string {
	return ids(tasks, func(l queue.Leased) string { return l.ID })
}

// enqueue stores tasks, all of which must be accepted.
func enqueue(t testing.TB, node *redis.Transport, tasks ...queue.Task) {
	t.Helper()
	receipts, err := node.Queue().Enqueue(t.Context(), tasks)
	require.NoError(t, err)
	require.Len(t, receipts, len(tasks))
	for i, r := range receipts {
		require.NoError(t, r.Err)
		require.False(t, r.Duplicate)
		require.Equal(t, tasks[i].ID, r.ID)
	}
}

// enqueueOne gives the receipt of one task.
func enqueueOne(t testing.TB, node *redis.Transport, task queue.Task) queue.Receipt {
	t.Helper()
	receipts, err := node.Queue().Enqueue(t.Context(), []queue.Task{task})
	r := one(t, receipts, err)
	require.NoError(t, r.Err)
	return r
}

// claim asks once, without waiting.
func claim(t testing.TB, node *redis.Transport, max int, queues ...string) []queue.Leased {
	t.Helper()
	if len(queues) == 0 {
		queues = []string{"q"}
	}
	claimed, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "worker", Queues: queues, Max: max})
	require.NoError(t, err)
	return claimed.Tasks
}

// claimOne gets one task, which comes sooner or later.
func claimOne(t testing.TB, node *redis.Transport) queue.Leased {
	t.Helper()
	claimed, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "worker", Queues: []string{"q"}, Max: 1, Wait: patience})
	require.NoError(t, err)
	require.Len(t, claimed.Tasks, 1)
	require.NoError(t, claimed.Tasks[0].Err)
	return claimed.Tasks[0]
}

var batches struct {
	sync.Mutex
	last uint64
}

// settle ends leases under a number of its own, and gives the batch again as long as the answer is lost.
func settle(t testing.TB, node *redis.Transport, items ...queue.Settlement) []error {
	t.Helper()
	batches.Lock()
	batches.last++
	n := batches.last
	batches.Unlock()
	batch := queue.Settlements{Worker: fmt.Sprint("sender-", n), Number: 1, Items: items}
	errs, err := node.Queue().Settle(t.Context(), batch)
	for range 10 {
		if fault.CodeOf(err) != fault.Unavailable {
			break
		}
		errs, err = node.Queue().Settle(t.Context(), batch)
	}
	require.NoError(t, err)
	require.Len(t, errs, len(items))
	return errs
}

func settleOne(t testing.TB, node *redis.Transport, l queue.Leased, o queue.Outcome) error {
	t.Helper()
	return settle(t, node, queue.Settlement{Ref: l.Ref(), Outcome: o, Error: "failed"})[0]
}

func stats(t testing.TB, node *redis.Transport) queue.Stats {
	t.Helper()
	s, err := node.Queue().Admin.Stats(t.Context(), "q")
	require.NoError(t, err)
	return s
}

func find(t testing.TB, node *redis.Transport, id string) queue.Info {
	t.Helper()
	info, err := node.Queue().Admin.Find(t.Context(), "q", id)
	require.NoError(t, err)
	return info
}

// adminOne unwraps the answer for one task.
func adminOne(t testing.TB, errs []error, err error) error {
	t.Helper()
	require.NoError(t, err)
	require.Len(t, errs, 1)
	return errs[0]
}

func lease(t testing.TB, node *redis.Transport, long time.Duration) {
	t.Helper()
	require.NoError(t, node.Queue().Admin.Configure(t.Context(), "q", queue.Properties{Lease: long}))
}

// sameTask compares what was enqueued with what came back.
func sameTask(t testing.TB, want, got queue.Task) {
	t.Helper()
	for _, at := range []*time.Time{&want.EnqueuedAt, &want.RunAt, &want.Deadline, &got.EnqueuedAt, &got.RunAt, &got.Deadline} {
		*at = at.UTC().Round(0)
	}
	require.Equal(t, want, got)
}

func TestTaskComesBackAsItWasEnqueued(t *testing.T) {
	full := newTask()
	full.ID, full.CallerID, full.Queue, full.Kind = "a:{}\x00\xff id", true, "q:{}*>. \x00", "kind"
	full.Priority, full.Payload = 9, []byte("\x00\xff binary")
	full.Headers = map[string]string{"Trace-Parent": "x", "empty": ""}
	full.RunAt = time.Now().Add(-time.Minute)
	full.MaxAttempts, full.MaxLost, full.Timeout = 7, 100_000, time.Minute
	full.Deadline = time.Date(9999, 1, 1, 0, 0, 0, 1, time.UTC)
	full.UniqueKey, full.UniqueFor, full.Retention = "u\x00{}", 90*time.Second, time.Hour
	empty := newTask()
	empty.Payload = []byte{}
	none := newTask()
	none.Payload, none.EnqueuedAt = nil, time.Time{}
	large := newTask()
	large.Payload = []byte(strings.Repeat("x", 4<<20))

	for name, task := range map[string]queue.Task{"full": full, "empty": empty, "nil": none, "large": large} {
		t.Run(name, func(t *testing.T) {
			node := open(t)
			enqueue(t, node, task)

			tasks := claim(t, node, 10, task.Queue)

			require.Len(t, tasks, 1)
			require.NoError(t, tasks[0].Err)
			sameTask(t, task, tasks[0].Task)
			require.NotEmpty(t, tasks[0].Token)
			require.Equal(t, queue.DefaultLease, tasks[0].Lease)
			require.NoError(t, settleOne(t, node, tasks[0], queue.Done))
			require.Empty(t, claim(t, node, 10, task.Queue))
		})
	}
}

func TestClaimTakesQueuesInOrderThenPriorityThenAge(t *testing.T) {
	node := open(t)
	var tasks []queue.Task
	for _, spec := range []struct {
		queue    string
		priority int
	}{{"b", 0}, {"a", 0}, {"a", 0}, {"a", 9}, {"b", 5}, {"a", 5}, {"a", 9}} {
		task := newTask()
		task.Queue, task.Priority = spec.queue, spec.priority
		tasks = append(tasks, task)
	}
	enqueue(t, node, tasks...)

	first := claim(t, node, 4, "b", "a")
	rest := claim(t, node, 10, "b", "a")

	all := append(leasedIDs(first), leasedIDs(rest)...)
	var want []string
	for _, i := range []int{4, 0, 3, 6, 5, 1, 2} {
		want = append(want, tasks[i].ID)
	}
	require.Len(t, first, 4)
	require.Equal(t, want, all)
}

func TestScheduledTaskIsNeverEarlyAndWakesItsWaiter(t *testing.T) {
	node := open(t)
	task := newTask()
	begin := time.Now()
	task.RunAt = begin.Add(150*time.Millisecond + 300*time.Microsecond)
	enqueue(t, node, task)
	require.Empty(t, claim(t, node, 1))
	require.Equal(t, queue.Scheduled, find(t, node, task.ID).State)

	claimed := claimOne(t, node)

	require.Equal(t, task.ID, claimed.ID)
	require.GreaterOrEqual(t, time.Since(begin), 150*time.Millisecond+300*time.Microsecond)
}

func TestConcurrentClaimersNeverShareATask(t *testing.T) {
	const nodes, tasks = 3, 2000
	namespace := testserver.Namespace(t)
	all := make([]*redis.Transport, nodes)
	for i := range all {
		all[i] = openURL(t, testserver.Shared(t).URL(), namespace)
	}
	first := all[0]
	enqueue(t, first, newTasks(tasks/2)...)
	enqueue(t, first, newTasks(tasks/2)...)

	var mu sync.Mutex
	seen := map[string]int{}
	var running sync.WaitGroup
	for i := range 2 * nodes {
		running.Go(func() {
			for {
				claimed, err := all[i%nodes].Queue().Claim(t.Context(), queue.Claim{Worker: fmt.Sprint(i), Queues: []string{"q"}, Max: 7})
				if err != nil || len(claimed.Tasks) == 0 {
					return
				}
				items := make([]queue.Settlement, len(claimed.Tasks))
				mu.Lock()
				for j, l := range claimed.Tasks {
					seen[l.ID]++
					items[j] = queue.Settlement{Ref: l.Ref(), Outcome: queue.Done}
				}
				batch := queue.Settlements{Worker: fmt.Sprint(i), Number: uint64(len(seen)), Items: items}
				mu.Unlock()
				if _, err := all[i%nodes].Queue().Settle(t.Context(), batch); err != nil {
					return
				}
			}
		})
	}
	running.Wait()

	require.Len(t, seen, tasks)
	for id, times := range seen {
		require.Equal(t, 1, times, id)
	}
	s := stats(t, first)
	require.Equal(t, int64(tasks), s.Totals.Completed)
	require.Zero(t, s.Pending+s.Active+s.Scheduled+s.Dead)
}

func TestOutcomesLeadToTheirStates(t *testing.T) {
	for _, c := range []struct {
		outcome  queue.Outcome
		state    queue.State // empty: gone
		attempts int
		err      string
	}{
		{queue.Done, "", 0, ""},
		{queue.Retry, queue.Scheduled, 1, "failed"},
		{queue.Snooze, queue.Scheduled, 0, "failed"},
		{queue.Dead, queue.DeadLetter, 1, "failed"},
		{queue.Release, queue.Pending, 0, ""},
	} {
		t.Run(fmt.Sprint(c.outcome), func(t *testing.T) {
			node := open(t)
			task := newTask()
			enqueue(t, node, task)
			l := claim(t, node, 1)[0]

			errs := settle(t, node, queue.Settlement{Ref: l.Ref(), Outcome: c.outcome, Delay: time.Hour, Error: "failed"})

			require.NoError(t, errs[0])
			if c.state == "" {
				_, err := node.Queue().Admin.Find(t.Context(), "q", task.ID)
				requireCode(t, fault.NotFound, err)
			} else {
				info := find(t, node, task.ID)
				require.Equal(t, c.state, info.State)
				require.Equal(t, c.attempts, info.Attempts)
				require.Equal(t, c.err, info.LastError)
			}
			requireCode(t, fault.LeaseLost, settleOne(t, node, l, queue.Done))
			require.Equal(t, int64(1), stats(t, node).Totals.Stale)
		})
	}
}

func TestRetriedTaskComesBackWithWhatHappened(t *testing.T) {
	node := open(t)
	enqueue(t, node, newTask())
	l := claimOne(t, node)
	begin := time.Now()
	require.NoError(t, settle(t, node, queue.Settlement{
		Ref: l.Ref(), Outcome: queue.Retry, Delay: 120 * time.Millisecond, Error: strings.Repeat("é", 3000),
	})[0])

	again := claimOne(t, node)

	require.GreaterOrEqual(t, time.Since(begin), 120*time.Millisecond)
	require.Equal(t, 1, again.Attempts)
	require.Len(t, again.LastError, 4096)
	require.NotEqual(t, l.Token, again.Token)
	require.NoError(t, settleOne(t, node, again, queue.Snooze))
	third := claimOne(t, node)
	require.Equal(t, 1, third.Attempts)
	require.NoError(t, settleOne(t, node, third, queue.Release))
	require.Equal(t, 1, claimOne(t, node).Attempts)
}

func TestReleasedTasksAreFirstInLineInTheirOrder(t *testing.T) {
	node := open(t)
	tasks := newTasks(4)
	enqueue(t, node, tasks...)
	var items []queue.Settlement
	for _, l := range claim(t, node, 3) {
		items = append(items, queue.Settlement{Ref: l.Ref(), Outcome: queue.Release})
	}

	settle(t, node, items...)

	require.Equal(t, taskIDs(tasks), leasedIDs(claim(t, node, 10)))
}

func TestStaleClaimTouchesNothing(t *testing.T) {
	node := open(t)
	lease(t, node, 100*time.Millisecond)
	enqueue(t, node, newTask())
	stale := claimOne(t, node)
	lease(t, node, time.Hour)
	fresh := claimOne(t, node) // comes when the first lease has ended
	require.Equal(t, stale.ID, fresh.ID)
	require.Equal(t, 1, fresh.Lost)
	require.Zero(t, fresh.Attempts)
	before := find(t, node, fresh.ID)

	for _, o := range []queue.Outcome{queue.Done, queue.Retry, queue.Snooze, queue.Dead, queue.Release} {
		requireCode(t, fault.LeaseLost, settleOne(t, node, stale, o))
	}
	errs, err := node.Queue().Extend(t.Context(), []queue.Ref{stale.Ref(), {Queue: "q", ID: fresh.ID}, {Queue: "none", ID: "x", Token: "y"}})
	require.NoError(t, err)
	for _, err := range errs {
		requireCode(t, fault.LeaseLost, err)
	}

	require.Equal(t, before, find(t, node, fresh.ID))
	require.NoError(t, settleOne(t, node, fresh, queue.Done))
	names, err := node.Queue().Admin.Queues(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"q"}, names)
}

func TestRetryWithoutDelayIsClaimedAtOnce(t *testing.T) {
	node := open(t)
	enqueue(t, node, newTask())
	for attempt := range 20 {
		tasks := claim(t, node, 1)
		require.Len(t, tasks, 1)
		require.Equal(t, attempt, tasks[0].Attempts)
		require.NoError(t, settleOne(t, node, tasks[0], queue.Retry))
	}
}

func TestExtendedLeaseHolds(t *testing.T) {
	node := open(t)
	lease(t, node, time.Second)
	enqueue(t, node, newTask())
	l := claimOne(t, node)
	require.Equal(t, time.Second, l.Lease)
	first := find(t, node, l.ID)
	require.Equal(t, queue.Active, first.State)
	require.Equal(t, "worker", first.Holder)
	lease(t, node, time.Hour)

	errs, err := node.Queue().Extend(t.Context(), []queue.Ref{l.Ref(), l.Ref()})

	require.NoError(t, err)
	require.Equal(t, []error{nil, nil}, errs)
	require.WithinDuration(t, time.Now().Add(time.Hour), find(t, node, l.ID).Expires, time.Minute)
}

func TestTaskThatLosesTooManyLeasesIsDeadWithTheReason(t *testing.T) {
	node := open(t)
	lease(t, node, 100*time.Millisecond)
	task := newTask()
	task.MaxLost = 1
	enqueue(t, node, task)
	claimOne(t, node)
	require.Equal(t, 1, claimOne(t, node).Lost)

	eventually(t, "the task is dead", func() bool {
		require.Empty(t, claim(t, node, 1))
		return find(t, node, task.ID).State == queue.DeadLetter
	})

	info := find(t, node, task.ID)
	require.Equal(t, 2, info.Lost)
	require.Zero(t, info.Attempts)
	require.Contains(t, info.LastError, "lost 2 times, 1 are allowed")
	require.WithinDuration(t, time.Now(), info.Since, time.Minute)
	s := stats(t, node)
	require.Equal(t, int64(2), s.Totals.Lost)
	require.Equal(t, int64(1), s.Totals.Dead)
}

func TestRepeatOfTheLastBatchGetsTheSameAnswer(t *testing.T) {
	node := open(t)
	enqueue(t, node, newTasks(3)...)
	leased := claim(t, node, 3)
	gone := leased[1].Ref()
	require.NoError(t, settleOne(t, node, leased[1], queue.Done))
	batch := queue.Settlements{Worker: "w", Number: 5, Items: []queue.Settlement{
		{Ref: leased[0].Ref(), Outcome: queue.Retry, Delay: time.Hour},
		{Ref: gone, Outcome: queue.Done},
		{Ref: leased[2].Ref(), Outcome: queue.Done},
		{Ref: leased[2].Ref(), Outcome: queue.Dead},
	}}

	for range 3 {
		errs, err := node.Queue().Settle(t.Context(), batch)
		require.NoError(t, err)
		require.NoError(t, errs[0])
		requireCode(t, fault.LeaseLost, errs[1])
		require.NoError(t, errs[2])
		requireCode(t, fault.LeaseLost, errs[3])
	}

	s := stats(t, node)
	require.Equal(t, queue.Totals{Enqueued: 3, Completed: 2, Retried: 1, Stale: 2}, s.Totals)
	batch.Number = 4
	_, err := node.Queue().Settle(t.Context(), batch)
	requireCode(t, fault.Conflict, err)
	batch.Number, batch.Worker = 4, "another"
	_, err = node.Queue().Settle(t.Context(), batch)
	require.NoError(t, err)
}

func TestIDIsTakenWhileTheTaskIsThereAndRememberedIfItsCallerChoseIt(t *testing.T) {
	node := open(t)
	own, chosen := newTask(), newTask()
	chosen.ID, chosen.CallerID = "chosen", true
	enqueue(t, node, own, chosen)
	for _, task := range []queue.Task{own, chosen} {
		r := enqueueOne(t, node, task)
		require.True(t, r.Duplicate)
		require.Equal(t, task.ID, r.ID)
	}
	for range 2 {
		require.NoError(t, settleOne(t, node, claimOne(t, node), queue.Done))
	}

	require.True(t, enqueueOne(t, node, chosen).Duplicate)
	require.False(t, enqueueOne(t, node, own).Duplicate)
	elsewhere := chosen
	elsewhere.Queue = "another"
	require.False(t, enqueueOne(t, node, elsewhere).Duplicate)
	require.Equal(t, int64(3), stats(t, node).Totals.Duplicates)
}

func TestSameIDTwiceInABatchIsStoredOnce(t *testing.T) {
	node := open(t)
	task, between := newTask(), newTask()

	receipts, err := node.Queue().Enqueue(t.Context(), []queue.Task{task, between, task, task})

	require.NoError(t, err)
	var duplicates []bool
	for _, r := range receipts {
		duplicates = append(duplicates, r.Duplicate)
	}
	require.Equal(t, []bool{false, false, true, true}, duplicates)
	require.Equal(t, []string{task.ID, between.ID}, leasedIDs(claim(t, node, 10)))
}

func TestBatchKeepsItsOrderInEachQueue(t *testing.T) {
	node := open(t)
	tasks := newTasks(9)
	for i := range tasks {
		tasks[i].Queue = []string{"b", "a"}[i%2]
		if i%3 == 0 {
			tasks[i].UniqueKey = fmt.Sprint(i)
		}
	}

	enqueue(t, node, tasks...)

	var want []string
	for i := 1; i < 9; i += 2 {
		want = append(want, tasks[i].ID)
	}
	for i := 0; i < 9; i += 2 {
		want = append(want, tasks[i].ID)
	}
	require.Equal(t, want, leasedIDs(claim(t, node, 10, "a", "b")))
}

func TestUniqueKeyIsHeldUntilItsTaskEnds(t *testing.T) {
	ends := map[string]func(*testing.T, *redis.Transport, string){
		"done": func(t *testing.T, node *redis.Transport, id string) {
			require.NoError(t, settleOne(t, node, claimOne(t, node), queue.Done))
		},
		"dead": func(t *testing.T, node *redis.Transport, id string) {
			require.NoError(t, settleOne(t, node, claimOne(t, node), queue.Dead))
		},
		"cancelled": func(t *testing.T, node *redis.Transport, id string) {
			errs, err := node.Queue().Admin.Cancel(t.Context(), "q", []string{id})
			require.NoError(t, adminOne(t, errs, err))
		},
		"removed": func(t *testing.T, node *redis.Transport, id string) {
			errs, err := node.Queue().Admin.Remove(t.Context(), "q", []string{id})
			require.NoError(t, adminOne(t, errs, err))
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			node := open(t)
			holder, rival := newTask(), newTask()
			holder.UniqueKey, rival.UniqueKey = "key", "key"
			enqueue(t, node, holder)
			require.NoError(t, settleOne(t, node, claimOne(t, node), queue.Release)) // still held

			r := enqueueOne(t, node, rival)
			require.True(t, r.Duplicate)
			require.Equal(t, holder.ID, r.ID)
			end(t, node, holder.ID)

			require.False(t, enqueueOne(t, node, rival).Duplicate)
		})
	}
}

func TestUniqueKeyIsNotTakenByATaskThatWasRefused(t *testing.T) {
	node := open(t)
	task := newTask()
	enqueue(t, node, task)
	task.UniqueKey = "key"
	require.True(t, enqueueOne(t, node, task).Duplicate)

	other := newTask()
	other.UniqueKey = "key"

	require.False(t, enqueueOne(t, node, other).Duplicate)
}

func TestUniqueKeyWithALifetimeIsReleasedByItsHolderAlone(t *testing.T) {
	node := open(t)
	first, second, third := newTask(), newTask(), newTask()
	for _, task := range []*queue.Task{&first, &second, &third} {
		task.UniqueKey = "key"
	}
	first.UniqueFor = 50 * time.Millisecond
	enqueue(t, node, first)
	l := claimOne(t, node)
	eventually(t, "the key is free", func() bool { return !enqueueOne(t, node, second).Duplicate })

	require.NoError(t, settleOne(t, node, l, queue.Done))

	require.True(t, enqueueOne(t, node, third).Duplicate, "the second task holds the key")
}

func TestCompletedTaskIsKeptWithItsResultForItsRetention(t *testing.T) {
	node := open(t)
	long, short := newTask(), newTask()
	long.Retention, short.Retention = time.Hour, 50*time.Millisecond
	short.CallerID = true
	enqueue(t, node, long, short)
	for _, l := range claim(t, node, 2) {
		require.NoError(t, settle(t, node, queue.Settlement{Ref: l.Ref(), Outcome: queue.Done, Result: []byte("\x00result")})[0])
	}

	info := find(t, node, long.ID)
	require.Equal(t, queue.Completed, info.State)
	require.Equal(t, "\x00result", string(info.Result))
	require.WithinDuration(t, time.Now().Add(time.Hour), info.Expires, time.Minute)
	eventually(t, "the short one is forgotten", func() bool {
		_, err := node.Queue().Admin.Find(t.Context(), "q", short.ID)
		return fault.CodeOf(err) == fault.NotFound
	})
	require.Equal(t, int64(1), stats(t, node).Completed)
	require.True(t, enqueueOne(t, node, short).Duplicate, "its ID stays known")
	require.Empty(t, claim(t, node, 10))
	page, err := node.Queue().Admin.List(t.Context(), queue.List{Queue: "q", State: queue.Completed})
	require.NoError(t, err)
	require.Len(t, page.Tasks, 1)
}

func TestInvalidElementIsRefusedAlone(t *testing.T) {
	node := open(t)
	good, nameless, heavy := newTask(), newTask(), newTask()
	nameless.Queue = ""
	heavy.Payload = make([]byte, 17<<20)

	receipts, err := node.Queue().Enqueue(t.Context(), []queue.Task{nameless, good, heavy})

	require.NoError(t, err)
	requireCode(t, fault.Invalid, receipts[0].Err)
	require.NoError(t, receipts[1].Err)
	requireCode(t, fault.TooLarge, receipts[2].Err)
	require.Len(t, claim(t, node, 10), 1)
	_, err = node.Queue().Enqueue(t.Context(), make([]queue.Task, 1001))
	requireCode(t, fault.TooLarge, err)
	_, err = node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Max: 1})
	requireCode(t, fault.Invalid, err)
	_, err = node.Queue().Settle(t.Context(), queue.Settlements{Worker: "w"})
	requireCode(t, fault.Invalid, err)
	none, err := node.Queue().Enqueue(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
	errs, err := node.Queue().Extend(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, errs)
}

func TestManyCallersEnqueueAtOnceAndEachGetsItsOwnReceipt(t *testing.T) {
	const callers, each = 64, 20
	node := open(t)
	shared := newTask()
	var mu sync.Mutex
	stored := map[string]bool{}
	winners := 0
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for range each {
				own := newTask()
				receipts, err := node.Queue().Enqueue(context.Background(), []queue.Task{own, shared})
				if err != nil || receipts[0].Duplicate || receipts[0].ID != own.ID || receipts[1].ID != shared.ID {
					return
				}
				mu.Lock()
				stored[own.ID] = true
				if !receipts[1].Duplicate {
					winners++
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()

	require.Len(t, stored, callers*each)
	require.Equal(t, 1, winners)
	require.Equal(t, int64(callers*each+1), stats(t, node).Pending)
	claimed := map[string]bool{}
	for {
		tasks := claim(t, node, 1000)
		if len(tasks) == 0 {
			break
		}
		for _, l := range tasks {
			claimed[l.ID] = true
		}
	}
	delete(claimed, shared.ID)
	require.Equal(t, stored, claimed)
}

func TestAdministratorSeesQueuesThatWereNamed(t *testing.T) {
	node := open(t)
	task := newTask()
	task.Queue = "filled"
	enqueue(t, node, task)
	require.NoError(t, node.Queue().Admin.Configure(t.Context(), "configured", queue.Properties{Lease: time.Minute}))
	require.NoError(t, node.Queue().Admin.Pause(t.Context(), "paused"))

	names, err := node.Queue().Admin.Queues(t.Context())

	require.NoError(t, err)
	require.True(t, slices.Equal([]string{"configured", "filled", "paused"}, names), names)
	p, err := node.Queue().Admin.Properties(t.Context(), "configured")
	require.NoError(t, err)
	require.Equal(t, time.Minute, p.Lease)
	p, err = node.Queue().Admin.Properties(t.Context(), "filled")
	require.NoError(t, err)
	require.Equal(t, queue.DefaultLease, p.Lease)
	requireCode(t, fault.Invalid, node.Queue().Admin.Configure(t.Context(), "q", queue.Properties{Lease: time.Millisecond}))
}

func TestMemoryOfIDsEndsWhenNothingMoreHappens(t *testing.T) {
	server := testserver.Shared(t)
	namespace := testserver.Namespace(t)
	node := openURL(t, server.URL(), namespace)
	tasks := newTasks(10)
	for i := range tasks {
		tasks[i].CallerID = true
	}
	enqueue(t, node, tasks...)
	for _, l := range claim(t, node, len(tasks)) {
		require.NoError(t, settleOne(t, node, l, queue.Done))
	}

	left, err := plain(t, server.URL()).PTTL(t.Context(), "{bp:"+namespace+":q0}:i:q").Result()

	require.NoError(t, err)
	memory := node.Queue().Capabilities.IDMemory
	require.Greater(t, left, memory-patience)
	require.LessOrEqual(t, left, memory)
}
