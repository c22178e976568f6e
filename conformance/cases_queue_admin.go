package conformance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func queueAdminCases() []Case {
	return needing(NeedsAdmin, []Case{
		{Name: "queue/admin/every-task-is-counted-in-one-state", Clause: clauseAtLeastOnce, Run: countedOnce},
		{Name: "queue/admin/no-task-is-lost-or-doubled-under-load", Clause: clauseAtLeastOnce, Run: conserved},
		{Name: "queue/admin/totals-count-what-has-happened", Clause: clauseTotals, Run: totalsCount},
		{Name: "queue/admin/the-oldest-pending-task-is-told", Clause: clauseTotals, Run: oldestPending},
		{Name: "queue/admin/an-unknown-queue-is-all-zeros", Clause: clauseQueues, Run: unknownQueue},
		{Name: "queue/admin/queues-are-listed", Clause: clauseQueues, Run: queuesListed},
		{Name: "queue/admin/every-state-is-listed-in-pages", Clause: clauseTaskList, Run: listPages},
		{Name: "queue/admin/lists-are-oldest-first-scheduled-by-run-time", Clause: clauseTaskList, Run: listOrder},
		{Name: "queue/admin/lists-show-whole-tasks", Clause: clauseTaskList, Run: listWhole},
		{Name: "queue/admin/bad-listings-are-invalid", Clause: clauseTaskList, Run: listInvalid},
		{Name: "queue/admin/find-shows-a-task-in-whatever-state", Clause: clauseTaskFind, Run: findEach},
		{Name: "queue/admin/find-of-nothing-is-not-found", Clause: clauseTaskFind, Run: findNothing},
		{Name: "queue/admin/find-tells-who-holds-an-active-task", Clause: clauseTaskFind, Run: findHolder},
		{Name: "queue/admin/remove-in-each-state", Clause: clauseRemoveTask, Run: removeEach},
		{Name: "queue/admin/a-removed-task-is-never-claimed", Clause: clauseRemoveTask, Run: removedNotClaimed},
		{Name: "queue/admin/requeue-in-each-state", Clause: clauseRequeue, Run: requeueEach},
		{Name: "queue/admin/requeuing-begins-again-at-0", Clause: clauseRequeue, Run: requeueResets},
		{Name: "queue/admin/a-requeued-task-runs-once", Clause: clauseRequeue, Run: requeuedOnce},
		{Name: "queue/admin/cancel-in-each-state", Clause: clauseCancel, Run: cancelEach},
		{Name: "queue/admin/a-cancelled-task-is-never-claimed", Clause: clauseCancel, Run: cancelledNotClaimed},
		{Name: "queue/admin/a-worker-hears-of-cancel-at-extend", Clause: clauseCancelActive, Run: cancelHeard},
		{Name: "queue/admin/cancelled-while-active-it-may-still-be-done", Clause: clauseCancelActive, Run: cancelledDone},
		{Name: "queue/admin/cancelled-while-active-all-else-cancels", Clause: clauseCancelActive, Run: cancelledElse},
		{Name: "queue/admin/cancelled-while-active-a-lost-lease-cancels", Clause: clauseCancelActive, Run: cancelledLost},
		{Name: "queue/admin/operations-answer-for-each-task", Clause: clauseSettleAlone, Run: operationsAlone},
		{Name: "queue/admin/a-paused-queue-gives-nothing-on-any-node", Clause: clausePause, Run: pausedGivesNothing},
		{Name: "queue/admin/pausing-leaves-what-is-active", Clause: clausePause, Run: pausedActive},
		{Name: "queue/admin/pausing-leaves-other-queues", Clause: clausePause, Run: pausedOthers},
		{Name: "queue/admin/pause-and-resume-may-be-repeated", Clause: clausePause, Run: pauseRepeated},
	})
}

