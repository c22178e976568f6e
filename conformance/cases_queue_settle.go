package conformance

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func settleCases() []Case {
	return append(needing(NeedsQueue, []Case{
		{Name: "queue/settle/done-ends-a-task", Clause: clauseDone, Run: doneEnds},
		{Name: "queue/settle/retry-comes-again-after-its-delay", Clause: clauseRetry, Run: retryDelayed},
		{Name: "queue/settle/retry-without-delay-comes-again-at-once", Clause: clauseRetry, Run: retryAtOnce},
		{Name: "queue/settle/retry-counts-attempts-and-keeps-the-error", Clause: clauseRetry, Run: retryCounts},
		{Name: "queue/settle/a-long-error-is-cut", Clause: clauseRetry, Run: errorCut},
		{Name: "queue/settle/snooze-comes-again-and-counts-nothing", Clause: clauseSnooze, Run: snoozeCountsNothing},
		{Name: "queue/settle/snooze-keeps-its-error", Clause: clauseSnooze, Run: snoozeKeepsError},
		{Name: "queue/settle/dead-is-nobodys-any-more", Clause: clauseDead, Run: deadStays},
		{Name: "queue/settle/released-is-first-in-line", Clause: clauseGiveBack, Run: releasedFirst},
		{Name: "queue/settle/released-counts-nothing", Clause: clauseGiveBack, Run: releasedCountsNothing},
		{Name: "queue/settle/released-keeps-its-priority", Clause: clauseGiveBack, Run: releasedPriority},
		{Name: "queue/settle/twice-is-lost", Clause: clauseTaskStale, Run: settleTwice},
		{Name: "queue/settle/with-a-strange-token-is-lost", Clause: clauseTaskStale, Run: settleForged},
		{Name: "queue/settle/a-batch-answers-for-each", Clause: clauseSettleAlone, Run: settleMixed},
		{Name: "queue/settle/a-batch-may-be-of-many-queues", Clause: clauseSettleAlone, Run: settleQueues},
		{Name: "queue/settle/the-largest-batch-and-not-one-more", Clause: clauseTaskLimits, Run: largestSettle},
		{Name: "queue/settle/bad-settlements-are-invalid-and-leave-the-others", Clause: clauseSettleAlone, Run: badSettlements},
		{Name: "queue/settle/a-repeated-batch-answers-the-same", Clause: clauseNumbered, Run: repeatAnswersSame},
		{Name: "queue/settle/a-repeated-batch-changes-nothing", Clause: clauseNumbered, Run: repeatChangesNothing},
		{Name: "queue/settle/a-repeat-through-another-node-answers-the-same", Clause: clauseNumbered, Run: repeatElsewhere},
		{Name: "queue/settle/a-repeat-of-a-batch-that-ended-a-task-is-not-lost", Clause: clauseNumbered, Run: repeatOfDone},
		{Name: "queue/settle/a-lower-number-is-a-conflict-and-changes-nothing", Clause: clauseNumbered, Run: lowerNumber},
		{Name: "queue/settle/numbers-may-be-left-out", Clause: clauseNumbered, Run: numbersSkip},
		{Name: "queue/settle/each-sender-numbers-for-itself", Clause: clauseNumbered, Run: ownNumbers},
	}), needing(NeedsAdmin, []Case{
		{Name: "queue/settle/stale-done-changes-nothing", Clause: clauseTaskStale, Run: func(e *Env) { staleChangesNothing(e, queue.Done) }},
		{Name: "queue/settle/stale-retry-changes-nothing", Clause: clauseTaskStale, Run: func(e *Env) { staleChangesNothing(e, queue.Retry) }},
		{Name: "queue/settle/stale-snooze-changes-nothing", Clause: clauseTaskStale, Run: func(e *Env) { staleChangesNothing(e, queue.Snooze) }},
		{Name: "queue/settle/stale-dead-changes-nothing", Clause: clauseTaskStale, Run: func(e *Env) { staleChangesNothing(e, queue.Dead) }},
		{Name: "queue/settle/stale-release-changes-nothing", Clause: clauseTaskStale, Run: func(e *Env) { staleChangesNothing(e, queue.Release) }},
		{Name: "queue/settle/a-result-is-kept-for-its-retention", Clause: clauseDone, Run: resultKept},
		{Name: "queue/settle/without-retention-nothing-is-kept", Clause: clauseDone, Run: nothingKept},
		{Name: "queue/settle/a-retention-ends", Clause: clauseDone, Run: retentionEnds},
		{Name: "queue/settle/results-are-any-bytes-up-to-the-limit", Clause: clauseTaskBytes, Run: everyResult},
		{Name: "queue/settle/dead-keeps-its-error", Clause: clauseDead, Run: deadKeepsError},
	})...)
}

