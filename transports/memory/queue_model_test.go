package memory_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/memory"
)

// queueModel knows of each task that was accepted what state it must be in. Time passes by hand.
type queueModel struct {
	clock   *handClock
	nodes   []*memory.Transport
	tasks   map[string]*modelTask
	claims  []queue.Leased // all that were ever given, stale ones too
	tokens  map[string]bool
	batches uint64
	next    int
	paused  bool
	totals  queue.Totals
}

type modelTask struct {
	state     queue.State
	priority  int
	due       time.Time // scheduled
	ends      time.Time // active: the lease; completed: what is known of it
	token     string
	cancel    bool
	attempts  int
	lost      int
	unique    string // still held
	retention time.Duration
}

const modelLease = 10 * time.Second

func (m *queueModel) backend(t *rapid.T) *queue.Backend {
	return rapid.SampledFrom(m.nodes).Draw(t, "node").Queue()
}

// anyID is one that may be there, in whatever state.
func (m *queueModel) anyID(t *rapid.T) string {
	return fmt.Sprint(rapid.IntRange(0, m.next).Draw(t, "id"))
}

func (m *queueModel) Enqueue(t *rapid.T) {
	id := fmt.Sprint(m.next)
	again := rapid.IntRange(0, 9).Draw(t, "again") == 0
	if again {
		id = m.anyID(t)
	} else {
		m.next++
	}
	model := &modelTask{
		state:     queue.Pending,
		priority:  rapid.SampledFrom([]int{0, 0, 5, 9}).Draw(t, "priority"),
		unique:    rapid.SampledFrom([]string{"", "", "u", "v"}).Draw(t, "unique"),
		retention: rapid.SampledFrom([]time.Duration{0, 5 * time.Second}).Draw(t, "retention"),
	}
	task := job(id, func(t *queue.Task) {
		t.Priority, t.UniqueKey, t.Retention = model.priority, model.unique, model.retention
	})
	if delay := rapid.IntRange(-1, 20).Draw(t, "delay"); delay > 0 {
		model.state, model.due = queue.Scheduled, m.clock.Now().Add(time.Duration(delay)*time.Second)
		task.RunAt = model.due
	}
	want := queue.Receipt{ID: id}
	if m.tasks[id] != nil {
		want.Duplicate = true
	} else if holder := m.holder(model.unique); holder != "" {
		want = queue.Receipt{ID: holder, Duplicate: true}
	}

	require.Equal(t, want, enqueue(t, m.backend(t), task))

	if want.Duplicate {
		m.totals.Duplicates++
		return
	}
	m.totals.Enqueued++
	m.tasks[id] = model
}

func (m *queueModel) holder(unique string) string {
	for id, task := range m.tasks {
		if unique != "" && task.unique == unique && !task.ended() {
			return id
		}
	}
	return ""
}

func (t *modelTask) ended() bool {
	return t.state == queue.Completed || t.state == queue.DeadLetter || t.state == queue.Cancelled
}

// settleTime does to the model what a claim does before it gives tasks.
func (m *queueModel) settleTime() {
	now := m.clock.Now()
	for _, task := range m.tasks {
		switch {
		case task.state == queue.Scheduled && !task.due.After(now):
			task.state = queue.Pending
		case task.state == queue.Active && !task.ends.After(now):
			task.lost++
			m.totals.Lost++
			switch {
			case task.cancel:
				m.end(task, queue.Cancelled)
			case task.lost > 2:
				m.end(task, queue.DeadLetter)
			default:
				task.state = queue.Pending
			}
		}
	}
}

func (m *queueModel) end(task *modelTask, state queue.State) {
	task.state, task.cancel = state, false
	switch state {
	case queue.DeadLetter:
		m.totals.Dead++
	case queue.Cancelled:
		m.totals.Cancelled++
	}
}