func countedOnce(e *Env) {
	here, there := queueNodes(e)
	count := func(want map[queue.State]int64) {
		e.Helper()
		here.mustCount(want)
		there.mustCount(want)
	}
	here.mustEnqueue(keptTask("t", time.Hour))
	count(map[queue.State]int64{queue.Pending: 1})
	l := there.mustClaim("t")
	count(map[queue.State]int64{queue.Active: 1})
	there.mustSettleAs(l, queue.Settlement{Outcome: queue.Retry, Delay: time.Hour})
	count(map[queue.State]int64{queue.Scheduled: 1})
	require.NoError(e, here.each(here.Admin.Requeue, "t"))
	count(map[queue.State]int64{queue.Pending: 1})
	there.mustSettle(queue.Dead, there.mustClaim("t"))
	count(map[queue.State]int64{queue.DeadLetter: 1})
	require.NoError(e, here.each(here.Admin.Requeue, "t"))
	require.NoError(e, here.each(here.Admin.Cancel, "t"))
	count(map[queue.State]int64{queue.Cancelled: 1})
	require.NoError(e, here.each(here.Admin.Requeue, "t"))
	there.mustSettle(queue.Done, there.mustClaim("t"))
	count(map[queue.State]int64{queue.Completed: 1})
	require.NoError(e, here.each(here.Admin.Remove, "t"))
	count(map[queue.State]int64{})

	here.inEachState()
	count(map[queue.State]int64{
		queue.Pending: 1, queue.Scheduled: 1, queue.Active: 1, queue.Completed: 1, queue.DeadLetter: 1, queue.Cancelled: 1,
	})
}

// conserved has many callers do everything to tasks, and requires in the end that each is in exactly one state.
func conserved(e *Env) {
	here, there := queueNodes(e)
	const callers, each = 6, 60
	errs := together(callers, func(i int) error {
		q := []queueOn{here, there}[i%2]
		q.worker, q.number = fmt.Sprint(q.worker, i), new(uint64)
		for n := range each {
			t := keptTask(fmt.Sprintf("t%d.%d", i, n), time.Hour)
			t.Priority = min(n%2, q.Capabilities.MaxPriority)
			if n%5 == 0 {
				t.RunAt = time.Now().Add(time.Duration(n%3) * time.Millisecond)
			}
			receipts, err := q.Enqueue(e.Context(), []queue.Task{t})
			if err := first(receipts, err, func(r queue.Receipt) error { return r.Err }); err != nil {
				return err
			}
			claimed, err := q.Claim(e.Context(), queue.Claim{Worker: q.worker, Queues: []string{"q"}, Max: 2})
			if err != nil {
				return err
			}
			items := make([]queue.Settlement, len(claimed.Tasks))
			for k, l := range claimed.Tasks {
				items[k] = queue.Settlement{Ref: l.Ref(), Outcome: queue.Outcome(1 + (n+k)%5), Delay: time.Duration(n%4) * time.Millisecond}
			}
			*q.number++
			answers, err := q.Settle(e.Context(), queue.Settlements{Worker: q.worker, Number: *q.number, Items: items})
			if err := errors.Join(append(answers, err)...); err != nil {
				return err
			}
			if n%4 == 0 { // whatever state it is in
				if _, err := []operation{q.Admin.Cancel, q.Admin.Requeue}[n/4%2](e.Context(), "q", []string{t.ID}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))

	e.sleep(here.late()) // a store may move what has fallen due by itself; then it is done with that
	seen := map[string]queue.State{}
	var sum int64
	stats := here.stats()
	for _, n := range states(stats) {
		sum += n
	}
	require.Equal(e, int64(callers*each), sum, "tasks in all states: %+v", stats)
	require.Equal(e, int64(callers*each), stats.Totals.Enqueued)
	for _, state := range allStates {
		listed := there.list(state, 50)
		require.Len(e, listed, int(states(stats)[state]), "listed as %s", state)
		for _, info := range listed {
			require.NotContains(e, seen, info.ID, "it is listed as %s too", state)
			seen[info.ID] = state
		}
	}
	require.Len(e, seen, callers*each)
}

func totalsCount(e *Env) {
	here, there := queueNodes(e)
	here.lends(1000)
	here.mustEnqueue(tasks("t", 8)...)
	here.mustDuplicate(task("t0"), "t0")
	here.mustDuplicate(task("t1"), "t1")
	all := there.mustClaimMany(7)
	there.mustSettle(queue.Done, all[0], all[1])
	there.mustSettleAs(all[2], queue.Settlement{Outcome: queue.Retry, Delay: time.Hour})
	there.mustSettleAs(all[3], queue.Settlement{Outcome: queue.Snooze, Delay: time.Hour})
	there.mustSettle(queue.Dead, all[4], all[5])
	there.mustSettle(queue.Release, all[6])
	requireCode(e, fault.LeaseLost, here.settle(queue.Settlement{Ref: all[0].Ref(), Outcome: queue.Done})[0], "settling twice")
	require.NoError(e, here.each(here.Admin.Cancel, "t7"))

	require.Equal(e, queue.Totals{
		Enqueued: 8, Duplicates: 2, Completed: 2, Retried: 1, Snoozed: 1, Released: 1, Dead: 2, Cancelled: 1, Stale: 1,
	}, there.stats().Totals)
}

func oldestPending(e *Env) {
	here, there := queueNodes(e)
	require.Zero(e, here.stats().OldestPending, "the age of nothing")
	before := time.Now()
	here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.EnqueuedAt = before }))
	e.sleep(e.Timing.Beat)
	age := there.stats().OldestPending
	require.GreaterOrEqual(e, age, e.Timing.Beat-slack)
	require.LessOrEqual(e, age, time.Since(before)+slack)
	there.mustRunAll("t")
	require.Zero(e, here.stats().OldestPending)
}

