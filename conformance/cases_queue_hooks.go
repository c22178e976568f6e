package conformance

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/queue"
)

func queueHookCases() []Case {
	return needing(NeedsAdmin, []Case{
		{Name: "queue/store/tasks-outlive-a-restart-if-declared", Clause: clauseQueuePersist, Hooks: []Hook{Restart}, Run: tasksOutliveRestart},
		{Name: "queue/store/leases-outlive-a-restart-if-declared", Clause: clauseQueuePersist, Hooks: []Hook{Restart}, Run: leasesOutliveRestart},
		{Name: "queue/store/a-waiting-claim-goes-on-after-a-restart", Clause: clauseStoreRestarts, Hooks: []Hook{Restart}, Run: waitOverRestart},
		{Name: "queue/store/waiting-on-a-paused-store-ends-with-its-context", Clause: clauseContexts, Hooks: []Hook{Pause}, Run: claimOnPausedEnds},
		{Name: "queue/links/a-cut-under-load-loses-no-task", Clause: clauseAtLeastOnce, Hooks: []Hook{Cut}, Run: cutLosesNoTask},
		{Name: "queue/links/a-settlement-repeated-after-a-cut-is-not-lost", Clause: clauseNumbered, Hooks: []Hook{Cut}, Run: repeatOverCuts},
		{Name: "queue/links/a-waiting-claim-survives-a-cut", Clause: clauseClaimWake, Hooks: []Hook{Cut}, Run: waitOverCut},
		{Name: "queue/links/a-lost-workers-task-runs-elsewhere", Clause: clauseTaskStale, Hooks: []Hook{Partition}, Run: lostWorkersTask},
		{Name: "queue/links/waiting-ends-with-its-context-without-a-link", Clause: clauseContexts, Hooks: []Hook{Partition}, Run: claimWithoutLinkEnds},
		{Name: "queue/nodes/a-crashed-nodes-tasks-run-elsewhere", Clause: clauseAtLeastOnce, Hooks: []Hook{Crash}, Run: crashedTasksRun},
		{Name: "queue/nodes/a-crashed-nodes-wait-takes-no-task-with-it", Clause: clauseClaimNone, Hooks: []Hook{Crash}, Run: crashedWaitTakesNone},
		{Name: "queue/clock/times-are-the-stores", Clause: clauseRunAt, Hooks: []Hook{AdvanceClock}, Run: storesTime},
		{Name: "queue/clock/leases-end-by-the-stores-clock", Clause: clauseTaskLease, Hooks: []Hook{AdvanceClock}, Run: leaseByStoresClock},
		{Name: "queue/clock/a-callers-id-is-known-as-long-as-declared", Clause: clauseIDMemory, Hooks: []Hook{AdvanceClock}, Run: idMemoryLasts},
		{Name: "queue/clock/answers-are-kept-for-ten-minutes", Clause: clauseNumbered, Hooks: []Hook{AdvanceClock}, Run: answersKept},
	})
}

// recover requires that the queue is there again before long.
func (q queueOn) recover() {
	q.e.Helper()
	q.e.Eventually(func() bool {
		_, err := q.Admin.Queues(q.e.Within(q.e.Timing.Prompt))
		if err != nil {
			requireLinkFault(q.e, err)
		}
		return err == nil
	}, "the link comes back")
}

func tasksOutliveRestart(e *Env) {
	here, there := queueNodes(e)
	here.inEachState()
	here.lends(1000)
	e.Restart()
	here.recover()
	there.recover()
	if !here.Capabilities.Persistent {
		return
	}
	for _, state := range allStates {
		there.mustFind(string(state), state)
	}
	p, err := there.Admin.Properties(e.Context(), "q")
	require.NoError(e, err)
	require.Equal(e, here.span(1000), p.Lease, "the queue's properties")
	there.mustRunAll(string(queue.Pending))
}

func leasesOutliveRestart(e *Env) {
	here, there := queueNodes(e)
	here.lends(1000)
	here.mustEnqueue(keyed("t"), task("next"))
	l := here.mustClaim("t")
	e.Restart()
	here.recover()
	there.recover()
	if !here.Capabilities.Persistent {
		return
	}
	there.mustDuplicate(keyed("other"), "t")
	there.mustClaim("next")
	there.mustHaveNone()
	require.NoError(e, here.extend(l))
	here.mustSettle(queue.Done, l)
	there.mustBeLost(l, queue.Done)
}

