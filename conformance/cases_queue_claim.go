package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func claimCases() []Case {
	return append(needing(NeedsQueue, []Case{
		{Name: "queue/schedule/a-time-that-has-passed-is-now", Clause: clauseRunAt, Run: pastIsNow},
		{Name: "queue/schedule/not-before-its-time-and-soon-after", Clause: clauseRunAt, Run: notEarly},
		{Name: "queue/schedule/parts-of-a-second-count", Clause: clauseRunAt, Run: subSecond},
		{Name: "queue/schedule/a-far-time-is-not-now", Clause: clauseRunAt, Run: farFuture},
		{Name: "queue/schedule/in-the-order-of-their-times", Clause: clauseRunAt, Run: scheduledOrder},
		{Name: "queue/schedule/many-due-at-once-all-come", Clause: clauseAtLeastOnce, Run: manyDue},

		{Name: "queue/claim/oldest-first", Clause: clauseTaskOrder, Run: oldestFirst},
		{Name: "queue/claim/highest-priority-first-then-oldest", Clause: clauseTaskOrder, Run: priorityFirst},
		{Name: "queue/claim/queues-in-the-order-given", Clause: clauseTaskOrder, Run: queuesInOrder},
		{Name: "queue/claim/at-most-max", Clause: clauseClaimMax, Run: atMostMax},
		{Name: "queue/claim/a-greater-max-gets-what-is-declared", Clause: clauseClaimMax, Run: greaterMax},
		{Name: "queue/claim/many-large-tasks-all-come", Clause: clauseAtLeastOnce, Run: manyLarge},
		{Name: "queue/claim/of-its-queues-alone", Clause: clauseClaimMax, Run: ownQueues},
		{Name: "queue/claim/with-nothing-due-answers-at-once", Clause: clauseClaimEnd, Run: emptyAnswers},
		{Name: "queue/claim/waiting-ends-when-it-is-over", Clause: clauseClaimEnd, Run: claimWaitEnds},
		{Name: "queue/claim/waiting-ends-with-its-context", Clause: clauseClaimEnd, Run: claimEndsWithContext},
		{Name: "queue/claim/a-wait-gets-what-another-node-enqueues", Clause: clauseClaimWake, Run: wakesForTask},
		{Name: "queue/claim/a-wait-on-many-queues-gets-one", Clause: clauseClaimWake, Run: wakesForAnyQueue},
		{Name: "queue/claim/a-wait-gets-what-falls-due", Clause: clauseClaimWake, Run: wakesForDue},
		{Name: "queue/claim/a-wait-gets-what-is-released", Clause: clauseClaimWake, Run: wakesForRelease},
		{Name: "queue/claim/a-wait-gets-what-is-retried", Clause: clauseClaimWake, Run: wakesForRetry},
		{Name: "queue/claim/every-wait-gets-one", Clause: clauseClaimWake, Run: wakesAll},
		{Name: "queue/claim/a-wait-that-gave-up-takes-no-wake-up-with-it", Clause: clauseClaimWake, Run: wakesNext},
		{Name: "queue/claim/each-task-goes-to-one-claim", Clause: clauseOneLease, Run: oneClaimEach},
		{Name: "queue/claim/every-claim-has-its-own-token", Clause: clauseOneLease, Run: ownTokens},
		{Name: "queue/claim/bad-claims-are-invalid", Clause: clauseBadClaim, Run: badClaims},
	}), needing(NeedsAdmin, []Case{
		{Name: "queue/claim/a-wait-gets-what-loses-its-lease", Clause: clauseClaimWake, Run: wakesForLost},
		{Name: "queue/claim/a-wait-gets-what-is-resumed", Clause: clauseClaimWake, Run: wakesForResume},
		{Name: "queue/claim/a-cancelled-claim-loses-no-task", Clause: clauseClaimNone, Run: cancelledClaimLosesNone},
	})...)
}

func pastIsNow(e *Env) {
	here, there := queueNodes(e)
	for _, at := range []time.Time{{}, time.Now(), time.Now().Add(-time.Second), time.Unix(0, 0), time.Unix(-1, 0), time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)} {
		here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.RunAt = at }))
		there.mustRunAll("t")
	}
}