func unknownQueue(e *Env) {
	here, there := queueNodes(e)
	require.Equal(e, queue.Stats{Queue: "q"}, here.stats())
	for _, state := range allStates {
		require.Empty(e, there.list(state, 10))
	}
	for _, do := range []operation{here.Admin.Remove, here.Admin.Requeue, here.Admin.Cancel} {
		requireCode(e, fault.NotFound, here.each(do, "t"), "an operation in a queue that never was")
	}
	names, err := here.Admin.Queues(e.Context())
	require.NoError(e, err)
	require.Empty(e, names, "asking for a queue does not make one")
}

func queuesListed(e *Env) {
	here, there := queueNodes(e)
	want := unusualUpTo(here.Capabilities.MaxName)
	for _, name := range want {
		here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.Queue = name }))
	}
	require.NoError(e, here.Admin.Configure(e.Context(), "configured", queue.Properties{Lease: time.Minute}))
	here.mustEnqueue(task("t"))
	there.mustRunAll("t") // it has counters now
	names, err := there.Admin.Queues(e.Context())
	require.NoError(e, err)
	require.ElementsMatch(e, append(slices.Clone(want), "configured", "q"), names)
}

func listPages(e *Env) {
	here, there := queueNodes(e)
	const n = 23
	here.lends(1000)
	for _, state := range allStates {
		var want []string
		for i := range n {
			id := fmt.Sprint(state, i)
			here.bring(id, state)
			want = append(want, id)
		}
		for _, limit := range []int{0, 5, n} {
			require.ElementsMatch(e, want, infoIDs(there.list(state, limit)), "%s, in pages of %d", state, limit)
		}
	}
}

func listOrder(e *Env) {
	here, there := queueNodes(e)
	now := time.Now()
	for i, d := range []int{3, 1, 5, 2, 4} {
		here.mustEnqueue(
			task(fmt.Sprint("p", i)),
			taskWith(fmt.Sprint("s", d), func(t *queue.Task) { t.RunAt = now.Add(time.Duration(d) * time.Hour) }),
		)
	}
	require.Equal(e, []string{"s1", "s2", "s3", "s4", "s5"}, infoIDs(there.list(queue.Scheduled, 2)))
	require.Equal(e, []string{"p0", "p1", "p2", "p3", "p4"}, infoIDs(there.list(queue.Pending, 2)))
	for range 5 {
		here.mustSettle(queue.Dead, here.mustClaimAny())
		e.sleep(max(2*time.Millisecond, 2*here.Capabilities.Granularity)) // so that they have times of their own
	}
	require.Equal(e, []string{"p0", "p1", "p2", "p3", "p4"}, infoIDs(there.list(queue.DeadLetter, 2)))
}

