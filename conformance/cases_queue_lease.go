package conformance

import (
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func taskLeaseCases() []Case {
	return append(needing(NeedsAdmin, []Case{
		{Name: "queue/lease/lasts-its-time-and-no-longer", Clause: clauseTaskLease, Run: taskLeaseLasts},
		{Name: "queue/lease/a-task-in-hand-is-nobody-elses", Clause: clauseOneLease, Run: inHand},
		{Name: "queue/lease/a-lost-task-goes-to-one-claim", Clause: clauseOneLease, Run: lostToOne},
		{Name: "queue/lease/a-lost-one-counts-as-lost-not-as-an-attempt", Clause: clauseTaskLost, Run: lostCounts},
		{Name: "queue/lease/lost-too-often-is-dead-with-the-reason", Clause: clauseTaskLost, Run: lostTooOften},
		{Name: "queue/lease/attempts-are-kept-when-a-lease-is-lost", Clause: clauseTaskLost, Run: lostKeepsAttempts},
		{Name: "queue/lease/many-lost-at-once-all-come-back", Clause: clauseAtLeastOnce, Run: manyLost},
		{Name: "queue/lease/a-waiting-task-is-not-behind-a-lost-one-for-ever", Clause: clauseTaskLease, Run: lostAndWaiting},
		{Name: "queue/lease/extending-keeps-a-task", Clause: clauseTaskExtend, Run: extendKeeps},
		{Name: "queue/lease/extending-counts-from-now", Clause: clauseTaskExtend, Run: extendFromNow},
		{Name: "queue/lease/extending-a-batch-answers-for-each", Clause: clauseSettleAlone, Run: extendBatch},
		{Name: "queue/lease/extending-a-stale-claim-is-lost-and-keeps-nothing", Clause: clauseTaskStale, Run: extendStale},
		{Name: "queue/lease/is-a-property-of-the-queue", Clause: clauseLeaseProperty, Run: leaseProperty},
		{Name: "queue/lease/each-queue-has-its-own", Clause: clauseLeaseProperty, Run: leasePerQueue},
	}), needing(NeedsQueue, []Case{
		{Name: "queue/lease/its-length-is-told-with-the-task", Clause: clauseLeaseProperty, Run: leaseTold},
		{Name: "queue/lease/extending-what-has-ended-is-lost", Clause: clauseTaskStale, Run: extendEnded},
		{Name: "queue/lease/extending-with-a-strange-token-is-lost", Clause: clauseTaskStale, Run: extendForged},
	})...)
}

func taskLeaseLasts(e *Env) {
	here, there := queueNodes(e)
	for i, beats := range []int{1, 3} {
		id := fmt.Sprint("t", i)
		here.mustEnqueue(task(id))
		_, g := here.leasing(id, here.lends(beats))
		there.lends(1000)
		there.mustSettle(queue.Done, there.mustComeBack(g, id))
	}
}

func inHand(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	lease := here.lends(3)
	l, g := here.leasing("t", lease)
	for range 20 {
		got := append(there.claim(10), here.claim(10)...)
		if time.Since(g.before) >= lease {
			return // a slow day: it may have been lost by now
		}
		require.Empty(e, idsOf(got), "a task that another claim has in hand")
	}
	err := there.settle(queue.Settlement{Ref: l.Ref(), Outcome: queue.Done})[0]
	if time.Since(g.before) < lease {
		require.NoError(e, err, "a claim may be settled through another node")
	}
}

func lostToOne(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	here.leasing("t", here.lends(1))
	here.lends(1000)
	got := &gathered{seen: map[string]int{}}
	errs := together(8, func(i int) error {
		q := []queueOn{here, there}[i%2]
		// Longer than the lease lasts, in one or more waits.
		for limit := time.Now().Add(2*q.span(1) + q.late()); time.Now().Before(limit); {
			claimed, err := q.Claim(e.Context(), queue.Claim{Worker: fmt.Sprint(q.worker, i), Queues: []string{"q"}, Max: 1, Wait: q.span(1)})
			if err != nil || e.Context().Err() != nil {
				return err
			}
			got.add(claimed.Tasks)
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	require.Equal(e, map[string]int{"t": 1}, got.seen, "claims that got the lost task")
}

func lostCounts(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	_, next := here.lose("t", there)
	require.Equal(e, 1, next.Lost)
	require.Zero(e, next.Attempts, "a lost lease counts as no attempt")
	here.mustSettleAs(next, queue.Settlement{Outcome: queue.Release})

	_, next = here.lose("t", there)
	require.Equal(e, 2, next.Lost)
	require.Zero(e, next.Attempts)
	require.Equal(e, int64(2), here.stats().Totals.Lost)
	require.Equal(e, next.Lost, there.mustFind("t", queue.Active).Lost)
}

func lostTooOften(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.MaxLost, t.UniqueKey = 2, "u" }))
	lease := here.lends(1)
	for range 3 {
		_, g := here.leasing("t", lease)
		e.sleep(g.ttl)
	}
	e.Eventually(func() bool {
		there.mustHaveNone()
		return there.stats().Dead == 1
	}, "the task is dead: it was lost three times, two are allowed")
	dead := there.mustFind("t", queue.DeadLetter)
	require.Equal(e, 3, dead.Lost)
	require.Zero(e, dead.Attempts)
	require.NotEmpty(e, dead.LastError, "the reason")
	there.mustHaveNone()
	freed(here)
}

func lostKeepsAttempts(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	here.mustSettleAs(here.mustClaim("t"), queue.Settlement{Outcome: queue.Retry, Error: "first"})
	_, next := here.lose("t", there)
	require.Equal(e, 1, next.Attempts)
	require.Equal(e, 1, next.Lost)
	require.Equal(e, "first", next.LastError)
	here.mustSettleAs(next, queue.Settlement{Outcome: queue.Retry, Error: "second"})
	last := there.mustClaim("t")
	require.Equal(e, 2, last.Attempts)
	require.Equal(e, 1, last.Lost)
}

func manyLost(e *Env) {
	here, there := queueNodes(e)
	all := tasks("t", 1500) // more than one call may move
	here.mustEnqueue(all...)
	here.lends(4)
	here.mustClaimMany(len(all))
	here.lends(1000)
	seen := map[string]int{}
	e.Eventually(func() bool {
		for _, l := range there.claim(1000) {
			seen[l.ID]++
		}
		return len(seen) == len(all)
	}, "every lost task comes back")
	there.mustHaveNone()
}

func lostAndWaiting(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("lost"))
	_, g := here.leasing("lost", here.lends(1))
	here.lends(1000)
	e.sleep(g.ttl + here.late())
	here.mustEnqueue(task("waiting"))
	there.mustRunAll("lost", "waiting")
}