// onTime enqueues a task to run after d, and requires that it is claimed on time.
func onTime(e *Env, here, there queueOn, id string, d time.Duration) {
	e.Helper()
	before := time.Now()
	here.mustEnqueue(taskWith(id, func(t *queue.Task) { t.RunAt = before.Add(d) }))
	var got []queue.Leased
	there.mustComeAs(given{before, before, d}, "a task to run in "+d.String(), func() bool {
		got = there.claim(10)
		return len(got) > 0
	})
	require.Equal(e, []string{id}, idsOf(got))
	there.mustSettle(queue.Done, got...)
}

func notEarly(e *Env) {
	here, there := queueNodes(e)
	onTime(e, here, there, "t1", here.span(2))
	onTime(e, there, here, "t2", 1100*time.Millisecond)
}

func subSecond(e *Env) {
	here, there := queueNodes(e)
	for i, d := range []time.Duration{30 * time.Millisecond, 123456789 * time.Nanosecond, 250 * time.Millisecond} {
		onTime(e, here, there, fmt.Sprint("t", i), d)
	}
}

func farFuture(e *Env) {
	here, there := queueNodes(e)
	for i, at := range []time.Time{time.Now().Add(time.Hour), time.Now().AddDate(100, 0, 0), time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		here.mustEnqueue(taskWith(fmt.Sprint("t", i), func(t *queue.Task) { t.RunAt = at }))
	}
	there.mustHaveNone()
	here.mustEnqueue(task("now")) // and they are in nobody's way
	there.mustRunAll("now")
}

func scheduledOrder(e *Env) {
	here, there := queueNodes(e)
	now := time.Now()
	at := func(id string, d time.Duration) queue.Task {
		return taskWith(id, func(t *queue.Task) { t.RunAt = now.Add(d) })
	}
	beat := here.span(1)
	here.mustEnqueue(at("third", beat+30*time.Millisecond), at("first", beat), at("last", time.Hour), at("second", beat+15*time.Millisecond))
	all := there.mustClaimMany(3)
	require.Equal(e, []string{"first", "second", "third"}, idsOf(all))
	there.mustHaveNone()
}

func manyDue(e *Env) {
	here, there := queueNodes(e)
	at := time.Now().Add(here.span(1))
	all := make([]queue.Task, 1500) // more than one call may move
	for i := range all {
		all[i] = taskWith(fmt.Sprint("t", i), func(t *queue.Task) { t.RunAt = at })
	}
	here.mustEnqueue(all...)
	got := there.mustClaimMany(len(all))
	require.ElementsMatch(e, taskIDs(all), idsOf(got))
	there.mustSettle(queue.Done, got...)
	here.mustHaveNone()
}

func oldestFirst(e *Env) {
	here, there := queueNodes(e)
	nodes := []queueOn{here, there}
	var want []string
	for i := range 30 {
		id := fmt.Sprint("t", (i*7)%30) // not in the order of their names
		nodes[i%2].mustEnqueue(task(id))
		want = append(want, id)
	}
	batch := tasks("b", 20)
	here.mustEnqueue(batch...)
	want = append(want, taskIDs(batch)...)

	var got []string
	for i := 0; len(got) < len(want); i++ {
		got = append(got, idsOf(nodes[i%2].mustClaimMany(1+min(i%4, len(want)-len(got)-1)))...)
	}
	require.Equal(e, want, got)
}

func priorityFirst(e *Env) {
	here, there := queueNodes(e)
	most := here.Capabilities.MaxPriority
	if most == 0 {
		return // priorities above it are refused, which is a case of its own
	}
	ranked := func(id string, priority int) queue.Task {
		return taskWith(id, func(t *queue.Task) { t.Priority = priority })
	}
	here.mustEnqueue(ranked("low1", 0), ranked("top1", most), ranked("low2", 0))
	there.mustEnqueue(ranked("mid1", max(1, most/2)), ranked("top2", most), ranked("low3", 0))
	want := []string{"top1", "top2", "mid1", "low1", "low2", "low3"}
	if most == 1 {
		want = []string{"top1", "mid1", "top2", "low1", "low2", "low3"}
	}
	require.Equal(e, want, idsOf(there.mustClaimMany(6)))
}