func waitOverRestart(e *Env) {
	here, there := queueNodes(e)
	here.lends(4) // so that a claim that was lost on the way gives back what it got
	got := make(chan error, 1)
	go func() { got <- claimUntil(e, there, "t") }()
	e.sleep(e.Timing.Beat)
	e.Restart()
	here.recover()
	here.mustEnqueue(task("t"))
	require.NoError(e, Await(e, got, "the task, by a node that waited while the store was restarted"))
}

// claimUntil claims, as a worker does, until it gets a task, whatever happens to the link.
func claimUntil(e *Env, q queueOn, id string) error {
	for {
		claimed, err := q.Claim(e.Context(), queue.Claim{Worker: q.worker, Queues: []string{"q"}, Max: 1, Wait: time.Minute})
		switch {
		case len(claimed.Tasks) == 1 && claimed.Tasks[0].ID != id:
			return fmt.Errorf("claimed %q, not %q", claimed.Tasks[0].ID, id)
		case len(claimed.Tasks) == 1, e.Context().Err() != nil:
			return e.Context().Err()
		case err != nil && !isLinkFault(err):
			return err
		case err != nil:
			e.sleepHere(20 * time.Millisecond)
		}
	}
}

// mustStopClaiming requires that waiting for a task ends with its context, though nothing answers.
func mustStopClaiming(e *Env, q queueOn) {
	e.Helper()
	ctx := e.Within(e.Timing.Beat)
	start := time.Now()
	claimed, err := q.Claim(ctx, queue.Claim{Worker: q.worker, Queues: []string{"q"}, Max: 1, Wait: time.Hour})
	require.Less(e, time.Since(start), e.Timing.Beat+e.Timing.Prompt, "waiting went on after its context had ended")
	require.Empty(e, claimed.Tasks)
	if err != nil {
		requireLinkFault(e, err)
	}
	for _, c := range append(queueCalls(q.Backend), adminCalls(q.Admin)...) {
		ctx := e.Within(e.Timing.Beat / 5)
		e.Promptly(c.name, func() {
			if err := c.do(ctx); c.name != "Claim" || err != nil { // a Claim that its context ends is no error
				requireLinkFault(e, err)
			}
		})
	}
}

func claimOnPausedEnds(e *Env) {
	here, _ := queueNodes(e)
	here.mustHaveNone()
	resume := e.Pause()
	mustStopClaiming(e, here)
	resume()
	here.recover()
}

func claimWithoutLinkEnds(e *Env) {
	here, there := queueNodes(e)
	here.mustHaveNone()
	heal := e.Partition(0)
	mustStopClaiming(e, here)
	there.mustEnqueue(task("t"))
	heal()
	here.recover()
	here.mustClaim("t")
}

// cutLosesNoTask has callers enqueue while the link is cut again and again, and then finds every accepted task.
func cutLosesNoTask(e *Env) {
	here, there := queueNodes(e)
	accepted := make(chan string, 100_000)
	underCuts(e, func(i, n int) error {
		q := here
		if i%2 == 1 {
			q = there
		}
		id := fmt.Sprintf("t%d.%d", i, n)
		t := task(id)
		t.CallerID = true
		for {
			r, err := q.Enqueue(e.Context(), []queue.Task{t})
			err = first(r, err, func(r queue.Receipt) error { return r.Err })
			switch {
			case err == nil:
				accepted <- id
				return nil
			case !isLinkFault(err):
				return err
			case e.Context().Err() != nil:
				return nil
			}
			// Nobody knows whether the store has it: with the same ID it can be tried again.
		}
	})
	close(accepted)
	here.recover()
	want := map[string]bool{}
	for id := range accepted {
		want[id] = true
	}
	e.Eventually(func() bool {
		got := there.claim(500)
		for _, l := range got {
			delete(want, l.ID)
		}
		there.mustSettle(queue.Done, got...)
		return len(want) == 0
	}, "every accepted task runs")
	require.Empty(e, there.list(queue.Active, 0), "leases that nobody knows of")
}