func (m *queueModel) Claim(t *rapid.T) {
	n := rapid.IntRange(1, 6).Draw(t, "n")
	m.settleTime()
	pending := 0
	for _, task := range m.tasks {
		if task.state == queue.Pending && !m.paused {
			pending++
		}
	}

	claimed := claim(t, m.backend(t), n, 0)

	require.Len(t, claimed, min(n, pending))
	priority, left := 9, 0
	for _, c := range claimed {
		task := m.tasks[c.ID]
		require.NotNil(t, task)
		require.Equal(t, queue.Pending, task.state, c.ID)
		require.LessOrEqual(t, task.priority, priority)
		require.False(t, m.tokens[c.Token], "a token never repeats")
		require.Equal(t, []int{task.attempts, task.lost}, []int{c.Attempts, c.Lost})
		m.tokens[c.Token] = true
		priority = task.priority
		task.state, task.token, task.cancel, task.ends = queue.Active, c.Token, false, m.clock.Now().Add(modelLease)
	}
	for _, task := range m.tasks {
		if task.state == queue.Pending {
			left = max(left, task.priority)
		}
	}
	if len(claimed) > 0 {
		require.LessOrEqual(t, left, priority, "a more urgent task was left")
	}
	m.claims = append(m.claims, claimed...)
}

func (m *queueModel) Settle(t *rapid.T) {
	if len(m.claims) == 0 {
		t.Skip("nothing was claimed")
	}
	held := rapid.SampledFrom(m.claims).Draw(t, "claim")
	outcome := queue.Outcome(rapid.IntRange(int(queue.Done), int(queue.Release)).Draw(t, "outcome"))
	delay := rapid.IntRange(0, 5).Draw(t, "delay")
	task := m.tasks[held.ID]
	current := task != nil && task.state == queue.Active && task.token == held.Token
	m.batches++
	batch := queue.Settlements{Worker: "w", Number: m.batches, Items: []queue.Settlement{
		{Ref: held.Ref(), Outcome: outcome, Delay: time.Duration(delay) * time.Second, Error: "e"},
	}}

	errs, err := m.backend(t).Settle(background, batch)
	answer := one(t, errs, err)
	if rapid.Bool().Draw(t, "the reply was lost") {
		errs, err = m.backend(t).Settle(background, batch)
		require.Equal(t, answer, one(t, errs, err))
	}

	if !current {
		require.Equal(t, fault.LeaseLost, fault.CodeOf(answer))
		m.totals.Stale++
		return
	}
	require.NoError(t, answer)
	m.settled(held.ID, task, outcome, delay)
}

func (m *queueModel) settled(id string, task *modelTask, outcome queue.Outcome, delay int) {
	if outcome == queue.Retry || outcome == queue.Dead {
		task.attempts++
	}
	switch {
	case outcome == queue.Done:
		m.totals.Completed++
		m.end(task, queue.Completed)
		task.ends = m.clock.Now().Add(task.retention)
		if task.retention == 0 {
			delete(m.tasks, id)
		}
	case task.cancel:
		m.end(task, queue.Cancelled)
	case outcome == queue.Dead:
		m.end(task, queue.DeadLetter)
	case outcome == queue.Release:
		m.totals.Released++
		task.state = queue.Pending
	default:
		if outcome == queue.Retry {
			m.totals.Retried++
		} else {
			m.totals.Snoozed++
		}
		task.state, task.due = queue.Scheduled, m.clock.Now().Add(time.Duration(delay)*time.Second)
		if delay == 0 {
			task.state = queue.Pending
		}
	}
}

func (m *queueModel) Extend(t *rapid.T) {
	if len(m.claims) == 0 {
		t.Skip("nothing was claimed")
	}
	held := rapid.SampledFrom(m.claims).Draw(t, "claim")
	task := m.tasks[held.ID]

	errs, err := m.backend(t).Extend(background, []queue.Ref{held.Ref()})

	code := fault.CodeOf(one(t, errs, err))
	if task == nil || task.state != queue.Active || task.token != held.Token {
		require.Equal(t, fault.LeaseLost, code)
		return
	}
	require.Equal(t, task.cancel, code == fault.Canceled)
	task.ends = m.clock.Now().Add(modelLease)
}