func queuesInOrder(e *Env) {
	here, there := queueNodes(e)
	for _, name := range []string{"a", "b", "c"} {
		for i := range 3 {
			here.mustEnqueue(taskWith(fmt.Sprint(name, i), func(t *queue.Task) { t.Queue = name }))
		}
	}
	require.Equal(e, []string{"b0", "b1", "b2", "c0"}, idsOf(there.claim(4, "b", "c", "a")))
	require.Equal(e, []string{"a0", "a1", "a2", "c1", "c2"}, idsOf(there.claim(9, "a", "b", "c")))
}

func atMostMax(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 10)...)
	for _, max := range []int{1, 3, 2} {
		require.Len(e, there.claim(max), max, "there are enough tasks")
	}
	require.Len(e, there.claim(50), 4, "a claim takes what there is")
}

func manyLarge(e *Env) {
	here, there := queueNodes(e)
	size := min(here.Capabilities.MaxPayload, 1<<20)
	all := tasks("t", 12)
	for i := range all {
		all[i].Payload = bytes.Repeat([]byte{byte(i)}, size)
		here.mustEnqueue(all[i])
	}
	got := there.mustClaimMany(len(all)) // by one claim or by several
	require.Equal(e, taskIDs(all), idsOf(got))
	for i := range all {
		require.Truef(e, bytes.Equal(all[i].Payload, got[i].Payload), "the payload of %q", all[i].ID)
	}
	there.mustSettle(queue.Done, got...)
	here.mustHaveNone()
}

func greaterMax(e *Env) {
	here, there := queueNodes(e)
	most := here.Capabilities.MaxClaim
	all := tasks("t", most+10)
	here.mustEnqueue(all...)
	got := there.claim(10 * most)
	require.Len(e, got, most, "a claim of more than MaxClaim gets that many")
	got = append(got, there.mustClaimMany(10)...)
	require.Equal(e, taskIDs(all), idsOf(got))
}

func ownQueues(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	there.mustHaveNone("q2", "Q", "q ", "qq", "*", "q*", ">", "{q}")
}

func emptyAnswers(e *Env) {
	here, there := queueNodes(e)
	e.Promptly("a claim of a queue that never was", func() { there.mustHaveNone("never was") })
	here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.RunAt = time.Now().Add(time.Hour) }))
	e.Promptly("a claim of a queue with nothing due", func() { there.mustHaveNone() })
}

func claimWaitEnds(e *Env) {
	here, _ := queueNodes(e)
	for _, wait := range []time.Duration{time.Nanosecond, time.Millisecond, e.Timing.Beat} {
		start := time.Now()
		claimed, err := here.Claim(e.Context(), queue.Claim{Worker: here.worker, Queues: []string{"q"}, Max: 1, Wait: wait})
		require.NoError(e, err, "a wait that is over is no error")
		require.Empty(e, claimed.Tasks)
		require.Less(e, time.Since(start), wait+e.Timing.Prompt, "waiting went on after it was over")
	}
}

func claimEndsWithContext(e *Env) {
	here, there := queueNodes(e)
	for _, q := range []queueOn{here, there} {
		// On a slow day the context ends before the call has begun, which is an error. Then it is given longer to begin.
		for begins, ended := e.Timing.Beat/10, false; !ended; begins *= 4 {
			w := q.wait()
			e.sleep(begins)
			w.cancel()
			e.Promptly("ending a wait", func() {
				got := Await(e, w.result, "the end of a wait whose context has ended")
				if ended = got.err == nil; begins > 4*e.Timing.Beat {
					require.NoError(e, got.err, "a context that ends is no error")
				}
				require.Empty(e, got.tasks)
			})
		}
	}
	here.mustEnqueue(task("t")) // nobody is left to take it unseen
	there.mustRunAll("t")
}

func wakesForTask(e *Env) {
	here, there := queueNodes(e)
	for i := range 5 {
		id := fmt.Sprint("t", i)
		w := there.wait()
		here.mustEnqueue(task(id))
		there.mustSettle(queue.Done, w.mustGet(id))
	}
}

