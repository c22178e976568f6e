package redis_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
)

// largeModelPayload makes a task one that is kept in two parts.
const largeModelPayload = 20 << 10

// queueModel is what queue q should hold, in the plainest form.
type queueModel struct {
	store   *client.Client
	larges  string // the key of the payloads that are kept apart
	node    queue.Backend
	tasks   map[string]*modelTask
	lines   map[int][]string  // pending tasks by priority
	unique  map[string]string // key: holder
	known   map[string]bool   // IDs that were chosen, of tasks that are gone
	paused  bool
	totals  queue.Totals
	removed int64

	leases []queue.Leased // those ever given
	number uint64
	last   queue.Settlements
	answer []error
}

type modelTask struct {
	queue.Task
	state  queue.State
	token  string
	cancel bool
}

func (m *queueModel) id(t *rapid.T) string {
	return fmt.Sprint("task-", rapid.IntRange(0, 7).Draw(t, "id"))
}

func (m *queueModel) end(task *modelTask, s queue.State) {
	task.state, task.cancel = s, false
	if m.unique[task.UniqueKey] == task.ID {
		delete(m.unique, task.UniqueKey)
	}
}

func (m *queueModel) gone(task *modelTask) {
	m.end(task, "")
	delete(m.tasks, task.ID)
	if task.CallerID {
		m.known[task.ID] = true
	}
}

func (m *queueModel) leave(task *modelTask) {
	m.lines[task.Priority] = slices.DeleteFunc(m.lines[task.Priority], func(id string) bool { return id == task.ID })
}

func (m *queueModel) lineUp(task *modelTask, front bool) {
	task.state = queue.Pending
	if front {
		m.lines[task.Priority] = slices.Insert(m.lines[task.Priority], 0, task.ID)
	} else {
		m.lines[task.Priority] = append(m.lines[task.Priority], task.ID)
	}
}

func (m *queueModel) Enqueue(t *rapid.T) {
	tasks := make([]queue.Task, rapid.IntRange(1, 4).Draw(t, "tasks"))
	for i := range tasks {
		tasks[i] = queue.Task{
			ID: m.id(t), Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1,
			CallerID: rapid.IntRange(0, 3).Draw(t, "caller") == 0,
			Priority: rapid.SampledFrom([]int{0, 0, 0, 3, 9}).Draw(t, "priority"),
			Payload:  make([]byte, rapid.SampledFrom([]int{0, 100, largeModelPayload}).Draw(t, "payload")),
		}
		switch rapid.IntRange(0, 5).Draw(t, "sort") {
		case 0:
			tasks[i].RunAt = time.Now().Add(time.Hour)
		case 1:
			tasks[i].RunAt = time.Now().Add(-time.Hour)
		case 2:
			tasks[i].UniqueKey = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "unique")
		case 3:
			tasks[i].Retention = time.Hour
		}
	}
	receipts, err := m.node.Enqueue(t.Context(), tasks)
	require.NoError(t, err)
	for i, task := range tasks {
		want := queue.Receipt{ID: task.ID}
		holder, held := m.unique[task.UniqueKey]
		switch {
		case m.tasks[task.ID] != nil, task.CallerID && m.known[task.ID]:
			want.Duplicate = true
		case held:
			want.ID, want.Duplicate = holder, true
		}
		require.Equal(t, want, receipts[i])
		if want.Duplicate {
			m.totals.Duplicates++
			continue
		}
		m.totals.Enqueued++
		stored := &modelTask{Task: task, state: queue.Scheduled}
		m.tasks[task.ID] = stored
		if task.UniqueKey != "" {
			m.unique[task.UniqueKey] = task.ID
		}
		if !task.RunAt.After(time.Now()) {
			m.lineUp(stored, false)
		}
	}
}

func (m *queueModel) Claim(t *rapid.T) {
	limit := rapid.IntRange(1, 5).Draw(t, "max")
	claimed, err := m.node.Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"none", "q"}, Max: limit})
	require.NoError(t, err)
	want := []string{}
	if !m.paused {
		for _, level := range []int{9, 3, 0} {
			take := min(limit-len(want), len(m.lines[level]))
			want = append(want, m.lines[level][:take]...)
			m.lines[level] = m.lines[level][take:]
		}
	}
	require.Equal(t, want, leasedIDs(claimed.Tasks))
	for _, l := range claimed.Tasks {
		task := m.tasks[l.ID]
		require.NoError(t, l.Err)
		require.Len(t, l.Payload, len(task.Payload))
		require.Equal(t, task.Attempts, l.Attempts)
		task.state, task.token = queue.Active, l.Token
	}
	m.leases = append(m.leases, claimed.Tasks...)
}