func listWhole(e *Env) {
	here, there := queueNodes(e)
	want := taskWith("t", func(t *queue.Task) {
		t.Headers, t.Payload, t.Timeout, t.CallerID = oddHeaders, binaries["every byte"], time.Minute, true
	})
	here.mustEnqueue(want)
	listed := there.list(queue.Pending, 10)
	require.Len(e, listed, 1)
	listed[0].RunAt = want.RunAt // a store may say when it was due
	sameTask(e, want, listed[0].Task)
	found := there.mustFind("t", queue.Pending)
	found.RunAt = want.RunAt
	sameTask(e, want, found.Task)
	clear(listed[0].Payload)
	clear(found.Payload)
	there.mustClaim("t")
	require.Equal(e, want.Payload, here.mustFind("t", queue.Active).Payload, "what is returned belongs to the caller")
}

func listInvalid(e *Env) {
	here, _ := queueNodes(e)
	here.mustEnqueue(task("t"))
	for what, l := range map[string]queue.List{
		"no queue": {State: queue.Pending}, "no state": {Queue: "q"}, "a state that is none": {Queue: "q", State: "lost"},
		"a limit below 0": {Queue: "q", State: queue.Pending, Limit: -1}, "a cursor that is none": {Queue: "q", State: queue.Pending, Cursor: "?!"},
	} {
		_, err := here.Admin.List(e.Context(), l)
		requireCode(e, fault.Invalid, err, "a listing with %s", what)
	}
}

func findEach(e *Env) {
	here, there := queueNodes(e)
	here.inEachState()
	for _, state := range allStates {
		info := there.mustFind(string(state), state)
		require.Equal(e, task(string(state)).Payload, info.Payload)
		if !info.Since.IsZero() {
			require.WithinDuration(e, time.Now(), info.Since, 4*e.Timing.Wait+time.Hour) // scheduled: it may be its time
		}
	}
}

func findNothing(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	for _, id := range []string{"T", "t ", "t0", "", "*", "{t}"} {
		_, err := there.Admin.Find(e.Context(), "q", id)
		if id == "" {
			requireCode(e, fault.Invalid, err, "finding a task without ID")
			continue
		}
		requireCode(e, fault.NotFound, err, "find %q", id)
	}
	_, err := there.Admin.Find(e.Context(), "q2", "t")
	requireCode(e, fault.NotFound, err, "finding it in another queue")
}

func findHolder(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	here.mustClaim("t")
	info := there.mustFind("t", queue.Active)
	require.Equal(e, here.worker, info.Holder)
	require.WithinDuration(e, time.Now().Add(queue.DefaultLease), info.Expires, e.Timing.Wait)
	listed := there.list(queue.Active, 10)
	require.Equal(e, here.worker, listed[0].Holder)
}

func removeEach(e *Env) {
	here, there := queueNodes(e)
	here.inEachState()
	for _, state := range allStates {
		err := there.each(there.Admin.Remove, string(state))
		if state == queue.Active {
			requireCode(e, fault.Conflict, err, "removing an active task")
			continue
		}
		require.NoErrorf(e, err, "removing a task that is %s", state)
		here.mustForget(string(state))
		requireCode(e, fault.NotFound, there.each(there.Admin.Remove, string(state)), "removing it again")
	}
	here.mustCount(map[queue.State]int64{queue.Active: 1})
	here.mustHaveNone()
}

func removedNotClaimed(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 9)...)
	errs, err := there.Admin.Remove(e.Context(), "q", []string{"t0", "t4", "t8"})
	require.NoError(e, errors.Join(append(errs, err)...))
	here.mustEnqueue(task("t4")) // a new one of the same name stands at the end of the line
	require.Equal(e, []string{"t1", "t2", "t3", "t5", "t6", "t7", "t4"}, idsOf(there.mustClaimMany(7)))
	there.mustHaveNone()
}