func wakesForAnyQueue(e *Env) {
	here, there := queueNodes(e)
	for _, name := range []string{"c", "a", "b"} {
		w := there.wait("a", "b", "c", "d")
		here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.Queue = name }))
		l := w.mustGet("t")
		require.Equal(e, name, l.Queue)
		there.mustSettle(queue.Done, l)
	}
}

func wakesForDue(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(taskWith("far", func(t *queue.Task) { t.RunAt = time.Now().Add(time.Hour) }))
	w := there.wait()
	before, d := time.Now(), here.span(2)
	here.mustEnqueue(taskWith("near", func(t *queue.Task) { t.RunAt = before.Add(d) }))
	w.mustGet("near")
	require.GreaterOrEqual(e, time.Since(before), d, "it ran before its time")
}

func wakesForRelease(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	l := here.mustClaim("t")
	w := there.wait()
	here.mustSettle(queue.Release, l)
	there.mustSettle(queue.Done, w.mustGet("t"))
}

func wakesForRetry(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	for _, delay := range []time.Duration{0, here.span(1)} {
		l := here.mustClaim("t")
		w := there.wait()
		here.mustSettleAs(l, queue.Settlement{Outcome: queue.Retry, Delay: delay})
		there.mustSettle(queue.Release, w.mustGet("t"))
	}
}

func wakesForLost(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	l, g := here.leasing("t", here.lends(2))
	w := there.wait()
	w.mustGet("t")
	require.GreaterOrEqual(e, time.Since(g.before), g.ttl, "it was given to another before its lease had ended")
	here.mustBeLost(l, queue.Done)
}

func wakesForResume(e *Env) {
	here, there := queueNodes(e)
	require.NoError(e, here.Admin.Pause(e.Context(), "q"))
	here.mustEnqueue(task("t"))
	w := there.wait()
	require.NoError(e, here.Admin.Resume(e.Context(), "q"))
	w.mustGet("t")
}

func wakesAll(e *Env) {
	here, there := queueNodes(e)
	waits := make([]*claiming, 8)
	for i := range waits {
		waits[i] = []queueOn{here, there}[i%2].wait()
	}
	all := tasks("t", len(waits))
	here.mustEnqueue(all[:3]...)
	for _, t := range all[3:] {
		there.mustEnqueue(t)
	}
	var got []queue.Leased
	for i, w := range waits {
		result := Await(e, w.result, "a task for wait %d of %d", i, len(waits))
		require.NoError(e, result.err)
		got = append(got, result.tasks...)
	}
	require.ElementsMatch(e, taskIDs(all), idsOf(got))
}

func wakesNext(e *Env) {
	here, there := queueNodes(e)
	for i := range 3 {
		id := fmt.Sprint("t", i)
		first, second := there.wait(), there.wait()
		first.cancel()
		here.mustEnqueue(task(id))
		// The one that gave up may have taken it at the last moment; then it is its own.
		var got waited
		select {
		case got = <-second.result:
		case got = <-first.result:
			if len(got.tasks) == 0 {
				got = Await(e, second.result, "the task, by the wait that is left")
			} else {
				second.cancel()
			}
		}
		require.NoError(e, got.err)
		require.Equal(e, []string{id}, idsOf(got.tasks))
		there.mustSettle(queue.Done, got.tasks...)
	}
}

// gathered is what claimers on several goroutines got.
type gathered struct {
	mu   sync.Mutex
	seen map[string]int
	done int
}

func (g *gathered) add(all []queue.Leased) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range all {
		g.seen[l.ID]++
	}
}

// settled counts what was done.
func (g *gathered) settled(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done += n
	return g.done
}