func (m *queueModel) Settle(t *rapid.T) {
	if len(m.leases) == 0 {
		t.Skip("nothing was claimed")
	}
	items := make([]queue.Settlement, rapid.IntRange(1, 4).Draw(t, "items"))
	for i := range items {
		items[i].Ref = rapid.SampledFrom(m.leases).Draw(t, "lease").Ref()
		items[i].Outcome = queue.Outcome(rapid.IntRange(int(queue.Done), int(queue.Release)).Draw(t, "outcome"))
		items[i].Delay = time.Hour
	}
	m.number++
	m.last = queue.Settlements{Worker: "w", Number: m.number, Items: items}
	errs, err := m.node.Settle(t.Context(), m.last)
	require.NoError(t, err)
	m.answer = errs
	m.settled(t, items, errs)
}

// settled applies a batch: which of its leases stand is known before any of it is done; releases go to the front in the
// order of the batch.
func (m *queueModel) settled(t *rapid.T, items []queue.Settlement, errs []error) {
	stand := make([]bool, len(items))
	seen := map[queue.Ref]bool{}
	for i, s := range items {
		task := m.tasks[s.ID]
		stand[i] = task != nil && task.state == queue.Active && task.token == s.Token && !seen[s.Ref]
		require.Equal(t, stand[i], errs[i] == nil, "item %d of %v", i, items)
		seen[s.Ref] = seen[s.Ref] || stand[i]
		if !stand[i] {
			require.Equal(t, fault.LeaseLost, fault.CodeOf(errs[i]))
			m.totals.Stale++
		}
	}
	for i, s := range slices.Backward(items) {
		if stand[i] {
			m.settle(m.tasks[s.ID], s.Outcome)
		}
	}
}

func (m *queueModel) settle(task *modelTask, o queue.Outcome) {
	if o == queue.Retry || o == queue.Dead {
		task.Attempts++
	}
	switch {
	case o == queue.Done && task.Retention > 0:
		m.totals.Completed++
		m.end(task, queue.Completed)
	case o == queue.Done:
		m.totals.Completed++
		m.removed++
		m.gone(task)
	case task.cancel:
		m.totals.Cancelled++
		m.end(task, queue.Cancelled)
	case o == queue.Retry:
		m.totals.Retried++
		task.state = queue.Scheduled
	case o == queue.Snooze:
		m.totals.Snoozed++
		task.state = queue.Scheduled
	case o == queue.Dead:
		m.totals.Dead++
		m.end(task, queue.DeadLetter)
	case o == queue.Release:
		m.totals.Released++
		m.lineUp(task, true)
	}
}

func (m *queueModel) RepeatTheLastBatch(t *rapid.T) {
	if m.number == 0 {
		t.Skip("nothing was settled")
	}
	errs, err := m.node.Settle(t.Context(), m.last)
	require.NoError(t, err)
	require.Equal(t, m.answer, errs)
}

// answerOf is what an administration call says of one task.
func answerOf(t *rapid.T, errs []error, err error) fault.Code {
	require.NoError(t, err)
	require.Len(t, errs, 1)
	return fault.CodeOf(errs[0])
}

func (m *queueModel) Remove(t *rapid.T) {
	id := m.id(t)
	errs, err := m.node.Admin.Remove(t.Context(), "q", []string{id})
	got, task := answerOf(t, errs, err), m.tasks[id]
	switch {
	case task == nil:
		require.Equal(t, fault.NotFound, got)
	case task.state == queue.Active:
		require.Equal(t, fault.Conflict, got)
	default:
		require.Equal(t, fault.OK, got)
		m.leave(task)
		m.gone(task)
		m.removed++
	}
}