func extendKeeps(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	lease := here.lends(4)
	l, g := here.leasing("t", lease)
	for begin := time.Now(); time.Since(begin) < 3*lease; {
		e.sleep(lease / 5)
		before := time.Now()
		err := here.extend(l)
		if time.Since(g.before) >= lease {
			return // a slow day: it may have been lost by now
		}
		require.NoError(e, err, "extending in time")
		g = given{before, time.Now(), lease}
		got := there.claim(1)
		if time.Since(g.before) < lease {
			require.Empty(e, idsOf(got), "a task whose lease was extended in time")
		}
	}
	if err := here.settle(queue.Settlement{Ref: l.Ref(), Outcome: queue.Done})[0]; time.Since(g.before) < lease {
		require.NoError(e, err, "settling after extending")
	}
}

func extendFromNow(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	lease := here.lends(2)
	l, g := here.leasing("t", lease)
	e.sleep(lease / 2)
	extended := giving(lease, func() {
		err := here.extend(l)
		if time.Since(g.before) < lease {
			require.NoError(e, err)
		}
	})
	if extended.after.Sub(g.before) >= lease {
		return // a slow day: it may have been lost by now
	}
	here.lends(1000)
	there.mustComeBack(extended, "t")
	here.mustBeLost(l, queue.Done)
}