func doneEnds(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"), task("next"))
	l := there.mustClaim("t")
	there.mustSettle(queue.Done, l)
	there.mustRunAll("next")
	here.mustHaveNone()
	there.mustBeLost(l, queue.Done)
}

// delayed requires that a settled task comes again after the delay.
func (q queueOn) delayed(l queue.Leased, s queue.Settlement, by queueOn) queue.Leased {
	q.e.Helper()
	g := giving(s.Delay, func() { q.mustSettleAs(l, s) })
	return by.mustComeBack(g, l.ID)
}

func retryDelayed(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	l := here.mustClaim("t")
	for _, delay := range []time.Duration{here.span(2), 70 * time.Millisecond} {
		l = here.delayed(l, queue.Settlement{Outcome: queue.Retry, Delay: delay}, there)
	}
	here.mustSettleAs(l, queue.Settlement{Outcome: queue.Retry, Delay: time.Hour})
	there.mustHaveNone()
}

func retryAtOnce(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	for range 3 {
		here.mustSettle(queue.Retry, there.mustClaim("t"))
	}
	there.mustRunAll("t")
}

func retryCounts(e *Env) {
	here, there := queueNodes(e)
	want := task("t")
	here.mustEnqueue(want)
	for n := range 4 {
		l := there.mustClaim("t")
		require.Equal(e, n, l.Attempts)
		require.Zero(e, l.Lost)
		if n > 0 {
			require.Equal(e, fmt.Sprintf("error %d \x00 ключ", n-1), l.LastError)
		}
		l.Attempts, l.LastError, l.RunAt, want.RunAt = 0, "", time.Time{}, time.Time{}
		sameTask(e, want, l.Task)
		there.mustSettleAs(l, queue.Settlement{Outcome: queue.Retry, Error: fmt.Sprintf("error %d \x00 ключ", n)})
	}
}

func errorCut(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	long := strings.Repeat("error ", 2000)
	there.mustSettleAs(there.mustClaim("t"), queue.Settlement{Outcome: queue.Retry, Error: long})
	kept := there.mustClaim("t").LastError
	require.LessOrEqual(e, len(kept), 4<<10, "an error is kept up to 4 KiB")
	require.GreaterOrEqual(e, len(kept), 4<<10-4)
	require.True(e, strings.HasPrefix(long, kept))
}

func snoozeCountsNothing(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	l := here.mustClaim("t")
	for _, delay := range []time.Duration{here.span(1), 0} {
		l = here.delayed(l, queue.Settlement{Outcome: queue.Snooze, Delay: delay}, there)
		require.Zero(e, l.Attempts, "snoozing counts no attempt")
		require.Zero(e, l.Lost)
		require.Empty(e, l.LastError)
	}
}

func snoozeKeepsError(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	for _, s := range []struct{ says, keeps string }{{"not here \xff", "not here \xff"}, {"", "not here \xff"}, {"nor here", "nor here"}} {
		here.mustSettleAs(here.mustClaim("t"), queue.Settlement{Outcome: queue.Snooze, Error: s.says})
		found := there.mustFind("t", queue.Pending)
		require.Equal(e, s.keeps, found.LastError)
		require.Zero(e, found.Attempts)
	}
	l := there.mustClaim("t")
	require.Equal(e, "nor here", l.LastError)
	there.mustSettleAs(l, queue.Settlement{Outcome: queue.Snooze, Delay: time.Hour, Error: strings.Repeat("long ", 2000)})
	kept := here.mustFind("t", queue.Scheduled).LastError
	require.LessOrEqual(e, len(kept), 4<<10, "an error is kept up to 4 KiB")
	require.True(e, strings.HasPrefix(kept, "long long "))
}

