package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

// queueOn asks a node's queue for one thing at a time, as one worker who numbers its batches of settlements. Unless told
// otherwise it is about the queue "q". Methods follow the rules of cacheOn.
type queueOn struct {
	e *Env
	*queue.Backend
	worker string
	number *uint64
}

func onQueue(e *Env, node transports.Transport) queueOn {
	return queueOn{e, node.Queue(), "worker " + uuid.NewString(), new(uint64)}
}

// queueNodes are two nodes of the case.
func queueNodes(e *Env) (here, there queueOn) { return onQueue(e, e.Node), onQueue(e, e.Open()) }

// task is one that needs nothing special.
func task(id string) queue.Task {
	return queue.Task{ID: id, Kind: "k", Queue: "q", Payload: []byte("payload of " + id), MaxAttempts: 5, MaxLost: 5}
}

// taskWith is one that needs something.
func taskWith(id string, with func(*queue.Task)) queue.Task {
	t := task(id)
	with(&t)
	return t
}

// tasks are n of them, named prefix0 and so on.
func tasks(prefix string, n int) []queue.Task {
	all := make([]queue.Task, n)
	for i := range all {
		all[i] = task(fmt.Sprint(prefix, i))
	}
	return all
}

func (q queueOn) enqueue(t queue.Task) queue.Receipt {
	q.e.Helper()
	receipts, err := q.Enqueue(q.e.Context(), []queue.Task{t})
	return only(q.e, receipts, err)
}

// mustEnqueue requires that all are accepted, in batches that the transport takes.
func (q queueOn) mustEnqueue(all ...queue.Task) {
	q.e.Helper()
	for len(all) > 0 {
		n := min(len(all), q.Capabilities.MaxBatch)
		receipts, err := q.Enqueue(q.e.Context(), all[:n])
		require.NoError(q.e, err, "enqueue")
		require.Len(q.e, receipts, n, "one receipt for each task")
		for i, r := range receipts {
			require.NoErrorf(q.e, r.Err, "enqueue %.60q", all[i].ID)
			require.Falsef(q.e, r.Duplicate, "%.60q is a duplicate of %.60q", all[i].ID, r.ID)
			require.Equal(q.e, all[i].ID, r.ID, "the receipt's ID")
		}
		all = all[n:]
	}
}

// mustDuplicate requires that the task is not stored, because of another.
func (q queueOn) mustDuplicate(t queue.Task, of string) {
	q.e.Helper()
	r := q.enqueue(t)
	require.NoErrorf(q.e, r.Err, "enqueue %.60q", t.ID)
	require.Truef(q.e, r.Duplicate, "%.60q was stored beside %.60q", t.ID, of)
	require.Equal(q.e, of, r.ID, "the ID of the task in the way")
}

// claim takes what is due now.
func (q queueOn) claim(max int, queues ...string) []queue.Leased {
	q.e.Helper()
	if len(queues) == 0 {
		queues = []string{"q"}
	}
	claimed, err := q.Claim(q.e.Context(), queue.Claim{Worker: q.worker, Queues: queues, Max: max})
	require.NoError(q.e, err, "claim")
	require.LessOrEqual(q.e, len(claimed.Tasks), max, "no more than Max tasks")
	for _, l := range claimed.Tasks {
		require.NoErrorf(q.e, l.Err, "the record of %.60q", l.ID)
		require.NotEmptyf(q.e, l.Token, "the token of %.60q", l.ID)
		require.Positive(q.e, l.Lease, "the length of the lease")
	}
	return claimed.Tasks
}

// mustClaim waits for one task, and requires that it is this one.
func (q queueOn) mustClaim(id string, queues ...string) queue.Leased {
	q.e.Helper()
	l := q.mustClaimAny(queues...)
	require.Equalf(q.e, id, l.ID, "the task that is next in line")
	return l
}

// mustClaimAny waits for one task.
func (q queueOn) mustClaimAny(queues ...string) queue.Leased {
	q.e.Helper()
	return q.mustClaimMany(1, queues...)[0]
}