func extendBatch(e *Env) {
	here, there := queueNodes(e)
	here.lends(1000)
	here.mustEnqueue(tasks("t", 3)...)
	all := here.mustClaimMany(3)
	here.mustSettle(queue.Done, all[1])
	errs, err := there.Extend(e.Context(), []queue.Ref{
		all[0].Ref(), all[1].Ref(), {Queue: "never was", ID: "t0", Token: all[0].Token}, all[2].Ref(), {},
	})
	require.NoError(e, err)
	require.Len(e, errs, 5)
	require.NoError(e, errs[0])
	requireCode(e, fault.LeaseLost, errs[1], "extending what was settled")
	requireCode(e, fault.LeaseLost, errs[2], "extending in a queue that never was")
	require.NoError(e, errs[3])
	requireCode(e, fault.Invalid, errs[4], "extending nothing")
	here.mustSettle(queue.Done, all[0], all[2])
}

func extendStale(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	lease := here.lends(1)
	stale, g := here.leasing("t", lease)
	there.mustComeBack(g, "t") // with a lease as short
	// Extending under the first claim must not make the second one last.
	e.Eventually(func() bool {
		requireCode(e, fault.LeaseLost, here.extend(stale), "extending a stale claim")
		return len(there.claim(1)) == 1
	}, "the second lease ends, whatever the first claim says")
}

func leaseProperty(e *Env) {
	here, there := queueNodes(e)
	p, err := here.Admin.Properties(e.Context(), "q")
	require.NoError(e, err)
	require.Equal(e, queue.Properties{Lease: queue.DefaultLease}, p, "before any were set")

	here.mustEnqueue(tasks("t", 3)...)
	lease := here.lends(40)
	for _, q := range []queueOn{here, there, onQueue(e, e.Open())} {
		p, err := q.Admin.Properties(e.Context(), "q")
		require.NoError(e, err)
		require.Equal(e, lease, p.Lease)
		require.Equal(e, lease, q.mustClaimAny().Lease)
	}
	require.NoError(e, there.Admin.Configure(e.Context(), "q", queue.Properties{}))
	p, err = here.Admin.Properties(e.Context(), "q")
	require.NoError(e, err)
	require.Equal(e, queue.DefaultLease, p.Lease, "a zero lease is the default")
	requireCode(e, fault.Invalid, here.Admin.Configure(e.Context(), "q", queue.Properties{Lease: here.Capabilities.MinLease - 1}), "a lease that is too short")
}

func leasePerQueue(e *Env) {
	here, there := queueNodes(e)
	here.lends(40)
	here.mustEnqueue(taskWith("other", func(t *queue.Task) { t.Queue = "q2" }))
	require.Equal(e, queue.DefaultLease, there.mustClaim("other", "q2").Lease)
}

func leaseTold(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 3)...)
	for _, l := range there.mustClaimMany(3) {
		require.Equal(e, queue.DefaultLease, l.Lease, "the lease of a queue that nobody configured")
		require.NoError(e, here.extend(l), "a lease may be extended through another node")
	}
}

func extendEnded(e *Env) {
	here, there := queueNodes(e)
	for i, outcome := range []queue.Outcome{queue.Done, queue.Retry, queue.Snooze, queue.Dead, queue.Release} {
		id := fmt.Sprint("t", i)
		here.mustEnqueue(task(id))
		l := there.mustClaim(id)
		there.mustSettle(outcome, l)
		requireCode(e, fault.LeaseLost, there.extend(l), "extending a claim that has ended with outcome %d", outcome)
		if outcome != queue.Done && outcome != queue.Dead {
			there.mustRunAll(id) // it can be claimed at once: extending has brought nothing back
		}
	}
}

func extendForged(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"), task("pending"))
	l := there.mustClaim("t")
	for _, token := range []string{"", "forged", l.Token + "x", l.Token[:len(l.Token)-1], "*"} {
		forged := l
		forged.Token = token
		there.mustBeLost(forged, queue.Done)
	}
	other := l
	other.ID = "pending"
	there.mustBeLost(other, queue.Done)
	require.NoError(e, here.extend(l))
	there.mustSettle(queue.Done, l)
	there.mustRunAll("pending")
}