func deadStays(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"), task("next"))
	l := here.mustClaim("t")
	here.mustSettleAs(l, queue.Settlement{Outcome: queue.Dead, Error: "hopeless"})
	there.mustRunAll("next")
	there.mustBeLost(l, queue.Retry)
	there.mustHaveNone()
	here.mustDuplicate(task("t"), "t") // it is kept, and so is its ID
}

func deadKeepsError(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	here.mustSettleAs(here.mustClaim("t"), queue.Settlement{Outcome: queue.Retry, Error: "first"})
	here.mustSettleAs(here.mustClaim("t"), queue.Settlement{Outcome: queue.Dead, Error: "hopeless \xff"})
	dead := there.mustFind("t", queue.DeadLetter)
	require.Equal(e, "hopeless \xff", dead.LastError)
	require.Equal(e, 2, dead.Attempts, "the last attempt counts")
	require.Equal(e, task("t").Payload, dead.Payload)
}

func releasedFirst(e *Env) {
	here, there := queueNodes(e)
	all := tasks("t", 6)
	here.mustEnqueue(all...)
	got := here.mustClaimMany(3)
	here.mustSettle(queue.Release, got...)
	require.Equal(e, taskIDs(all), idsOf(there.mustClaimMany(6)), "those released are first again, in their order")
}

func releasedCountsNothing(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	for i := range 5 {
		l := there.mustClaim("t")
		require.Zero(e, l.Attempts, "after %d releases", i)
		require.Zero(e, l.Lost, "after %d releases", i)
		require.Empty(e, l.LastError)
		here.mustSettleAs(l, queue.Settlement{Outcome: queue.Release, Delay: time.Hour, Error: "no error"})
	}
}

func releasedPriority(e *Env) {
	here, there := queueNodes(e)
	if here.Capabilities.MaxPriority == 0 {
		return
	}
	here.mustEnqueue(task("low"))
	l := here.mustClaim("low")
	here.mustEnqueue(taskWith("high", func(t *queue.Task) { t.Priority = 1 }), task("low2"))
	here.mustSettle(queue.Release, l)
	require.Equal(e, []string{"high", "low", "low2"}, idsOf(there.mustClaimMany(3)))
}

func settleTwice(e *Env) {
	here, there := queueNodes(e)
	for i, first := range []queue.Outcome{queue.Done, queue.Retry, queue.Snooze, queue.Dead, queue.Release} {
		id := fmt.Sprint("t", i)
		here.mustEnqueue(task(id))
		l := here.mustClaim(id)
		here.mustSettle(first, l)
		for _, second := range []queue.Outcome{queue.Done, queue.Retry, queue.Snooze, queue.Dead, queue.Release} {
			there.mustBeLost(l, second)
		}
		if first != queue.Done && first != queue.Dead {
			there.mustRunAll(id)
		}
	}
	there.mustHaveNone()
}

func settleForged(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"), task("other"), task("pending"))
	l, other := here.mustClaim("t"), here.mustClaim("other")
	for _, outcome := range []queue.Outcome{queue.Done, queue.Retry, queue.Dead, queue.Release} {
		for what, ref := range map[string]queue.Ref{
			"no token":                  {Queue: "q", ID: "t"},
			"a made-up token":           {Queue: "q", ID: "t", Token: "made up"},
			"another task's token":      {Queue: "q", ID: "pending", Token: other.Token},
			"another queue":             {Queue: "q2", ID: "t", Token: l.Token},
			"an ID that never was":      {Queue: "q", ID: "t" + l.Token, Token: ""},
			"a token that begins alike": {Queue: "q", ID: "t", Token: l.Token + "0"},
		} {
			requireCode(e, fault.LeaseLost, there.settle(queue.Settlement{Ref: ref, Outcome: outcome})[0], "outcome %d with %s", outcome, what)
		}
	}
	here.mustSettle(queue.Done, l, other)
	there.mustRunAll("pending")
}

