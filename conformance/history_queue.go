package conformance

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// stage is where a task is, as the model knows it.
type stage struct {
	state queue.State // empty: never enqueued
	token string      // of an active one; anyToken: of a claim whose answer nobody has seen
}

const anyToken = "?"

func (s stage) String() string {
	switch s.state {
	case "":
		return "not there"
	case queue.Active:
		return "active under " + shortToken(s.token)
	}
	return string(s.state)
}

// shortToken is enough of a token to tell it from others in a history.
func shortToken(token string) string {
	if n := len(token); n > 8 {
		token = "…" + token[n-8:]
	}
	return fmt.Sprintf("%q", token)
}

// taskQuestion is an operation on a task. A claim asks about every task, and is as many operations.
type taskQuestion struct {
	kind    taskKind
	id      string
	token   string        // of settle and extend
	outcome queue.Outcome // of settle: Done, Retry or Release
}

type taskKind string

const (
	taskEnqueue taskKind = "enqueue"
	taskClaim   taskKind = "claim"
	taskSettle  taskKind = "settle"
	taskExtend  taskKind = "extend"
)

func (q taskQuestion) about() string { return q.id }
func (q taskQuestion) reads() bool   { return q.kind == taskExtend }

// taskAnswer is how it was answered: a claim with the token, an enqueue as refused where it was a duplicate.
type taskAnswer struct {
	outcome outcome
	token   string
}

// taskModel is a task that one client alone would see. leasesEnd says that leases may have ended while the history was made.
func taskModel(leasesEnd bool) func(stage, taskQuestion, taskAnswer) []stage {
	return func(s stage, q taskQuestion, a taskAnswer) []stage {
		after, may := s, false
		switch q.kind {
		case taskEnqueue:
			may = s.state == "" || s.state == queue.Completed
			after = stage{state: queue.Pending}
			if a.outcome == refused && s.state == queue.Completed {
				return []stage{s} // its ID may be known for a while
			}
		case taskClaim:
			may = s.state == queue.Pending || leasesEnd && s.state == queue.Active
			after = stage{queue.Active, a.token}
			if a.outcome == unknown {
				after.token = anyToken
			}
		case taskSettle:
			may = s == stage{queue.Active, q.token}
			after = stage{state: queue.Pending}
			if q.outcome == queue.Done {
				after.state = queue.Completed
			}
		case taskExtend:
			may = s == stage{queue.Active, q.token}
		}
		switch {
		case a.outcome == unknown && may:
			return []stage{s, after}
		case a.outcome == unknown, a.outcome == refused && !may:
			return []stage{s}
		case a.outcome == done && may:
			return []stage{after}
		}
		return nil
	}
}

func describeTask(q taskQuestion, a taskAnswer) string {
	what := fmt.Sprintf("%s %s", q.kind, q.id)
	if q.kind == taskSettle {
		what += " as " + map[queue.Outcome]string{queue.Done: "done", queue.Retry: "to be retried", queue.Release: "released"}[q.outcome]
	}
	if q.token != "" {
		what += " under " + shortToken(q.token)
	}
	switch {
	case a.outcome == unknown:
		return what + " → unknown"
	case a.outcome == refused && q.kind == taskEnqueue:
		return what + " → duplicate"
	case a.outcome == refused:
		return what + " → lease lost"
	case q.kind == taskClaim:
		return what + " → under " + shortToken(a.token)
	}
	return what + " → done"
}

// historyTasks are so few that clients meet at each.
const historyTasks = 8

func historyTask(i int) string { return fmt.Sprint("t", i) }

// hand is a client who enqueues tasks, claims them and ends them, and tries old claims too.
type hand struct {
	*historian
	backend *queue.Backend
	number  uint64 // of the last settlements
	tasks   []queue.Leased
	old     []queue.Leased
}

func (h *hand) play() {
	switch n := rand.N(10); {
	case n < 3:
		h.enqueue(historyTask(rand.N(historyTasks)))
	case n < 6 || len(h.tasks) == 0 && len(h.old) == 0:
		h.claim()
	case n < 7 && len(h.old) > 0 || len(h.tasks) == 0:
		if len(h.old) > 0 {
			h.settle(anyOf(h.old...))
		}
	case n < 8:
		h.extend(anyOf(h.tasks...))
	default:
		l := h.tasks[0]
		h.tasks, h.old = h.tasks[1:], append(h.old, l)
		h.settle(l)
	}
}