func requeueEach(e *Env) {
	here, there := queueNodes(e)
	here.inEachState()
	for _, state := range allStates {
		err := there.each(there.Admin.Requeue, string(state))
		if state == queue.Active || state == queue.Pending {
			requireCode(e, fault.Conflict, err, "requeuing a task that is %s", state)
			continue
		}
		require.NoErrorf(e, err, "requeuing a task that is %s", state)
		here.mustFind(string(state), queue.Pending)
	}
	here.mustCount(map[queue.State]int64{queue.Pending: 5, queue.Active: 1})
	requireCode(e, fault.NotFound, there.each(there.Admin.Requeue, "nobody"), "requeuing what is not there")
	require.Len(e, there.mustClaimMany(5), 5)
	there.mustHaveNone()
}

func requeueResets(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	here.mustSettleAs(here.mustClaim("t"), queue.Settlement{Outcome: queue.Retry, Error: "one"})
	here.mustSettleAs(here.mustClaim("t"), queue.Settlement{Outcome: queue.Dead, Error: "two"})
	require.NoError(e, there.each(there.Admin.Requeue, "t"))
	l := there.mustClaim("t")
	require.Zero(e, l.Attempts, "attempts begin again")
	require.Zero(e, l.Lost)

	here.mustSettleAs(l, queue.Settlement{Outcome: queue.Retry, Delay: time.Hour, Error: "three"})
	require.NoError(e, there.each(there.Admin.Requeue, "t"))
	require.Equal(e, 1, there.mustClaim("t").Attempts, "a scheduled task's attempts go on")
}

func requeuedOnce(e *Env) {
	here, there := queueNodes(e)
	here.bring("t", queue.DeadLetter)
	errs := together(8, func(i int) error {
		answers, err := []queueOn{here, there}[i%2].Admin.Requeue(e.Context(), "q", []string{"t", "t"})
		return errors.Join(append(answers, err)...)
	})
	for _, err := range errs {
		require.ErrorIs(e, err, fault.Conflict, "all but one come too late, and each asks twice")
	}
	here.mustCount(map[queue.State]int64{queue.Pending: 1})
	there.mustClaim("t")
	there.mustHaveNone()
}

func cancelEach(e *Env) {
	here, there := queueNodes(e)
	here.inEachState()
	for _, state := range allStates {
		err := there.each(there.Admin.Cancel, string(state))
		switch state {
		case queue.Scheduled, queue.Pending:
			require.NoErrorf(e, err, "cancelling a task that is %s", state)
			here.mustFind(string(state), queue.Cancelled)
		case queue.Active:
			require.NoError(e, err, "asking to cancel an active task")
			here.mustFind(string(state), queue.Active)
		default:
			requireCode(e, fault.Conflict, err, "cancelling a task that is %s", state)
			here.mustFind(string(state), state)
		}
	}
	requireCode(e, fault.NotFound, there.each(there.Admin.Cancel, "nobody"), "cancelling what is not there")
	here.mustHaveNone()
}

func cancelledNotClaimed(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 5)...)
	errs, err := there.Admin.Cancel(e.Context(), "q", []string{"t0", "t2", "t4"})
	require.NoError(e, errors.Join(append(errs, err)...))
	there.mustRunAll("t1", "t3")
	require.NoError(e, here.each(here.Admin.Requeue, "t2"))
	there.mustRunAll("t2")
}

// asked is an active task whose worker is to end it.
func asked(here, there queueOn, id string) queue.Leased {
	here.e.Helper()
	here.mustEnqueue(keptTask(id, time.Hour))
	l := here.mustClaim(id)
	require.NoError(here.e, there.each(there.Admin.Cancel, id))
	return l
}

func cancelHeard(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"), task("other"))
	lease := here.lends(4)
	l, g := here.leasing("t", lease)
	other := here.mustClaim("other")
	here.lends(1000)
	require.NoError(e, there.each(there.Admin.Cancel, "t"))

	errs, err := here.Extend(e.Context(), []queue.Ref{other.Ref(), l.Ref()})
	require.NoError(e, err)
	if time.Since(g.before) >= lease {
		return // a slow day: it may have been lost by now
	}
	require.NoError(e, errs[0], "nobody asked to cancel this one")
	requireCode(e, fault.Canceled, errs[1], "extending a task that is to be cancelled")
	e.sleep(lease + here.late())
	there.mustHaveNone() // the lease was extended all the same
	requireCode(e, fault.Canceled, here.extend(l), "extending it again")
	here.mustSettle(queue.Dead, l)
	there.mustFind("t", queue.Cancelled)
}

