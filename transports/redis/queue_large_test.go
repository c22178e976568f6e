package redis_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
)

const largePayload = 2 << 20

// newLargeTasks makes tasks whose payloads tell them apart.
func newLargeTasks(n int) []queue.Task {
	tasks := newTasks(n)
	for i := range tasks {
		tasks[i].Payload = bytes.Repeat([]byte{byte(i)}, largePayload)
	}
	return tasks
}

func TestLargeTasksAreClaimedAFewAtATimeAndInOrder(t *testing.T) {
	node := open(t)
	tasks := newTasks(20)
	for i, large := range newLargeTasks(10) {
		tasks[2*i].Payload = large.Payload
	}
	tasks[6].UniqueKey, tasks[8].CallerID = "key", true
	enqueue(t, node, tasks[:10]...)
	enqueue(t, node, tasks[10:]...)

	var got []queue.Leased
	for len(got) < len(tasks) {
		some := claim(t, node, 100)
		require.NotEmpty(t, some)
		size := 0
		for _, l := range some {
			size += len(l.Payload)
		}
		require.LessOrEqual(t, size, 5<<20, "what one claim brings")
		got = append(got, some...)
	}

	require.Equal(t, taskIDs(tasks), leasedIDs(got))
	for i, l := range got {
		require.NoError(t, l.Err)
		sameTask(t, tasks[i], l.Task)
		require.NoError(t, settleOne(t, node, l, queue.Done))
	}
	require.Zero(t, stats(t, node).Pending+stats(t, node).Active)
}

func TestLargeTasksWakeAWaiterAndAreAllClaimedByThoseWhoWait(t *testing.T) {
	node := open(t)
	type answer struct {
		claimed queue.Claimed
		err     error
	}
	answers := make(chan answer)
	for range 4 {
		go func() {
			claimed, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "worker", Queues: []string{"q"}, Max: 8, Wait: patience})
			answers <- answer{claimed, err}
		}()
	}
	tasks := newLargeTasks(8)
	enqueue(t, node, tasks...)

	var got []string
	for range 4 {
		a := <-answers
		require.NoError(t, a.err)
		require.LessOrEqual(t, len(a.claimed.Tasks), 3)
		got = append(got, leasedIDs(a.claimed.Tasks)...)
	}

	for len(got) < len(tasks) {
		got = append(got, leasedIDs(claim(t, node, 8))...)
	}
	require.ElementsMatch(t, taskIDs(tasks), got)
}

// Looking at a task must not cost what its payload does: the server does nothing else meanwhile.
func TestMovingLargeTasksDoesNotHoldUpTheServer(t *testing.T) {
	t.Parallel()
	server := testserver.Shared(t)
	namespace := testserver.Namespace(t)
	node := openURL(t, server.URL(), namespace)
	hasty := openURL(t, server.URL()+"?read_timeout=500ms", namespace)
	const n = 64
	tasks := newLargeTasks(n)
	due := time.Now().Add(time.Hour)
	for i := range tasks {
		tasks[i].RunAt, tasks[i].Retention = due, time.Hour
		enqueue(t, node, tasks[i])
	}

	errs, err := hasty.Queue().Admin.Cancel(t.Context(), "q", taskIDs(tasks))
	require.NoError(t, err)
	require.Equal(t, make([]error, n), errs)
	errs, err = hasty.Queue().Admin.Requeue(t.Context(), "q", taskIDs(tasks))
	require.NoError(t, err)
	require.Equal(t, make([]error, n), errs)
	var held []queue.Settlement
	for len(held) < n {
		claimed, err := hasty.Queue().Claim(t.Context(), queue.Claim{Worker: "worker", Queues: []string{"q"}, Max: n})
		require.NoError(t, err)
		for _, l := range claimed.Tasks {
			held = append(held, queue.Settlement{Ref: l.Ref(), Outcome: queue.Release})
		}
	}
	errs, err = hasty.Queue().Settle(t.Context(), queue.Settlements{Worker: "sender", Number: 1, Items: held})
	require.NoError(t, err)
	require.Equal(t, make([]error, n), errs)
	errs, err = hasty.Queue().Admin.Remove(t.Context(), "q", taskIDs(tasks))
	require.NoError(t, err)
	require.Equal(t, make([]error, n), errs)

	keys, err := plain(t, server.URL()).Keys(t.Context(), "{bp:"+namespace+":q0}:*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		kind, _, _ := strings.Cut(strings.TrimPrefix(key, "{bp:"+namespace+":q0}:"), ":")
		require.NotContains(t, []string{"t", "l", "m", "r"}, kind, "what a task that is gone leaves behind")
	}
}

func TestPageOfLargeTasksIsBounded(t *testing.T) {
	node := open(t)
	tasks := newLargeTasks(9)
	for i := range tasks {
		if i >= 5 {
			tasks[i].RunAt = time.Now().Add(time.Duration(i) * time.Hour)
		}
	}
	enqueue(t, node, tasks...)

	for state, want := range map[queue.State][]queue.Task{queue.Pending: tasks[:5], queue.Scheduled: tasks[5:]} {
		page, err := node.Queue().Admin.List(t.Context(), queue.List{Queue: "q", State: state})
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Tasks), 3)
		all := listAll(t, node, state, 100)
		require.Equal(t, taskIDs(want), infoIDs(all))
		for i, info := range all {
			require.NoError(t, info.Err)
			require.Equal(t, want[i].Payload, info.Payload)
		}
	}
}

func TestLargeTaskWhosePayloadIsMissingIsClaimedAsCorrupt(t *testing.T) {
	server := testserver.Shared(t)
	namespace := testserver.Namespace(t)
	node := openURL(t, server.URL(), namespace)
	store, prefix := plain(t, server.URL()), "{bp:"+namespace+":q0}:"
	tasks := newLargeTasks(2)
	enqueue(t, node, tasks...)
	first, err := store.LIndex(t.Context(), prefix+"p:q", 0).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, store.HDel(t.Context(), prefix+"l:q", first).Val())

	leased := claim(t, node, 1)

	require.Equal(t, tasks[0].ID, leased[0].ID)
	requireCode(t, fault.Corrupt, leased[0].Err)
	require.NoError(t, settleOne(t, node, leased[0], queue.Dead))
	leased = claim(t, node, 1)
	require.Equal(t, tasks[1].ID, leased[0].ID)
	require.NoError(t, leased[0].Err)
}