// mustClaimMany waits for n tasks, and gives them in the order in which they came.
func (q queueOn) mustClaimMany(n int, queues ...string) []queue.Leased {
	q.e.Helper()
	var all []queue.Leased
	q.e.Eventually(func() bool {
		all = append(all, q.claim(n-len(all), queues...)...)
		return len(all) == n
	}, "%d tasks to claim", n)
	return all
}

// mustHaveNone requires that nothing is due.
func (q queueOn) mustHaveNone(queues ...string) {
	q.e.Helper()
	require.Empty(q.e, idsOf(q.claim(10, queues...)), "tasks that nobody should get now")
}

// mustRunAll claims and completes until the tasks with these IDs are done, and requires that there are no others.
func (q queueOn) mustRunAll(ids ...string) {
	q.e.Helper()
	all := q.mustClaimMany(len(ids))
	require.ElementsMatch(q.e, ids, idsOf(all))
	q.mustSettle(queue.Done, all...)
	q.mustHaveNone()
}

func idsOf(all []queue.Leased) []string {
	ids := make([]string, len(all))
	for i, l := range all {
		ids[i] = l.ID
	}
	return ids
}

func taskIDs(all []queue.Task) []string {
	ids := make([]string, len(all))
	for i, t := range all {
		ids[i] = t.ID
	}
	return ids
}

// settle sends the next batch of this worker.
func (q queueOn) settle(items ...queue.Settlement) []error {
	q.e.Helper()
	*q.number++
	return q.settleAs(*q.number, items...)
}

// settleAs sends a batch with a number.
func (q queueOn) settleAs(number uint64, items ...queue.Settlement) []error {
	q.e.Helper()
	errs, err := q.Settle(q.e.Context(), queue.Settlements{Worker: q.worker, Number: number, Items: items})
	require.NoError(q.e, err, "settle")
	require.Len(q.e, errs, len(items), "one answer for each settlement")
	return errs
}

func (q queueOn) mustSettle(outcome queue.Outcome, all ...queue.Leased) {
	q.e.Helper()
	for len(all) > 0 {
		n := min(len(all), q.Capabilities.MaxBatch)
		items := make([]queue.Settlement, n)
		for i, l := range all[:n] {
			items[i] = queue.Settlement{Ref: l.Ref(), Outcome: outcome}
		}
		for i, err := range q.settle(items...) {
			require.NoErrorf(q.e, err, "settle %.60q", all[i].ID)
		}
		all = all[n:]
	}
}

// mustSettleAs settles one claim with all that its outcome says.
func (q queueOn) mustSettleAs(l queue.Leased, s queue.Settlement) {
	q.e.Helper()
	s.Ref = l.Ref()
	require.NoErrorf(q.e, q.settle(s)[0], "settle %.60q", l.ID)
}

// mustBeLost requires that a claim is over: neither settling nor extending it does anything.
func (q queueOn) mustBeLost(l queue.Leased, outcome queue.Outcome) {
	q.e.Helper()
	requireCode(q.e, fault.LeaseLost, q.settle(queue.Settlement{Ref: l.Ref(), Outcome: outcome, Error: "stale"})[0], "settling %q under a stale claim", l.ID)
	requireCode(q.e, fault.LeaseLost, q.extend(l), "extending %q under a stale claim", l.ID)
}

func (q queueOn) extend(l queue.Leased) error {
	q.e.Helper()
	errs, err := q.Extend(q.e.Context(), []queue.Ref{l.Ref()})
	return only(q.e, errs, err)
}

// span is a lease or delay of so many beats that the queue keeps as it is.
func (q queueOn) span(beats int) time.Duration {
	d := max(q.e.Timing.Beat, 2*q.Capabilities.MinLease) * time.Duration(beats)
	if g := q.Capabilities.Granularity; g > 0 {
		d = (d + g - 1) / g * g
	}
	return d
}