func cancelledDone(e *Env) {
	here, there := queueNodes(e)
	here.mustSettleAs(asked(here, there, "t"), queue.Settlement{Outcome: queue.Done, Result: []byte("r")})
	require.Equal(e, "r", string(there.mustFind("t", queue.Completed).Result))
}

func cancelledElse(e *Env) {
	here, there := queueNodes(e)
	for i, outcome := range []queue.Outcome{queue.Retry, queue.Dead, queue.Release, queue.Snooze} {
		id := fmt.Sprint("t", i)
		here.mustSettle(outcome, asked(here, there, id))
		there.mustFind(id, queue.Cancelled)
		there.mustHaveNone()
	}
	require.Equal(e, int64(4), here.stats().Totals.Cancelled)

	require.NoError(e, here.each(here.Admin.Requeue, "t0"))
	l := there.mustClaim("t0")
	require.NoError(e, there.extend(l), "a request to cancel is over with its run")
	there.mustSettle(queue.Release, l)
	there.mustClaim("t0")
}

func cancelledLost(e *Env) {
	here, there := queueNodes(e)
	here.lends(1)
	asked(here, there, "t")
	e.Eventually(func() bool {
		there.mustHaveNone()
		return there.stats().Cancelled == 1
	}, "it is cancelled when its lease is over")
	there.mustFind("t", queue.Cancelled)
}

func operationsAlone(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 4)...)
	here.mustClaim("t0")
	for what, do := range map[string]operation{"remove": there.Admin.Remove, "requeue": there.Admin.Requeue} {
		errs, err := do(e.Context(), "q", []string{"nobody", "t0", ""})
		require.NoError(e, err)
		require.Equal(e, []string{"not found", "conflict", "invalid"}, codesOf(errs), what)
	}
	errs, err := there.Admin.Remove(e.Context(), "q", []string{"t1", "nobody", "t1", "t2"})
	require.NoError(e, err)
	require.Equal(e, []string{"ok", "not found", "not found", "ok"}, codesOf(errs))
	errs, err = there.Admin.Cancel(e.Context(), "q", nil)
	require.NoError(e, err)
	require.Empty(e, errs)
	there.mustRunAll("t3")
}

func pausedGivesNothing(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("before"))
	require.NoError(e, here.Admin.Pause(e.Context(), "q"))
	here.mustEnqueue(task("after"))
	for _, q := range []queueOn{here, there} {
		q.mustHaveNone()
		require.True(e, q.stats().Paused)
	}
	require.Equal(e, int64(2), there.stats().Pending)
	require.NoError(e, there.Admin.Resume(e.Context(), "q"))
	require.False(e, here.stats().Paused)
	here.mustRunAll("before", "after")
}

func pausedActive(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 2)...)
	all := here.mustClaimMany(2)
	require.NoError(e, there.Admin.Pause(e.Context(), "q"))
	require.NoError(e, here.extend(all[0]), "extending while the queue is paused")
	here.mustSettle(queue.Done, all[0])
	here.mustSettle(queue.Release, all[1])
	here.mustHaveNone()
	require.NoError(e, there.Admin.Resume(e.Context(), "q"))
	here.mustRunAll("t1")
}

func pausedOthers(e *Env) {
	here, there := queueNodes(e)
	require.NoError(e, here.Admin.Pause(e.Context(), "q"))
	here.mustEnqueue(task("paused"))
	for _, name := range []string{"q2", "qq", "*"} {
		here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.Queue = name }))
		there.mustClaim("t", "q", name)
	}
}

func pauseRepeated(e *Env) {
	here, there := queueNodes(e)
	require.NoError(e, here.Admin.Resume(e.Context(), "q"), "resuming what was not paused")
	here.mustEnqueue(task("t"))
	for range 2 {
		require.NoError(e, here.Admin.Pause(e.Context(), "q"))
		require.NoError(e, there.Admin.Pause(e.Context(), "q"))
	}
	there.mustHaveNone()
	for range 2 {
		require.NoError(e, there.Admin.Resume(e.Context(), "q"))
	}
	here.mustRunAll("t")
}
