package conformance

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func uniqueCases() []Case {
	return append(needing(NeedsQueue, []Case{
		{Name: "queue/unique/held-while-scheduled-pending-and-active", Clause: clauseUniqueKey, Run: uniqueHeld},
		{Name: "queue/unique/held-through-retry-snooze-and-release", Clause: clauseUniqueKey, Run: uniqueHeldOn},
		{Name: "queue/unique/given-back-when-done", Clause: clauseUniqueKey, Run: uniqueAfterDone},
		{Name: "queue/unique/given-back-when-dead", Clause: clauseUniqueKey, Run: uniqueAfterDead},
		{Name: "queue/unique/one-of-many-wins", Clause: clauseUniqueKey, Run: uniqueOneWinner},
		{Name: "queue/unique/one-in-a-batch-wins", Clause: clauseUniqueKey, Run: uniqueInBatch},
		{Name: "queue/unique/its-lifetime-ends-it", Clause: clauseUniqueKey, Run: uniqueLifetime},
		{Name: "queue/unique/each-queue-has-its-own", Clause: clauseUniqueKey, Run: uniquePerQueue},
		{Name: "queue/unique/keys-that-look-alike-are-different", Clause: clauseTaskBytes, Run: uniqueNames},
		{Name: "queue/unique/not-held-by-a-task-whose-id-was-taken", Clause: clauseUniqueOwner, Run: uniqueNotLeaked},
		{Name: "queue/unique/a-refused-task-does-not-take-its-id", Clause: clauseUniqueOwner, Run: uniqueLeavesID},
		{Name: "queue/unique/an-old-holder-leaves-the-new-ones", Clause: clauseUniqueOwner, Run: uniqueOldHolder},
	}), needing(NeedsAdmin, []Case{
		{Name: "queue/unique/held-when-a-lease-is-lost", Clause: clauseUniqueKey, Run: uniqueAfterLost},
		{Name: "queue/unique/given-back-when-cancelled", Clause: clauseUniqueKey, Run: uniqueAfterCancel},
		{Name: "queue/unique/given-back-when-removed", Clause: clauseUniqueKey, Run: uniqueAfterRemove},
		{Name: "queue/unique/given-back-when-kept-with-its-result", Clause: clauseUniqueKey, Run: uniqueWhenKept},
		{Name: "queue/unique/requeued-it-does-not-take-anothers", Clause: clauseUniqueOwner, Run: uniqueRequeue},
		{Name: "queue/unique/requeued-it-is-held-again", Clause: clauseUniqueKey, Run: uniqueRequeueHolds},
	})...)
}

// keyed is a task with the unique key "u".
func keyed(id string) queue.Task {
	return taskWith(id, func(t *queue.Task) { t.UniqueKey = "u" })
}

func uniqueHeld(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(taskWith("later", func(t *queue.Task) { t.UniqueKey, t.RunAt = "u", time.Now().Add(time.Hour) }))
	here.mustDuplicate(keyed("other"), "later")
	there.mustDuplicate(keyed("other"), "later")

	other := func(id string) queue.Task { return taskWith(id, func(t *queue.Task) { t.UniqueKey = "v" }) }
	here.mustEnqueue(other("t"))
	there.mustDuplicate(other("while pending"), "t")
	l := there.mustClaim("t")
	here.mustDuplicate(other("while active"), "t")
	there.mustSettle(queue.Done, l)
	there.mustHaveNone()
}

func uniqueHeldOn(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	for _, outcome := range []queue.Outcome{queue.Retry, queue.Snooze, queue.Release} {
		there.mustSettleAs(there.mustClaim("t"), queue.Settlement{Outcome: outcome})
		here.mustDuplicate(keyed("other"), "t")
	}
	there.mustSettleAs(there.mustClaim("t"), queue.Settlement{Outcome: queue.Retry, Delay: time.Hour})
	here.mustDuplicate(keyed("other"), "t")
	there.mustHaveNone()
}

// freed requires that the key can be taken again, by one.
func freed(q queueOn) {
	q.e.Helper()
	q.mustEnqueue(keyed("next"))
	q.mustDuplicate(keyed("third"), "next")
	q.mustRunAll("next")
}

func uniqueAfterDone(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	there.mustRunAll("t")
	freed(here)
}

func uniqueAfterDead(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	there.mustSettle(queue.Dead, there.mustClaim("t"))
	freed(here)
}

func uniqueAfterLost(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	_, next := here.lose("t", there)
	there.mustDuplicate(keyed("other"), "t")
	here.mustSettle(queue.Done, next)
	freed(here)
}

