package redis_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/redis"
)

// listAll pages through one state.
func listAll(t testing.TB, node *redis.Transport, state queue.State, limit int) []queue.Info {
	t.Helper()
	var all []queue.Info
	for l := (queue.List{Queue: "q", State: state, Limit: limit}); ; {
		page, err := node.Queue().Admin.List(t.Context(), l)
		require.NoError(t, err)
		all = append(all, page.Tasks...)
		if page.Next == "" {
			return all
		}
		l.Cursor = page.Next
	}
}

func infoIDs(tasks []queue.Info) []string {
	return ids(tasks, func(i queue.Info) string { return i.ID })
}

// everyState has one task in every state, by state.
func everyState(t testing.TB, node *redis.Transport) map[queue.State]string {
	t.Helper()
	by := map[queue.State]string{}
	for _, s := range []queue.State{queue.Completed, queue.DeadLetter, queue.Active, queue.Scheduled, queue.Cancelled, queue.Pending} {
		task := newTask()
		task.Retention = time.Hour
		if s == queue.Scheduled {
			task.RunAt = time.Now().Add(time.Hour)
		}
		enqueue(t, node, task)
		by[s] = task.ID
		switch s {
		case queue.Completed:
			require.NoError(t, settleOne(t, node, claimOne(t, node), queue.Done))
		case queue.DeadLetter:
			require.NoError(t, settleOne(t, node, claimOne(t, node), queue.Dead))
		case queue.Active:
			claimOne(t, node)
		case queue.Cancelled:
			errs, err := node.Queue().Admin.Cancel(t.Context(), "q", []string{task.ID})
			require.NoError(t, adminOne(t, errs, err))
		}
	}
	return by
}

func TestInspectorShowsEveryState(t *testing.T) {
	node := open(t)
	for state, id := range everyState(t, node) {
		info := find(t, node, id)
		require.Equal(t, state, info.State)
		require.Equal(t, []queue.Info{info}, listAll(t, node, state, 1), state)
	}
	s := stats(t, node)
	require.Equal(t, []int64{1, 1, 1, 1, 1, 1},
		[]int64{s.Pending, s.Scheduled, s.Active, s.Completed, s.Dead, s.Cancelled})
	require.Positive(t, s.OldestPending)
	require.Less(t, s.OldestPending, time.Minute)
}

func TestAdministrationMovesTasksOrSaysWhyNot(t *testing.T) {
	type verdict map[queue.State]fault.Code
	for _, c := range []struct {
		name string
		do   func(queue.Admin) func(t *testing.T, id string) error
		want verdict // OK where not named
		then queue.State
	}{
		{"remove", func(a queue.Admin) func(*testing.T, string) error {
			return func(t *testing.T, id string) error {
				errs, err := a.Remove(t.Context(), "q", []string{id})
				return adminOne(t, errs, err)
			}
		}, verdict{queue.Active: fault.Conflict}, ""},
		{"requeue", func(a queue.Admin) func(*testing.T, string) error {
			return func(t *testing.T, id string) error {
				errs, err := a.Requeue(t.Context(), "q", []string{id})
				return adminOne(t, errs, err)
			}
		}, verdict{queue.Active: fault.Conflict, queue.Pending: fault.Conflict}, queue.Pending},
		{"cancel", func(a queue.Admin) func(*testing.T, string) error {
			return func(t *testing.T, id string) error {
				errs, err := a.Cancel(t.Context(), "q", []string{id})
				return adminOne(t, errs, err)
			}
		}, verdict{queue.Completed: fault.Conflict, queue.DeadLetter: fault.Conflict, queue.Cancelled: fault.Conflict}, queue.Cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := open(t)
			do := c.do(node.Queue().Admin)
			for state, id := range everyState(t, node) {
				err := do(t, id)
				require.Equal(t, c.want[state], fault.CodeOf(err), "%s: %v", state, err)
				switch info, err := node.Queue().Admin.Find(t.Context(), "q", id); {
				case c.want[state] != fault.OK || c.name == "cancel" && state == queue.Active:
					require.Equal(t, state, info.State)
				case c.then == "":
					requireCode(t, fault.NotFound, err)
				default:
					require.Equal(t, c.then, info.State)
					require.Zero(t, info.Attempts)
				}
			}
			requireCode(t, fault.NotFound, do(t, "nobody"))
			requireCode(t, fault.Invalid, do(t, ""))
		})
	}
}