// repeatOverCuts settles while the link is cut, and repeats each batch until it is answered.
func repeatOverCuts(e *Env) {
	here, there := queueNodes(e)
	here.lends(1000)
	const n = 60
	there.mustEnqueue(tasks("t", n)...)
	all := there.mustClaimMany(n)
	done := make(chan error, 1)
	begun := make(chan struct{}, n)
	go func() {
		for i, l := range all {
			batch := queue.Settlements{Worker: here.worker, Number: uint64(i + 1), Items: []queue.Settlement{{Ref: l.Ref(), Outcome: queue.Done}}}
			for {
				begun <- struct{}{}
				answers, err := here.Settle(e.Context(), batch)
				<-begun
				if err == nil {
					if answers[0] != nil {
						done <- fmt.Errorf("batch %d: %w", batch.Number, answers[0])
						return
					}
					break
				}
				if !isLinkFault(err) || e.Context().Err() != nil {
					done <- err
					return
				}
			}
			e.sleepHere(3 * time.Millisecond)
		}
		done <- nil
	}()
	for range 8 {
		e.sleep(20 * time.Millisecond)
		e.Cut(0)
	}
	require.NoError(e, Await(e, done, "every settlement, repeated until it was answered"))
	require.Equal(e, int64(n), there.stats().Totals.Completed)
	there.mustCount(map[queue.State]int64{})
}

func waitOverCut(e *Env) {
	here, there := queueNodes(e)
	here.lends(4)
	got := make(chan error, 1)
	go func() { got <- claimUntil(e, here, "t") }()
	for range 3 {
		e.sleep(e.Timing.Beat / 2)
		e.Cut(0)
	}
	there.mustEnqueue(task("t"))
	require.NoError(e, Await(e, got, "the task, by a node whose link was cut"))
}

func lostWorkersTask(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	lost, g := here.leasing("t", here.lends(2))
	there.lends(1000)
	heal := e.Partition(0)
	next := there.mustComeBack(g, "t")
	require.Equal(e, 1, next.Lost)
	heal()
	here.recover()
	here.mustBeLost(lost, queue.Done)
	here.mustBeLost(lost, queue.Dead)
	there.mustSettle(queue.Done, next)
	here.mustHaveNone()
}

func crashedTasksRun(e *Env) {
	here, dying := queueNodes(e)
	here.mustEnqueue(tasks("t", 20)...)
	dying.lends(2)
	g := giving(dying.span(2), func() { require.Len(e, dying.mustClaimMany(20), 20) })
	here.lends(1000)
	e.Crash(1)

	seen := map[string]bool{}
	e.Eventually(func() bool {
		for _, l := range here.claim(20) {
			require.GreaterOrEqual(e, time.Since(g.before), g.ttl, "a crashed node's lease lasts its time too")
			require.Equal(e, 1, l.Lost)
			require.Zero(e, l.Attempts)
			seen[l.ID] = true
		}
		return len(seen) == 20
	}, "the tasks of the crashed node")
}

func crashedWaitTakesNone(e *Env) {
	here, dying := queueNodes(e)
	here.lends(2)
	w := dying.wait()
	e.Crash(1)
	w.cancel()
	for i := range 5 {
		id := fmt.Sprint("t", i)
		here.mustEnqueue(task(id))
		g := here.wait()
		here.mustSettle(queue.Done, g.mustGet(id))
	}
}

func storesTime(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.RunAt = time.Now().Add(time.Hour) }))
	e.AdvanceClock(59 * time.Minute)
	there.mustHaveNone()
	e.AdvanceClock(2 * time.Minute)
	there.mustRunAll("t")
}

func leaseByStoresClock(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	l := here.mustClaim("t")
	e.AdvanceClock(queue.DefaultLease / 2)
	there.mustHaveNone()
	require.NoError(e, here.extend(l))
	e.AdvanceClock(queue.DefaultLease * 3 / 4)
	there.mustHaveNone()
	e.AdvanceClock(queue.DefaultLease)
	require.Equal(e, 1, there.mustClaim("t").Lost)
	here.mustBeLost(l, queue.Done)
}

func idMemoryLasts(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(callersTask("t"))
	there.mustRunAll("t")
	e.AdvanceClock(here.Capabilities.IDMemory - 10*time.Second)
	here.mustDuplicate(callersTask("t"), "t")
	there.mustHaveNone()
}

func answersKept(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	s := queue.Settlement{Ref: here.mustClaim("t").Ref(), Outcome: queue.Done}
	require.NoError(e, here.settleAs(1, s)[0])
	e.AdvanceClock(10*time.Minute - 10*time.Second)
	require.NoError(e, here.settleAs(1, s)[0], "the answer to a repeat")
	there.mustHaveNone()
}