func (h *hand) enqueue(id string) {
	h.record(taskQuestion{kind: taskEnqueue, id: id}, func() (any, outcome) {
		ctx, cancel := h.context()
		defer cancel()
		t := task(id)
		t.MaxAttempts = 1000
		r, err := h.backend.Enqueue(ctx, []queue.Task{t})
		o := h.outcomeOf("enqueue", alone(r, err, func(r queue.Receipt) error { return r.Err }))
		if o == done && r[0].Duplicate {
			o = refused
		}
		return taskAnswer{outcome: o}, o
	})
}

// claim is one operation for each task that it got. One that ended without an answer may have taken any.
func (h *hand) claim() {
	ctx, cancel := h.context()
	defer cancel()
	call := h.ticks.Add(1)
	claimed, err := h.backend.Claim(ctx, queue.Claim{
		Worker: fmt.Sprint("w", h.client), Queues: []string{"q"}, Max: anyOf(1, 1, 2), Wait: anyOf(0, 0, 2*time.Millisecond),
	})
	o := h.outcomeOf("claim", err)
	if ctx.Err() != nil && len(claimed.Tasks) == 0 {
		o = unknown
	}
	if o == unknown {
		h.unheard++
		for i := range historyTasks {
			h.note(call, taskQuestion{kind: taskClaim, id: historyTask(i)}, taskAnswer{outcome: unknown}, unknown)
		}
		return
	}
	for _, l := range claimed.Tasks {
		if l.Err != nil {
			h.e.Errorf("the record of %.60q: %v", l.ID, l.Err)
		}
		h.note(call, taskQuestion{kind: taskClaim, id: l.ID}, taskAnswer{token: l.Token}, done)
	}
	h.tasks = append(h.tasks, claimed.Tasks...)
}

func (h *hand) settle(l queue.Leased) {
	item := queue.Settlement{Ref: l.Ref(), Outcome: anyOf(queue.Done, queue.Done, queue.Retry, queue.Release)}
	h.record(taskQuestion{kind: taskSettle, id: l.ID, token: l.Token, outcome: item.Outcome}, func() (any, outcome) {
		ctx, cancel := h.context()
		defer cancel()
		h.number++
		r, err := h.backend.Settle(ctx, queue.Settlements{Worker: fmt.Sprint("w", h.client), Number: h.number, Items: []queue.Settlement{item}})
		a := taskAnswer{outcome: h.outcomeOf("settle", alone(r, err, itself), fault.LeaseLost)}
		return a, a.outcome
	})
}

func (h *hand) extend(l queue.Leased) {
	h.record(taskQuestion{kind: taskExtend, id: l.ID, token: l.Token}, func() (any, outcome) {
		ctx, cancel := h.context()
		defer cancel()
		r, err := h.backend.Extend(ctx, []queue.Ref{l.Ref()})
		a := taskAnswer{outcome: h.outcomeOf("extend", alone(r, err, itself), fault.LeaseLost)}
		return a, a.outcome
	})
}

// tasksAre makes a history of tasks and checks it.
func tasksAre(e *Env, run func(*history, func(*historian))) {
	lease := queue.DefaultLease
	if admin := e.Node.Queue().Admin; admin != nil {
		lease = 4 * e.Timing.Case
		require.NoError(e, admin.Configure(e.Context(), "q", queue.Properties{Lease: lease}))
	}
	h := newHistory(e)
	hands := make([]*hand, historyClients)
	claims := 0
	start := time.Now()
	run(h, func(c *historian) {
		if hands[c.client] == nil {
			hands[c.client] = &hand{historian: c, backend: c.node.Queue()}
		}
		hands[c.client].play()
	})
	for _, hand := range hands {
		claims += len(hand.tasks) + len(hand.old)
	}
	require.Positive(e, claims, "nobody has claimed anything")
	h.check(modelOf(stage{}, taskModel(time.Since(start) >= lease), describeTask))
}