// staleChangesNothing settles under the first claim of a task while the second has it in hand.
func staleChangesNothing(e *Env, outcome queue.Outcome) {
	here, there := queueNodes(e)
	want := taskWith("t", func(t *queue.Task) { t.Retention, t.UniqueKey = time.Hour, "u" })
	here.mustEnqueue(want)
	stale, current := here.lose("t", there)

	for _, q := range []queueOn{there, here} {
		err := q.settle(queue.Settlement{
			Ref: stale.Ref(), Outcome: outcome, Error: "stale", Result: []byte("stale"),
		})[0]
		requireCode(e, fault.LeaseLost, err, "settling under a stale claim")
	}
	requireCode(e, fault.LeaseLost, there.extend(stale), "extending a stale claim")
	info := there.mustFind("t", queue.Active)
	require.Equal(e, here.worker, info.Holder, "the second claim still has it")
	require.Zero(e, info.Attempts)
	require.Empty(e, info.LastError)
	there.mustHaveNone()
	there.mustDuplicate(keyed("other"), "t")
	require.NoError(e, here.extend(current))
	here.mustSettleAs(current, queue.Settlement{Outcome: queue.Done, Result: []byte("of the second")})
	require.Equal(e, "of the second", string(there.mustFind("t", queue.Completed).Result))
	require.GreaterOrEqual(e, here.stats().Totals.Stale, int64(2), "refused settlements are counted")
}

func settleMixed(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 6)...)
	all := here.mustClaimMany(6)
	here.mustSettle(queue.Done, all[1])
	errs := there.settle(
		queue.Settlement{Ref: all[0].Ref(), Outcome: queue.Done},
		queue.Settlement{Ref: all[1].Ref(), Outcome: queue.Done}, // done before
		queue.Settlement{Ref: all[2].Ref(), Outcome: queue.Release},
		queue.Settlement{Ref: queue.Ref{Queue: "q", ID: "nobody", Token: "x"}, Outcome: queue.Dead},
		queue.Settlement{Ref: all[3].Ref(), Outcome: queue.Retry, Delay: time.Hour},
		queue.Settlement{Ref: all[4].Ref(), Outcome: queue.Dead},
		queue.Settlement{Ref: all[0].Ref(), Outcome: queue.Retry}, // the second of its kind in the batch
		queue.Settlement{Ref: all[5].Ref(), Outcome: queue.Done},
	)
	for i, err := range errs {
		if i == 1 || i == 3 || i == 6 {
			requireCode(e, fault.LeaseLost, err, "settlement %d", i)
		} else {
			require.NoError(e, err, "settlement %d", i)
		}
	}
	there.mustRunAll("t2")
}

func settleQueues(e *Env) {
	here, there := queueNodes(e)
	names := []string{"b", "a", "c"}
	var items []queue.Settlement
	for i := range 9 {
		t := taskWith(fmt.Sprint("t", i), func(t *queue.Task) { t.Queue = names[i%3] })
		here.mustEnqueue(t)
		l := here.mustClaim(t.ID, t.Queue)
		items = append(items, queue.Settlement{Ref: l.Ref(), Outcome: []queue.Outcome{queue.Done, queue.Release}[i/3%2]})
	}
	items = append(items, queue.Settlement{Ref: queue.Ref{Queue: "a", ID: "t0", Token: "x"}, Outcome: queue.Done})
	errs := there.settle(items...)
	for i := range 9 {
		require.NoError(e, errs[i], "settlement %d", i)
	}
	requireCode(e, fault.LeaseLost, errs[9], "the stale one")
	require.Equal(e, []string{"t4", "t3", "t5"}, idsOf(there.mustClaimMany(3, "a", "b", "c")), "those released")
}

func largestSettle(e *Env) {
	here, there := queueNodes(e)
	most := here.Capabilities.MaxBatch
	here.mustEnqueue(tasks("t", most)...)
	all := here.mustClaimMany(most)
	items := make([]queue.Settlement, most+1)
	for i := range items {
		items[i] = queue.Settlement{Ref: all[min(i, most-1)].Ref(), Outcome: queue.Done}
	}
	_, err := here.Settle(e.Context(), queue.Settlements{Worker: "w", Number: 1, Items: items})
	requireCode(e, fault.TooLarge, err, "a batch of one settlement more than is allowed")
	there.mustSettle(queue.Done, all...)
	there.mustHaveNone()
}