func TestTaskTakenOutOfTheLineIsNotClaimedAndMayComeBack(t *testing.T) {
	node := open(t)
	admin := node.Queue().Admin
	tasks := newTasks(6)
	for i := range tasks {
		tasks[i].Priority = i % 2
	}
	enqueue(t, node, tasks...)
	all := taskIDs(tasks)

	for range 3 { // more than one stale entry of the same task
		errs, err := admin.Cancel(t.Context(), "q", all[:2])
		require.NoError(t, err)
		require.Equal(t, []error{nil, nil}, errs)
		require.Equal(t, int64(4), stats(t, node).Pending)
		require.Equal(t, []string{all[3], all[5], all[2], all[4]}, infoIDs(listAll(t, node, queue.Pending, 1)))
		errs, err = admin.Requeue(t.Context(), "q", all[:2])
		require.NoError(t, err)
		require.Equal(t, []error{nil, nil}, errs)
	}
	errs, err := admin.Remove(t.Context(), "q", all[2:4])
	require.NoError(t, err)
	require.Equal(t, []error{nil, nil}, errs)
	again := tasks[3]
	again.Priority = 0
	enqueue(t, node, again) // its ID is free, with a stale entry in another line
	want := []string{all[5], all[1], all[4], all[0], all[3]}
	require.Equal(t, want, infoIDs(listAll(t, node, queue.Pending, 2)))

	var got []string
	for range want {
		l := claim(t, node, 1)
		require.Len(t, l, 1)
		got = append(got, l[0].ID)
		if len(got) == 1 {
			require.NoError(t, settleOne(t, node, l[0], queue.Release))
			l = claim(t, node, 1)
			require.Equal(t, got, leasedIDs(l))
		}
		require.NoError(t, settleOne(t, node, l[0], queue.Done))
	}

	require.Equal(t, want, got)
	require.Empty(t, claim(t, node, 10))
	require.Zero(t, stats(t, node).Pending)
}

func TestCancelOfAnActiveTaskReachesItsWorkerAndSticks(t *testing.T) {
	for _, o := range []queue.Outcome{queue.Done, queue.Retry, queue.Snooze, queue.Dead, queue.Release} {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			node := open(t)
			task := newTask()
			task.Retention, task.UniqueKey = time.Hour, "key"
			enqueue(t, node, task)
			l := claimOne(t, node)
			before := find(t, node, l.ID).Expires
			lease(t, node, time.Hour)
			errs, err := node.Queue().Admin.Cancel(t.Context(), "q", []string{l.ID})
			require.NoError(t, adminOne(t, errs, err))

			errs, err = node.Queue().Extend(t.Context(), []queue.Ref{l.Ref()})
			requireCode(t, fault.Canceled, adminOne(t, errs, err))
			require.Greater(t, find(t, node, l.ID).Expires, before, "the lease is extended all the same")
			require.NoError(t, settleOne(t, node, l, o))

			want := queue.Cancelled
			if o == queue.Done {
				want = queue.Completed
			}
			require.Equal(t, want, find(t, node, l.ID).State)
			s := stats(t, node)
			require.Equal(t, int64(1), s.Totals.Cancelled+s.Totals.Completed)
			task.ID = newTask().ID
			require.False(t, enqueueOne(t, node, task).Duplicate, "the unique key is free")
		})
	}
}

func TestCancelledTaskWhoseLeaseIsLostDoesNotRunAgain(t *testing.T) {
	node := open(t)
	lease(t, node, 100*time.Millisecond)
	enqueue(t, node, newTask())
	l := claimOne(t, node)
	errs, err := node.Queue().Admin.Cancel(t.Context(), "q", []string{l.ID})
	require.NoError(t, adminOne(t, errs, err))

	eventually(t, "it is cancelled", func() bool {
		require.Empty(t, claim(t, node, 1))
		return find(t, node, l.ID).State == queue.Cancelled
	})

	errs, err = node.Queue().Admin.Requeue(t.Context(), "q", []string{l.ID})
	require.NoError(t, adminOne(t, errs, err))
	again := claimOne(t, node)
	require.Zero(t, again.Lost, "begins again")
}

func TestRequeueDoesNotBreakAUniqueKey(t *testing.T) {
	node := open(t)
	first, second := newTask(), newTask()
	first.UniqueKey, second.UniqueKey = "key", "key"
	enqueue(t, node, first)
	require.NoError(t, settleOne(t, node, claimOne(t, node), queue.Dead))
	enqueue(t, node, second)

	errs, err := node.Queue().Admin.Requeue(t.Context(), "q", []string{first.ID})
	requireCode(t, fault.Conflict, adminOne(t, errs, err))
	require.ErrorContains(t, errs[0], second.ID)
	require.NoError(t, settleOne(t, node, claimOne(t, node), queue.Done))
	errs, err = node.Queue().Admin.Requeue(t.Context(), "q", []string{first.ID})
	require.NoError(t, adminOne(t, errs, err))

	third := newTask()
	third.UniqueKey = "key"
	require.True(t, enqueueOne(t, node, third).Duplicate, "the requeued task holds it again")
}