func (m *queueModel) Operate(t *rapid.T) {
	id, b := m.anyID(t), m.backend(t)
	task := m.tasks[id]
	switch rapid.IntRange(0, 2).Draw(t, "operation") {
	case 0:
		want := fault.OK
		switch {
		case task == nil:
			want = fault.NotFound
		case task.state == queue.Active:
			want = fault.Conflict
		default:
			delete(m.tasks, id)
		}
		require.Equal(t, want, act(t, remove(b), id))
	case 1:
		want := fault.OK
		switch {
		case task == nil:
			want = fault.NotFound
		case task.ended() && m.holder(task.unique) != "", task.state == queue.Pending, task.state == queue.Active:
			want = fault.Conflict
		default:
			if task.ended() {
				task.attempts, task.lost = 0, 0
			}
			task.state = queue.Pending
		}
		require.Equal(t, want, act(t, requeue(b), id))
	case 2:
		want := fault.OK
		switch {
		case task == nil:
			want = fault.NotFound
		case task.ended():
			want = fault.Conflict
		case task.state == queue.Active:
			task.cancel = true
		default:
			m.end(task, queue.Cancelled)
		}
		require.Equal(t, want, act(t, cancel(b), id))
	}
}

func (m *queueModel) Pause(t *rapid.T) {
	m.paused = rapid.Bool().Draw(t, "paused")
	if m.paused {
		require.NoError(t, m.backend(t).Admin.Pause(background, "q"))
		return
	}
	require.NoError(t, m.backend(t).Admin.Resume(background, "q"))
}

func (m *queueModel) PassTime(t *rapid.T) {
	m.clock.pass(time.Duration(rapid.IntRange(1, 12).Draw(t, "seconds")) * time.Second)
	for id, task := range m.tasks {
		if task.state == queue.Completed && !task.ends.After(m.clock.Now()) {
			delete(m.tasks, id)
		}
	}
}

// check finds every accepted task in exactly one state, the right one, and in that state's listing.
func (m *queueModel) check(t *rapid.T) {
	b := m.backend(t)
	counts, listed := map[queue.State]int64{}, 0
	for _, task := range m.tasks {
		counts[task.state]++
	}
	s := stats(t, b)
	require.Equal(t, queue.Stats{
		Queue: "q", Paused: m.paused,
		Pending: counts[queue.Pending], Scheduled: counts[queue.Scheduled], Active: counts[queue.Active],
		Completed: counts[queue.Completed], Dead: counts[queue.DeadLetter], Cancelled: counts[queue.Cancelled],
		OldestPending: s.OldestPending, Totals: m.totals,
	}, s)
	for _, state := range []queue.State{
		queue.Pending, queue.Scheduled, queue.Active, queue.Completed, queue.DeadLetter, queue.Cancelled,
	} {
		names := pages(func(cursor string) (names []string, next string) {
			page, err := b.Admin.List(background, queue.List{Queue: "q", State: state, Cursor: cursor, Limit: 3})
			require.NoError(t, err)
			for _, info := range page.Tasks {
				names = append(names, info.ID)
			}
			return names, page.Next
		})
		for _, id := range names {
			require.NotNil(t, m.tasks[id], id)
			require.Equal(t, m.tasks[id].state, state, id)
			require.Equal(t, state, find(t, b, id).State, id)
		}
		slices.Sort(names)
		require.Len(t, slices.Compact(names), len(names))
		listed += len(names)
	}
	require.Equal(t, len(m.tasks), listed)
}

func TestEveryAcceptedTaskIsInExactlyOneState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := newHandClock()
		store := memory.Store{Clock: clock}
		m := &queueModel{clock: clock, tasks: map[string]*modelTask{}, tokens: map[string]bool{}}
		for range 2 {
			node, err := store.Open("test")
			require.NoError(t, err)
			defer func() { require.NoError(t, node.Close()) }()
			m.nodes = append(m.nodes, node)
		}
		require.NoError(t, m.nodes[0].Queue().Admin.Configure(background, "q", queue.Properties{Lease: modelLease}))
		t.Repeat(map[string]func(*rapid.T){
			"enqueue": m.Enqueue, "enqueue again": m.Enqueue, "claim": m.Claim, "settle": m.Settle, "settle again": m.Settle,
			"extend": m.Extend, "operate": m.Operate, "pause": m.Pause, "time": m.PassTime, "": m.check,
		})
	})
}