func badSettlements(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 2)...)
	all := here.mustClaimMany(2)
	good := queue.Settlement{Ref: all[0].Ref(), Outcome: queue.Done}
	errs := here.settle(
		queue.Settlement{Ref: all[1].Ref()},
		queue.Settlement{Ref: all[1].Ref(), Outcome: queue.Release + 1},
		good,
		queue.Settlement{Ref: all[1].Ref(), Outcome: queue.Retry, Delay: -1},
		queue.Settlement{Outcome: queue.Done},
	)
	for i, err := range errs {
		if i == 2 {
			require.NoError(e, err, "the one that is fine")
		} else {
			requireCode(e, fault.Invalid, err, "settlement %d", i)
		}
	}
	for what, batch := range map[string]queue.Settlements{
		"no worker": {Number: 99, Items: []queue.Settlement{good}},
		"number 0":  {Worker: "w", Items: []queue.Settlement{good}},
	} {
		_, err := here.Settle(e.Context(), batch)
		requireCode(e, fault.Invalid, err, "a batch with %s", what)
	}
	there.mustSettle(queue.Done, all[1])
}

func repeatAnswersSame(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 5)...)
	all := here.mustClaimMany(5)
	there.mustSettle(queue.Done, all[3])
	batch := []queue.Settlement{
		{Ref: all[0].Ref(), Outcome: queue.Done}, {Ref: all[3].Ref(), Outcome: queue.Done},
		{Ref: all[1].Ref(), Outcome: queue.Retry, Delay: time.Hour}, {Ref: all[2].Ref(), Outcome: queue.Dead},
		{Ref: all[4].Ref(), Outcome: queue.Release}, {Ref: all[4].Ref()},
	}
	want := codesOf(here.settleAs(7, batch...))
	require.Equal(e, []string{"ok", "lease lost", "ok", "ok", "ok", "invalid"}, want)
	for range 3 {
		require.Equal(e, want, codesOf(here.settleAs(7, batch...)), "the answers to a repeat")
	}
	there.mustRunAll("t4")
}

// codesOf names the codes of errors.
func codesOf(errs []error) []string {
	codes := make([]string, len(errs))
	for i, err := range errs {
		codes[i] = fault.CodeOf(err).String()
	}
	return codes
}

func repeatChangesNothing(e *Env) {
	here, there := queueNodes(e)
	for i, outcome := range []queue.Outcome{queue.Retry, queue.Snooze, queue.Release} {
		id, number := fmt.Sprint("t", i), uint64(i+1)
		here.mustEnqueue(task(id))
		s := queue.Settlement{Ref: here.mustClaim(id).Ref(), Outcome: outcome}
		require.NoError(e, here.settleAs(number, s)[0])
		next := there.mustClaim(id) // it is in another hand by now
		require.NoError(e, here.settleAs(number, s)[0], "the answer to a repeat")
		there.mustHaveNone()
		require.NoError(e, there.extend(next), "the next claim stands")
		there.mustSettle(queue.Release, next)
		again := there.mustClaim(id)
		require.Equal(e, next.Attempts, again.Attempts, "a repeat counts nothing")
		there.mustSettle(queue.Done, again)
	}
}

func repeatElsewhere(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	s := queue.Settlement{Ref: here.mustClaim("t").Ref(), Outcome: queue.Retry}
	require.NoError(e, here.settleAs(1, s)[0])
	there.worker = here.worker // the same sender, by another way
	require.NoError(e, there.settleAs(1, s)[0], "the answer to a repeat")
	require.Equal(e, 1, there.mustClaim("t").Attempts)
	there.mustHaveNone()
}

func repeatOfDone(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	s := queue.Settlement{Ref: there.mustClaim("t").Ref(), Outcome: queue.Done}
	for range 3 {
		require.NoError(e, there.settleAs(1, s)[0], "the first answer was lost on the way, perhaps")
	}
	requireCode(e, fault.LeaseLost, there.settleAs(2, s)[0], "under another number it is another batch")
}

func lowerNumber(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(tasks("t", 2)...)
	all := here.mustClaimMany(2)
	require.NoError(e, here.settleAs(5, queue.Settlement{Ref: all[0].Ref(), Outcome: queue.Done})[0])
	for _, number := range []uint64{1, 4} {
		_, err := there.Settle(e.Context(), queue.Settlements{Worker: here.worker, Number: number, Items: []queue.Settlement{
			{Ref: all[1].Ref(), Outcome: queue.Done},
		}})
		requireCode(e, fault.Conflict, err, "batch %d after batch 5", number)
	}
	require.NoError(e, here.settleAs(6, queue.Settlement{Ref: all[1].Ref(), Outcome: queue.Done})[0], "the refused batches have changed nothing")
}