func oneClaimEach(e *Env) {
	here, there := queueNodes(e)
	const claimers, want = 10, 300
	g := &gathered{seen: map[string]int{}}
	errs := make(chan error, 1)
	go func() {
		errs <- errors.Join(together(claimers, func(i int) error {
			// A worker of its own, so that its batches are numbered apart.
			q := []queueOn{here, there}[i%2]
			worker := fmt.Sprint(q.worker, i)
			for number := uint64(1); g.settled(0) < want; number++ {
				claimed, err := q.Claim(e.Context(), queue.Claim{Worker: worker, Queues: []string{"q"}, Max: 1 + i, Wait: 50 * time.Millisecond})
				if err != nil || e.Context().Err() != nil {
					return err
				}
				g.add(claimed.Tasks)
				items := make([]queue.Settlement, len(claimed.Tasks))
				for n, l := range claimed.Tasks {
					items[n] = queue.Settlement{Ref: l.Ref(), Outcome: queue.Done}
				}
				answers, err := q.Settle(e.Context(), queue.Settlements{Worker: worker, Number: number, Items: items})
				if err := errors.Join(append(answers, err)...); err != nil {
					return err
				}
				g.settled(len(items))
			}
			return nil
		})...)
	}()
	all := tasks("t", want)
	for part := range slices.Chunk(all, 25) {
		here.mustEnqueue(part...)
	}
	require.NoError(e, Await(e, errs, "the end of the claimers: every task done"))
	require.Len(e, g.seen, want, "tasks claimed")
	for id, times := range g.seen {
		require.Equal(e, 1, times, "claims of %s", id)
	}
	here.mustHaveNone()
}

func ownTokens(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	seen := map[string]bool{}
	for i := range 20 {
		l := []queueOn{here, there}[i%2].mustClaim("t")
		require.Falsef(e, seen[l.Token], "claim %d of the task has the token of an earlier one", i)
		seen[l.Token] = true
		here.mustSettle(queue.Release, l)
	}
}

func badClaims(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	good := queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1}
	for what, spoil := range map[string]func(*queue.Claim){
		"no worker":              func(c *queue.Claim) { c.Worker = "" },
		"no queues":              func(c *queue.Claim) { c.Queues = nil },
		"a queue without name":   func(c *queue.Claim) { c.Queues = []string{"q", ""} },
		"Max 0":                  func(c *queue.Claim) { c.Max = 0 },
		"Max below 0":            func(c *queue.Claim) { c.Max = -1 },
		"a wait below 0":         func(c *queue.Claim) { c.Wait = -1 },
		"a queue's name so long": func(c *queue.Claim) { c.Queues = []string{string(make([]byte, here.Capabilities.MaxName+1))} },
	} {
		bad := good
		spoil(&bad)
		_, err := here.Claim(e.Context(), bad)
		requireCode(e, fault.Invalid, err, "a claim with %s", what)
	}
	there.mustRunAll("t")
}

// cancelledClaimLosesNone has claims whose context ends at any moment side by side with tasks that come at any moment.
// Some are claimed and lost on the way back: these come back when their lease ends.
func cancelledClaimLosesNone(e *Env) {
	here, there := queueNodes(e)
	here.lends(4)
	all := tasks("t", 60)
	for i := range all {
		all[i].MaxLost = 10_000
	}
	got := &gathered{seen: map[string]int{}}
	errs := make(chan error, 1)
	enough, stop := context.WithCancel(e.Context())
	defer stop()
	go func() {
		errs <- errors.Join(together(4, func(i int) error {
			q := []queueOn{here, there}[i%2]
			for n := 0; enough.Err() == nil; n++ {
				ctx, cancel := context.WithTimeout(e.Context(), time.Duration(1+n%7)*700*time.Microsecond)
				claimed, err := q.Claim(ctx, queue.Claim{Worker: fmt.Sprint(q.worker, i), Queues: []string{"q"}, Max: 2, Wait: time.Second})
				cancel()
				if code := fault.CodeOf(err); code != fault.OK && code != fault.DeadlineExceeded { // it may have ended before the call
					return err
				}
				got.add(claimed.Tasks)
			}
			return nil
		})...)
	}()
	for _, t := range all {
		there.mustEnqueue(t)
		e.sleep(300 * time.Microsecond)
	}
	stop()
	require.NoError(e, Await(e, errs, "the end of the claimers"))

	// Nothing was settled, so every task comes once more: those that were got, and those that were lost on the way.
	here.lends(1000)
	seen := map[string]bool{}
	e.Eventually(func() bool {
		for _, l := range here.claim(100) {
			seen[l.ID] = true
		}
		return len(seen) == len(all)
	}, "every task comes back; %d of %d did", len(seen), len(all))
}