// late is how late something may come that is to come at a time.
func (q queueOn) late() time.Duration {
	return q.Capabilities.Granularity + q.Capabilities.Lateness + slack
}

// mustComeAs requires that something comes on time, as far as the client can be sure: found before its time has passed
// since before it was asked for is too early; not found by a question sent long after is too late.
func (q queueOn) mustComeAs(g given, what string, look func() bool) {
	q.e.Helper()
	latest := g.after.Add(g.ttl + q.late())
	for {
		sent := time.Now()
		if look() {
			if passed := time.Since(g.before); passed < g.ttl {
				q.e.Errorf("%s came early: after %v of %v", what, passed, g.ttl)
				q.e.FailNow()
			}
			return
		}
		if sent.After(latest) {
			q.e.Errorf("%s came late: not there after %v, asked for in %v", what, sent.Sub(g.after), g.ttl)
			q.e.FailNow()
		}
		q.e.sleep(max(time.Millisecond, q.e.Timing.Beat/20))
	}
}

// mustComeBack requires that a claimed task is given to another claim when its lease is over, not before.
func (q queueOn) mustComeBack(g given, id string) queue.Leased {
	q.e.Helper()
	var again []queue.Leased
	q.mustComeAs(g, "the task "+id, func() bool {
		again = q.claim(1)
		return len(again) > 0
	})
	require.Equal(q.e, id, again[0].ID)
	return again[0]
}

// lends makes leases of the queue short, and tells how long.
func (q queueOn) lends(beats int) time.Duration {
	q.e.Helper()
	lease := q.span(beats)
	require.NoError(q.e, q.Admin.Configure(q.e.Context(), "q", queue.Properties{Lease: lease}), "configure")
	return lease
}

// leasing claims a task under a lease of a certain length.
func (q queueOn) leasing(id string, lease time.Duration) (l queue.Leased, g given) {
	q.e.Helper()
	g = giving(lease, func() { l = q.mustClaim(id) })
	require.Equal(q.e, lease, l.Lease, "the lease is as the queue's properties say")
	return l, g
}

// lose claims a task and lets its lease be over. The answers are the stale claim and the next one, which lasts.
func (q queueOn) lose(id string, by queueOn) (stale, next queue.Leased) {
	q.e.Helper()
	stale, g := by.leasing(id, by.lends(1))
	q.lends(1000)
	return stale, q.mustComeBack(g, id)
}

// claiming is a claim that waits on a goroutine of its own.
type claiming struct {
	e      *Env
	result chan waited
	cancel context.CancelFunc
}

type waited struct {
	tasks []queue.Leased
	err   error
	took  time.Duration
}

// wait claims one task, again and again while nothing comes, as a worker does.
func (q queueOn) wait(queues ...string) *claiming {
	if len(queues) == 0 {
		queues = []string{"q"}
	}
	ctx, cancel := context.WithCancel(q.e.Context())
	w := &claiming{e: q.e, result: make(chan waited, 1), cancel: cancel}
	start := time.Now()
	go func() {
		for {
			claimed, err := q.Claim(ctx, queue.Claim{Worker: q.worker, Queues: queues, Max: 1, Wait: time.Hour})
			if err != nil || len(claimed.Tasks) > 0 || ctx.Err() != nil {
				w.result <- waited{claimed.Tasks, err, time.Since(start)}
				return
			}
		}
	}()
	q.e.Cleanup(cancel)
	q.e.sleep(q.e.Timing.Beat / 5) // mostly it waits by now
	return w
}

// mustGet requires that the wait ends with this task.
func (w *claiming) mustGet(id string) queue.Leased {
	w.e.Helper()
	got := Await(w.e, w.result, "the task %s, by a claim that waits", id)
	require.NoError(w.e, got.err)
	require.Equal(w.e, []string{id}, idsOf(got.tasks))
	return got.tasks[0]
}

// What administration tells.

func (q queueOn) stats() queue.Stats {
	q.e.Helper()
	s, err := q.Admin.Stats(q.e.Context(), "q")
	require.NoError(q.e, err, "stats")
	require.Equal(q.e, "q", s.Queue)
	return s
}