func TestPausedQueueGivesNothing(t *testing.T) {
	node := open(t)
	enqueue(t, node, newTask())
	other := newTask()
	other.Queue = "other"
	enqueue(t, node, other)
	for range 2 {
		require.NoError(t, node.Queue().Admin.Pause(t.Context(), "q"))
	}

	require.Equal(t, []string{other.ID}, leasedIDs(claim(t, node, 10, "q", "other")))
	require.True(t, stats(t, node).Paused)

	for range 2 {
		require.NoError(t, node.Queue().Admin.Resume(t.Context(), "q"))
	}
	require.Len(t, claim(t, node, 10), 1)
}

func TestPagesShowEveryTaskOnceAndInOrder(t *testing.T) {
	node := open(t)
	tasks := newTasks(250)
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	for i := range tasks {
		tasks[i].RunAt = at.Add(time.Duration(i/100) * time.Second) // many of the same time
	}
	enqueue(t, node, tasks...)
	want := taskIDs(tasks)
	slices.Sort(want) // UUIDv7

	require.Equal(t, want, infoIDs(listAll(t, node, queue.Scheduled, 7)))
	page, err := node.Queue().Admin.List(t.Context(), queue.List{Queue: "q", State: queue.Scheduled, Limit: 10})
	require.NoError(t, err)
	require.Len(t, page.Tasks, 10)

	// The task on which the page ended goes away, and nothing is skipped for that.
	errs, err := node.Queue().Admin.Remove(t.Context(), "q", want[5:10])
	require.NoError(t, err)
	require.Len(t, errs, 5)
	next, err := node.Queue().Admin.List(t.Context(), queue.List{Queue: "q", State: queue.Scheduled, Limit: 10, Cursor: page.Next})
	require.NoError(t, err)
	require.Equal(t, want[10:20], infoIDs(next.Tasks))
	_, err = node.Queue().Admin.List(t.Context(), queue.List{Queue: "q", State: queue.Scheduled, Cursor: "bad cursor"})
	requireCode(t, fault.Invalid, err)
	_, err = node.Queue().Admin.List(t.Context(), queue.List{Queue: "q", State: "bad"})
	requireCode(t, fault.Invalid, err)
}

func TestDamagedRecordIsClaimedAsCorruptAndTheRestGoesOn(t *testing.T) {
	server := testserver.Shared(t)
	namespace := testserver.Namespace(t)
	node := openURL(t, server.URL(), namespace)
	store := plain(t, server.URL())
	prefix := "{bp:" + namespace + ":q0}:"
	tasks := newTasks(5)
	enqueue(t, node, tasks...)
	keys, err := store.LRange(t.Context(), prefix+"p:q", 0, -1).Result()
	require.NoError(t, err)
	whole, err := store.HGet(t.Context(), prefix+"t:q", keys[4]).Result()
	require.NoError(t, err)
	for i, damaged := range []string{"", "garbage", "\x02" + whole[1:], whole[:len(whole)-1]} {
		require.NoError(t, store.HSet(t.Context(), prefix+"t:q", keys[i], damaged).Err())
	}
	require.NoError(t, store.HDel(t.Context(), prefix+"t:q", keys[0]).Err())

	leased := claim(t, node, 10)

	require.Equal(t, taskIDs(tasks), leasedIDs(leased))
	for _, l := range leased[:4] {
		requireCode(t, fault.Corrupt, l.Err)
		require.Equal(t, queue.Task{ID: l.ID, Queue: "q"}, l.Task)
	}
	require.ErrorContains(t, leased[2].Err, "version 2")
	require.NoError(t, leased[4].Err)
	for _, l := range leased[:4] {
		require.NoError(t, settleOne(t, node, l, queue.Dead))
	}
	require.NoError(t, settleOne(t, node, leased[4], queue.Done))
	dead := listAll(t, node, queue.DeadLetter, 10)
	require.Len(t, dead, 4)
	for _, info := range dead {
		requireCode(t, fault.Corrupt, info.Err)
		errs, err := node.Queue().Admin.Remove(t.Context(), "q", []string{info.ID})
		require.NoError(t, adminOne(t, errs, err))
	}
	require.Zero(t, stats(t, node).Dead)
}

func TestClaimPassesOverManyTasksThatLeftTheLine(t *testing.T) {
	node := open(t)
	for range 3 {
		gone := newTasks(900)
		enqueue(t, node, gone...)
		errs, err := node.Queue().Admin.Remove(t.Context(), "q", taskIDs(gone))
		require.NoError(t, err)
		require.Len(t, errs, len(gone))
	}
	last := newTasks(2)
	enqueue(t, node, last...)

	require.Equal(t, last[0].ID, claimOne(t, node).ID)
	require.Equal(t, last[1].ID, claimOne(t, node).ID)

	require.Empty(t, claim(t, node, 10))
	require.Zero(t, stats(t, node).Pending)
}