func numbersSkip(e *Env) {
	here, there := queueNodes(e)
	for i, number := range []uint64{3, 4, 900, 1 << 50} {
		id := fmt.Sprint("t", i)
		here.mustEnqueue(task(id))
		require.NoError(e, there.settleAs(number, queue.Settlement{Ref: there.mustClaim(id).Ref(), Outcome: queue.Done})[0])
	}
	there.mustHaveNone()
}

func ownNumbers(e *Env) {
	here, _ := queueNodes(e)
	for i := range 4 {
		q := here
		q.worker = fmt.Sprint(here.worker, i)
		id := fmt.Sprint("t", i)
		here.mustEnqueue(task(id))
		require.NoError(e, q.settleAs(1, queue.Settlement{Ref: q.mustClaim(id).Ref(), Outcome: queue.Done})[0], "batch 1 of sender %d", i)
	}
	here.mustHaveNone()
}

func keptTask(id string, d time.Duration) queue.Task {
	return taskWith(id, func(t *queue.Task) { t.Retention = d })
}

func resultKept(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keptTask("t", time.Hour))
	here.mustSettleAs(here.mustClaim("t"), queue.Settlement{Outcome: queue.Done, Result: []byte("42\x00")})
	info := there.mustFind("t", queue.Completed)
	require.Equal(e, "42\x00", string(info.Result))
	require.Equal(e, task("t").Payload, info.Payload)
	require.WithinDuration(e, time.Now().Add(time.Hour), info.Expires, e.Timing.Wait, "when it is forgotten")
	there.mustHaveNone()
	here.mustDuplicate(task("t"), "t") // it is kept, and so is its ID
	here.mustCount(map[queue.State]int64{queue.Completed: 1})
}

func nothingKept(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t"))
	here.mustSettleAs(here.mustClaim("t"), queue.Settlement{Outcome: queue.Done, Result: []byte("in vain")})
	there.mustForget("t")
	there.mustCount(map[queue.State]int64{})
	require.Empty(e, there.list(queue.Completed, 10))
}

func retentionEnds(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(keptTask("t", here.span(1)))
	l := here.mustClaim("t")
	kept := giving(here.span(1), func() { here.mustSettleAs(l, queue.Settlement{Outcome: queue.Done, Result: []byte("r")}) })
	here.mustComeAs(kept, "the end of the retention", func() bool {
		_, err := there.Admin.Find(e.Context(), "q", "t")
		if err != nil {
			requireCode(e, fault.NotFound, err, "find")
		}
		return err != nil
	})
	there.mustHaveNone() // claiming sweeps what is over
	e.Eventually(func() bool { return there.stats().Completed == 0 }, "it is not counted any more")
	require.Empty(e, there.list(queue.Completed, 10))
	here.mustEnqueue(task("t"))
}

func everyResult(e *Env) {
	here, there := queueNodes(e)
	results := map[string][]byte{"nil": nil, "empty": {}, "one NUL": {0}, "largest": patterned(here.Capabilities.MaxPayload)}
	for name, result := range binaries {
		results[name] = result
	}
	for name, result := range results {
		here.mustEnqueue(keptTask(name, time.Hour))
		here.mustSettleAs(here.mustClaim(name), queue.Settlement{Outcome: queue.Done, Result: result})
		kept := there.mustFind(name, queue.Completed).Result
		require.Truef(e, bytes.Equal(result, kept), "the result %q: %d bytes became %d, or others", name, len(result), len(kept))
	}
	here.mustEnqueue(keptTask("t", time.Hour))
	l := here.mustClaim("t")
	err := here.settle(queue.Settlement{Ref: l.Ref(), Outcome: queue.Done, Result: make([]byte, here.Capabilities.MaxPayload+1)})[0]
	requireCode(e, fault.TooLarge, err, "a result of one byte more than is allowed")
	here.mustSettle(queue.Done, l) // the claim stands
}