// states counts tasks by state.
func states(s queue.Stats) map[queue.State]int64 {
	all := map[queue.State]int64{
		queue.Pending: s.Pending, queue.Scheduled: s.Scheduled, queue.Active: s.Active,
		queue.Completed: s.Completed, queue.DeadLetter: s.Dead, queue.Cancelled: s.Cancelled,
	}
	for state, n := range all {
		if n == 0 {
			delete(all, state)
		}
	}
	return all
}

// mustCount requires how many tasks there are in each state; none where it is not said.
func (q queueOn) mustCount(want map[queue.State]int64) {
	q.e.Helper()
	require.Equal(q.e, want, states(q.stats()), "tasks by state")
}

// mustFind requires that the task is in the state.
func (q queueOn) mustFind(id string, state queue.State) queue.Info {
	q.e.Helper()
	info, err := q.Admin.Find(q.e.Context(), "q", id)
	require.NoErrorf(q.e, err, "find %.60q", id)
	require.NoErrorf(q.e, info.Err, "the record of %.60q", id)
	require.Equalf(q.e, state, info.State, "the state of %.60q", id)
	require.Equal(q.e, id, info.ID)
	require.Equal(q.e, "q", info.Queue)
	return info
}

// mustForget requires that there is no such task.
func (q queueOn) mustForget(id string) {
	q.e.Helper()
	_, err := q.Admin.Find(q.e.Context(), "q", id)
	requireCode(q.e, fault.NotFound, err, "find %q", id)
}

// list is all tasks of a state, in pages of a few.
func (q queueOn) list(state queue.State, limit int) []queue.Info {
	q.e.Helper()
	var all []queue.Info
	l := queue.List{Queue: "q", State: state, Limit: limit}
	for range 10_000 {
		page, err := q.Admin.List(q.e.Context(), l)
		require.NoError(q.e, err, "list %s", state)
		for _, info := range page.Tasks {
			require.NoErrorf(q.e, info.Err, "the record of %.60q", info.ID)
			require.Equal(q.e, state, info.State)
		}
		all = append(all, page.Tasks...)
		if page.Next == "" {
			return all
		}
		l.Cursor = page.Next
	}
	q.e.Errorf("the listing does not end")
	q.e.FailNow()
	return nil
}

func infoIDs(all []queue.Info) []string {
	ids := make([]string, len(all))
	for i, info := range all {
		ids[i] = info.ID
	}
	return ids
}

// operation is one of Admin's on tasks by ID.
type operation func(ctx context.Context, queue string, ids []string) ([]error, error)

// each does it to one task.
func (q queueOn) each(do operation, id string) error {
	q.e.Helper()
	errs, err := do(q.e.Context(), "q", []string{id})
	return only(q.e, errs, err)
}

// bring makes a task and brings it into a state.
func (q queueOn) bring(id string, state queue.State) {
	q.e.Helper()
	t := taskWith(id, func(t *queue.Task) { t.Retention = time.Hour })
	if state == queue.Scheduled {
		t.RunAt = time.Now().Add(time.Hour)
	}
	q.mustEnqueue(t)
	switch state {
	case queue.Active:
		q.mustClaim(id)
	case queue.Completed:
		q.mustSettle(queue.Done, q.mustClaim(id))
	case queue.DeadLetter:
		q.mustSettle(queue.Dead, q.mustClaim(id))
	case queue.Cancelled:
		require.NoError(q.e, q.each(q.Admin.Cancel, id))
	}
	q.mustFind(id, state)
}

// allStates are those a task can be in. Pending is last, so that bringing tasks into each claims the right ones.
var allStates = []queue.State{queue.Scheduled, queue.Active, queue.Completed, queue.DeadLetter, queue.Cancelled, queue.Pending}

// inEachState brings one task into each state, named after it.
func (q queueOn) inEachState() {
	q.e.Helper()
	for _, state := range allStates {
		q.bring(string(state), state)
	}
}