func (m *queueModel) Cancel(t *rapid.T) {
	id := m.id(t)
	errs, err := m.node.Admin.Cancel(t.Context(), "q", []string{id})
	got, task := answerOf(t, errs, err), m.tasks[id]
	switch {
	case task == nil:
		require.Equal(t, fault.NotFound, got)
	case task.state == queue.Active:
		require.Equal(t, fault.OK, got)
		task.cancel = true
	case task.state == queue.Pending, task.state == queue.Scheduled:
		require.Equal(t, fault.OK, got)
		m.leave(task)
		m.end(task, queue.Cancelled)
		m.totals.Cancelled++
	default:
		require.Equal(t, fault.Conflict, got)
	}
}

func (m *queueModel) Requeue(t *rapid.T) {
	id := m.id(t)
	errs, err := m.node.Admin.Requeue(t.Context(), "q", []string{id})
	got, task := answerOf(t, errs, err), m.tasks[id]
	switch {
	case task == nil:
		require.Equal(t, fault.NotFound, got)
	case task.state == queue.Active, task.state == queue.Pending,
		task.state != queue.Scheduled && m.unique[task.UniqueKey] != "":
		require.Equal(t, fault.Conflict, got)
	default:
		require.Equal(t, fault.OK, got)
		if task.state != queue.Scheduled {
			task.Attempts = 0
			if task.UniqueKey != "" {
				m.unique[task.UniqueKey] = task.ID
			}
		}
		m.lineUp(task, false)
	}
}

func (m *queueModel) PauseOrResume(t *rapid.T) {
	m.paused = !m.paused
	if m.paused {
		require.NoError(t, m.node.Admin.Pause(t.Context(), "q"))
	} else {
		require.NoError(t, m.node.Admin.Resume(t.Context(), "q"))
	}
}

// Check compares the store with the model: every accepted task is in exactly one state.
func (m *queueModel) Check(t *rapid.T) {
	s, err := m.node.Admin.Stats(t.Context(), "q")
	require.NoError(t, err)
	count := map[queue.State]int64{}
	for _, task := range m.tasks {
		count[task.state]++
	}
	require.Equal(t, queue.Stats{
		Queue: "q", Paused: m.paused, OldestPending: s.OldestPending, Totals: m.totals,
		Pending: count[queue.Pending], Scheduled: count[queue.Scheduled], Active: count[queue.Active],
		Completed: count[queue.Completed], Dead: count[queue.DeadLetter], Cancelled: count[queue.Cancelled],
	}, s)
	require.Equal(t, s.Totals.Enqueued, s.Pending+s.Scheduled+s.Active+s.Completed+s.Dead+s.Cancelled+m.removed)

	line := []string{}
	for _, level := range []int{9, 3, 0} {
		line = append(line, m.lines[level]...)
	}
	page, err := m.node.Admin.List(t.Context(), queue.List{Queue: "q", State: queue.Pending})
	require.NoError(t, err)
	require.Equal(t, line, infoIDs(page.Tasks))
	for id, task := range m.tasks { // one of them, whichever comes first
		info, err := m.node.Admin.Find(t.Context(), "q", id)
		require.NoError(t, err)
		require.Equal(t, task.state, info.State, id)
		require.Equal(t, task.Attempts, info.Attempts, id)
		require.NoError(t, info.Err)
		require.Len(t, info.Payload, len(task.Payload))
		break
	}
	large := 0
	for _, task := range m.tasks {
		if len(task.Payload) == largeModelPayload {
			large++
		}
	}
	kept, err := m.store.HLen(t.Context(), m.larges).Result()
	require.NoError(t, err)
	require.EqualValues(t, large, kept, "payloads kept apart")
}

func TestQueueDoesWhatItsModelDoes(t *testing.T) {
	t.Parallel()
	url := testserver.Shared(t).URL()
	store := plain(t, url)
	rapid.Check(t, func(rt *rapid.T) {
		namespace := testserver.Namespace(t)
		node := openURL(t, url, namespace)
		defer func() { require.NoError(rt, node.Close()) }()
		m := &queueModel{
			store: store, larges: "{bp:" + namespace + ":q0}:l:q",
			node: *node.Queue(), tasks: map[string]*modelTask{}, lines: map[int][]string{}, unique: map[string]string{}, known: map[string]bool{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"enqueue": m.Enqueue, "claim": m.Claim, "settle": m.Settle, "repeat": m.RepeatTheLastBatch,
			"remove": m.Remove, "cancel": m.Cancel, "requeue": m.Requeue, "pause": m.PauseOrResume, "": m.Check,
		})
	})
}
