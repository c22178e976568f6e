package redis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
)

// A server without room must still give tasks away and let them end: that is what makes room again.
func TestFullServerRefusesNewTasksAndNothingElse(t *testing.T) {
	server := testserver.Redis(t)
	node := openURL(t, server.URL(), testserver.Namespace(t))
	tasks := newTasks(8)
	tasks[6].RunAt, tasks[7].Priority = time.Now().Add(time.Hour), 3
	enqueue(t, node, tasks...)
	require.NoError(t, plain(t, server.URL()).ConfigSet(t.Context(), "maxmemory", "1").Err())

	_, err := node.Queue().Enqueue(t.Context(), newTasks(1))
	requireCode(t, fault.Exhausted, err)

	leased := claim(t, node, 6)
	require.Len(t, leased, 6)
	for i, o := range []queue.Outcome{queue.Done, queue.Retry, queue.Snooze, queue.Dead, queue.Release} {
		require.NoError(t, settleOne(t, node, leased[i], o), "outcome %d", o)
	}
	extended, err := node.Queue().Extend(t.Context(), []queue.Ref{leased[5].Ref()})
	require.NoError(t, adminOne(t, extended, err))
	for _, state := range []queue.State{queue.Pending, queue.Scheduled, queue.DeadLetter} {
		for _, info := range listAll(t, node, state, 10) {
			errs, err := node.Queue().Admin.Remove(t.Context(), "q", []string{info.ID})
			require.NoError(t, adminOne(t, errs, err), "%s", state)
		}
	}
	claimed, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: 100 * time.Millisecond})
	require.NoError(t, err, "a worker that waits")
	require.Empty(t, claimed.Tasks)
}