func uniqueAfterCancel(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	require.NoError(e, there.each(there.Admin.Cancel, "t"))
	freed(here)

	here.mustEnqueue(keyed("active"))
	l := there.mustClaim("active")
	require.NoError(e, here.each(here.Admin.Cancel, "active"))
	here.mustDuplicate(keyed("other"), "active") // it has not ended yet
	there.mustSettleAs(l, queue.Settlement{Outcome: queue.Retry})
	freed(here)
}

func uniqueAfterRemove(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	require.NoError(e, there.each(there.Admin.Remove, "t"))
	freed(here)
}

func uniqueWhenKept(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.UniqueKey, t.Retention = "u", time.Hour }))
	there.mustSettle(queue.Done, there.mustClaim("t"))
	here.mustFind("t", queue.Completed)
	freed(here)
}

func uniqueRequeue(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("old"))
	there.mustSettle(queue.Dead, there.mustClaim("old"))
	here.mustEnqueue(keyed("new"))

	requireCode(e, fault.Conflict, there.each(there.Admin.Requeue, "old"), "requeuing a task whose key another holds")
	here.mustFind("old", queue.DeadLetter)
	here.mustDuplicate(keyed("third"), "new")
	there.mustRunAll("new")
	require.NoError(e, there.each(there.Admin.Requeue, "old"))
	there.mustRunAll("old")
}

func uniqueRequeueHolds(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	there.mustSettle(queue.Dead, there.mustClaim("t"))
	require.NoError(e, here.each(here.Admin.Requeue, "t"))
	there.mustDuplicate(keyed("other"), "t")
	there.mustRunAll("t")
	freed(here)
}

func uniqueOneWinner(e *Env) {
	here, there := queueNodes(e)
	oneWinner(e, here, there, func(round, i int) queue.Task { return keyed(fmt.Sprintf("t%d.%d", round, i)) })
}

func uniqueInBatch(e *Env) {
	here, there := queueNodes(e)
	receipts, err := here.Enqueue(e.Context(), []queue.Task{keyed("a"), task("b"), keyed("c"), keyed("d")})
	require.NoError(e, err)
	for i, want := range []queue.Receipt{{ID: "a"}, {ID: "b"}, {ID: "a", Duplicate: true}, {ID: "a", Duplicate: true}} {
		require.Equal(e, want, receipts[i], "receipt %d", i)
	}
	there.mustRunAll("a", "b")
}

func uniqueLifetime(e *Env) {
	here, there := queueNodes(e)
	held := giving(here.span(1), func() {
		here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.UniqueKey, t.UniqueFor = "u", here.span(1) }))
	})
	here.mustComeAs(held, "the unique key", func() bool {
		r := there.enqueue(keyed("next"))
		require.NoError(e, r.Err)
		if r.Duplicate {
			require.Equal(e, "t", r.ID)
		}
		return !r.Duplicate
	})
	there.mustDuplicate(keyed("third"), "next")
	there.mustRunAll("t", "next") // the first one lost its key, and nothing else
}

func uniquePerQueue(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	here.mustEnqueue(taskWith("other", func(t *queue.Task) { t.UniqueKey, t.Queue = "u", "q2" }))
	there.mustSettle(queue.Done, there.mustClaim("other", "q2"))
	here.mustDuplicate(keyed("third"), "t")
}

func uniqueNames(e *Env) {
	here, there := queueNodes(e)
	for i, name := range unusualUpTo(here.Capabilities.MaxName) {
		here.mustEnqueue(taskWith(fmt.Sprint("t", i), func(t *queue.Task) { t.UniqueKey = name }))
	}
	for i, name := range unusualUpTo(here.Capabilities.MaxName) {
		there.mustDuplicate(taskWith("again", func(t *queue.Task) { t.UniqueKey = name }), fmt.Sprint("t", i))
	}
}

func uniqueNotLeaked(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	there.mustDuplicate(keyed("t"), "t") // refused for its ID
	there.mustEnqueue(keyed("next"))
	there.mustRunAll("t", "next")
}

func uniqueLeavesID(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keyed("t"))
	refused := taskWith("next", func(t *queue.Task) { t.UniqueKey, t.CallerID = "u", true })
	there.mustDuplicate(refused, "t") // refused for its key
	there.mustRunAll("t")
	there.mustEnqueue(refused)
	there.mustRunAll("next")
}

func uniqueOldHolder(e *Env) {
	here, there := queueNodes(e)
	for i, end := range []queue.Outcome{queue.Done, queue.Dead} {
		old, next := fmt.Sprint("old", i), fmt.Sprint("next", i)
		here.mustEnqueue(taskWith(old, func(t *queue.Task) { t.UniqueKey, t.UniqueFor = "u", here.span(1) }))
		l := there.mustClaim(old)
		e.Eventually(func() bool { return !here.enqueue(keyed(next)).Duplicate }, "the end of the key's lifetime")

		there.mustSettle(end, l)
		here.mustDuplicate(keyed("third"), next)
		there.mustRunAll(next)
	}
}
