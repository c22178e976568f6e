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

func enqueueCases() []Case {
	return append(needing(NeedsQueue, []Case{
		{Name: "queue/enqueue/a-task-comes-back-with-every-field", Clause: clauseTaskKept, Run: everyField},
		{Name: "queue/enqueue/what-was-left-out-stays-empty", Clause: clauseTaskKept, Run: fewFields},
		{Name: "queue/enqueue/what-happened-so-far-is-the-stores", Clause: clauseTaskKept, Run: forgedHistory},
		{Name: "queue/enqueue/every-payload-survives", Clause: clauseTaskBytes, Run: everyPayload},
		{Name: "queue/enqueue/headers-keep-case-and-bytes", Clause: clauseTaskBytes, Run: everyHeader},
		{Name: "queue/enqueue/unusual-ids-are-their-own-tasks", Clause: clauseTaskBytes, Run: unusualIDs},
		{Name: "queue/enqueue/unusual-queues-do-not-touch-each-other", Clause: clauseTaskBytes, Run: unusualQueues},
		{Name: "queue/enqueue/the-largest-payload-and-not-one-byte-more", Clause: clauseTaskLimits, Run: largestPayload},
		{Name: "queue/enqueue/headers-count-as-payload", Clause: clauseTaskLimits, Run: headersCount},
		{Name: "queue/enqueue/the-longest-names-and-not-one-byte-more", Clause: clauseTaskLimits, Run: longestNames},
		{Name: "queue/enqueue/the-largest-batch-and-not-one-task-more", Clause: clauseTaskLimits, Run: largestEnqueue},
		{Name: "queue/enqueue/bad-tasks-are-invalid-and-leave-the-others", Clause: clauseTaskLimits, Run: badTasks},
		{Name: "queue/enqueue/what-is-given-is-not-kept", Clause: clauseTaskBuffers, Run: givenNotKept},
		{Name: "queue/enqueue/what-is-returned-is-the-callers", Clause: clauseTaskBuffers, Run: returnedIsCallers},
		{Name: "queue/enqueue/a-batch-has-a-receipt-for-each", Clause: clauseReceipts, Run: receiptForEach},
		{Name: "queue/enqueue/an-empty-batch-is-fine", Clause: clauseReceipts, Run: emptyBatch},
		{Name: "queue/enqueue/an-id-is-taken-once", Clause: clauseTaskID, Run: idOnce},
		{Name: "queue/enqueue/an-id-twice-in-a-batch-is-taken-once", Clause: clauseTaskID, Run: idTwiceInBatch},
		{Name: "queue/enqueue/one-of-many-with-the-same-id-wins", Clause: clauseTaskID, Run: idOneWinner},
		{Name: "queue/enqueue/ids-that-begin-alike-are-different", Clause: clauseTaskID, Run: idPrefixes},
		{Name: "queue/enqueue/a-callers-id-stays-known-when-done", Clause: clauseIDMemory, Run: idRemembered},
		{Name: "queue/enqueue/an-id-nobody-chose-is-free-when-done", Clause: clauseIDMemory, Run: idForgotten},
	}), needing(NeedsAdmin, []Case{
		{Name: "queue/enqueue/a-callers-id-stays-known-when-removed", Clause: clauseIDMemory, Run: idRememberedRemoved},
	})...)
}

// sameTask requires that a task came back as it was given, and that nothing has happened to it.
func sameTask(e *Env, want, got queue.Task) {
	e.Helper()
	require.True(e, bytes.Equal(want.Payload, got.Payload), "the payload of %.60q: %d bytes became %d, or others", want.ID, len(want.Payload), len(got.Payload))
	for what, times := range map[string][2]time.Time{
		"EnqueuedAt": {want.EnqueuedAt, got.EnqueuedAt}, "RunAt": {want.RunAt, got.RunAt}, "Deadline": {want.Deadline, got.Deadline},
	} {
		require.Truef(e, times[0].Equal(times[1]) && times[0].IsZero() == times[1].IsZero(), "%s of %.60q: %v became %v", what, want.ID, times[0], times[1])
	}
	require.Equal(e, len(want.Headers), len(got.Headers), "headers of %.60q", want.ID)
	for key, value := range want.Headers {
		require.Equalf(e, value, got.Headers[key], "the header %q of %.60q", key, want.ID)
	}
	got.Payload, got.Headers, got.EnqueuedAt, got.RunAt, got.Deadline = want.Payload, want.Headers, want.EnqueuedAt, want.RunAt, want.Deadline
	require.Equal(e, want, got)
}

func everyField(e *Env) {
	here, there := queueNodes(e)
	now := time.Now().Round(0)
	want := queue.Task{
		ID: "0190b5d8-7a1c-7c3e-8d2a-5c9d0b6f1e2a", CallerID: true, Kind: "mail.welcome", Queue: "q",
		Priority: min(1, here.Capabilities.MaxPriority),
		Payload:  []byte(`{"to":"ada"}`), Headers: map[string]string{"traceparent": "00-x-y-01", "Tenant": "Ünïcode"},
		EnqueuedAt: now.Add(-time.Minute), RunAt: now.Add(-time.Second), Deadline: now.Add(time.Hour),
		MaxAttempts: 7, MaxLost: 3, Timeout: 1500 * time.Millisecond,
		UniqueKey: "ada", UniqueFor: time.Hour, Retention: 24 * time.Hour,
	}
	here.mustEnqueue(want)
	sameTask(e, want, there.mustClaim(want.ID).Task)
}

func fewFields(e *Env) {
	here, there := queueNodes(e)
	want := queue.Task{ID: "t", Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1}
	here.mustEnqueue(want)
	got := there.mustClaim("t")
	got.RunAt, got.EnqueuedAt = time.Time{}, time.Time{} // a store may say when it was
	sameTask(e, want, got.Task)
}

func forgedHistory(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(taskWith("t", func(t *queue.Task) { t.Attempts, t.Lost, t.LastError = 4, 4, "not yet" }))
	sameTask(e, task("t"), there.mustClaim("t").Task)
}

func everyPayload(e *Env) {
	here, there := queueNodes(e)
	payloads := map[string][]byte{"nil": nil, "empty": {}, "one NUL": {0}, "64 KiB": patterned(64 << 10)}
	for name, payload := range binaries {
		payloads[name] = payload
	}
	for name, payload := range payloads {
		here.mustEnqueue(taskWith(name, func(t *queue.Task) { t.Payload = payload }))
	}
	for _, l := range there.mustClaimMany(len(payloads)) {
		require.Truef(e, bytes.Equal(payloads[l.ID], l.Payload), "the payload %q: %d bytes became %d, or others", l.ID, len(payloads[l.ID]), len(l.Payload))
	}
}

// oddHeaders are keys and values that something on the way would like to change.
var oddHeaders = map[string]string{
	"lower": "a", "Upper": "b", "UPPER": "c", "mIxEd-CaSe": "d", "X-Custom": "e", "empty": "", "with space": " both ends ",
	"with:colon": "a: b", "ключ": "значение", "new\nline": "a\r\nb", "nul\x00": "\x00", "not UTF-8 \xff": "\xff\xfe", "=": "=;,",
}

func everyHeader(e *Env) {
	here, there := queueNodes(e)
	want := taskWith("t", func(t *queue.Task) { t.Headers = oddHeaders })
	here.mustEnqueue(want)
	sameTask(e, want, there.mustClaim("t").Task)
}

func unusualIDs(e *Env) {
	here, there := queueNodes(e)
	names := unusualUpTo(here.Capabilities.MaxName)
	for _, name := range names {
		here.mustEnqueue(taskWith(name, func(t *queue.Task) { t.Kind, t.UniqueKey, t.CallerID = name, name, true }))
	}
	for _, name := range names {
		there.mustDuplicate(task(name), name)
	}
	all := there.mustClaimMany(len(names))
	require.Equal(e, names, idsOf(all))
	for _, l := range all {
		require.Equal(e, l.ID, l.Kind)
		require.Equal(e, l.ID, l.UniqueKey)
	}
	there.mustSettle(queue.Done, all...)
	here.mustHaveNone()
}

func unusualQueues(e *Env) {
	here, there := queueNodes(e)
	names := unusualUpTo(here.Capabilities.MaxName)
	for i, name := range names {
		here.mustEnqueue(taskWith(fmt.Sprint("t", i), func(t *queue.Task) { t.Queue = name }))
	}
	for i, name := range names {
		l := there.mustClaim(fmt.Sprint("t", i), name)
		require.Equal(e, name, l.Queue)
		there.mustHaveNone(name)
		there.mustSettle(queue.Done, l)
	}
}

func largestPayload(e *Env) {
	here, there := queueNodes(e)
	most := here.Capabilities.MaxPayload
	want := taskWith("t", func(t *queue.Task) { t.Payload = patterned(most) })
	here.mustEnqueue(want)
	sameTask(e, want, there.mustClaim("t").Task)

	r := here.enqueue(taskWith("more", func(t *queue.Task) { t.Payload = make([]byte, most+1) }))
	requireCode(e, fault.TooLarge, r.Err, "a payload of one byte more than is allowed")
	there.mustHaveNone()
}

func headersCount(e *Env) {
	here, there := queueNodes(e)
	header := map[string]string{"key": strings.Repeat("v", 61)} // 64 bytes
	fits := taskWith("t", func(t *queue.Task) {
		t.Headers, t.Payload = header, patterned(here.Capabilities.MaxPayload-64)
	})
	here.mustEnqueue(fits)
	sameTask(e, fits, there.mustClaim("t").Task)

	fits.ID, fits.Payload = "more", append(fits.Payload, 0)
	requireCode(e, fault.TooLarge, here.enqueue(fits).Err, "a payload that is too large with its headers")
	there.mustHaveNone()
}

func longestNames(e *Env) {
	here, there := queueNodes(e)
	most := here.Capabilities.MaxName
	name := strings.Repeat("ж", most/2) + strings.Repeat(":", most%2)
	for what, set := range map[string]func(*queue.Task, string){
		"queue":      func(t *queue.Task, name string) { t.Queue = name },
		"ID":         func(t *queue.Task, name string) { t.ID = name },
		"unique key": func(t *queue.Task, name string) { t.UniqueKey = name },
		"kind":       func(t *queue.Task, name string) { t.Kind = name },
	} {
		fits := taskWith("t "+what, func(t *queue.Task) { set(t, name) })
		here.mustEnqueue(fits)
		l := there.mustClaim(fits.ID, fits.Queue)
		sameTask(e, fits, l.Task)
		there.mustSettle(queue.Done, l)

		tooLong := taskWith("t "+what, func(t *queue.Task) { set(t, name+"x") })
		requireCode(e, fault.Invalid, here.enqueue(tooLong).Err, "a %s of one byte more than is allowed", what)
	}
	there.mustHaveNone()
}

func largestEnqueue(e *Env) {
	here, there := queueNodes(e)
	all := tasks("t", here.Capabilities.MaxBatch+1)
	_, err := here.Enqueue(e.Context(), all)
	requireCode(e, fault.TooLarge, err, "a batch of one task more than is allowed")
	there.mustHaveNone()

	all = all[:len(all)-1]
	here.mustEnqueue(all...)
	require.Equal(e, taskIDs(all), idsOf(there.mustClaimMany(len(all))))
}

func badTasks(e *Env) {
	here, there := queueNodes(e)
	bad := map[string]func(*queue.Task){
		"no ID":                  func(t *queue.Task) { t.ID = "" },
		"no kind":                func(t *queue.Task) { t.Kind = "" },
		"no queue":               func(t *queue.Task) { t.Queue = "" },
		"no attempt":             func(t *queue.Task) { t.MaxAttempts = 0 },
		"no lease to lose":       func(t *queue.Task) { t.MaxLost = 0 },
		"a priority below 0":     func(t *queue.Task) { t.Priority = -1 },
		"a priority too high":    func(t *queue.Task) { t.Priority = here.Capabilities.MaxPriority + 1 },
		"a timeout below 0":      func(t *queue.Task) { t.Timeout = -1 },
		"a retention below 0":    func(t *queue.Task) { t.Retention = -1 },
		"a key's lifetime below": func(t *queue.Task) { t.UniqueKey, t.UniqueFor = "u", -1 },
	}
	for what, spoil := range bad {
		batch := tasks(what, 3)
		spoil(&batch[1])
		receipts, err := here.Enqueue(e.Context(), batch)
		require.NoError(e, err, "what is wrong with one task is its own error")
		require.Len(e, receipts, 3)
		requireCode(e, fault.Invalid, receipts[1].Err, "a task with %s", what)
		for _, i := range []int{0, 2} {
			require.NoErrorf(e, receipts[i].Err, "a task beside one with %s", what)
			require.Equal(e, batch[i].ID, receipts[i].ID)
		}
		there.mustRunAll(batch[0].ID, batch[2].ID)
	}
}

func givenNotKept(e *Env) {
	here, there := queueNodes(e)
	mine := taskWith("t", func(t *queue.Task) { t.Headers = map[string]string{"k": "v"} })
	batch := []queue.Task{mine}
	receipts, err := here.Enqueue(e.Context(), batch)
	require.NoError(e, only(e, receipts, err).Err)
	clear(batch[0].Payload)
	batch[0].Headers["k"] = "changed"
	batch[0] = task("another")

	want := taskWith("t", func(t *queue.Task) { t.Headers = map[string]string{"k": "v"} })
	sameTask(e, want, there.mustClaim("t").Task)
}

func returnedIsCallers(e *Env) {
	here, there := queueNodes(e)
	want := taskWith("t", func(t *queue.Task) { t.Headers = map[string]string{"k": "v"} })
	here.mustEnqueue(want)
	for range 3 {
		l := here.mustClaim("t")
		sameTask(e, want, l.Task)
		clear(l.Payload)
		l.Headers["k"] = "changed"
		l.Headers["new"] = "added"
		here.mustSettle(queue.Release, l)
	}
	sameTask(e, want, there.mustClaim("t").Task)
}

func receiptForEach(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(task("t1"), taskWith("holder", func(t *queue.Task) { t.UniqueKey = "u" }))
	receipts, err := here.Enqueue(e.Context(), []queue.Task{
		task("t0"), task("t1"), taskWith("refused", func(t *queue.Task) { t.UniqueKey = "u" }), {}, task("t2"),
	})
	require.NoError(e, err)
	require.Len(e, receipts, 5)
	for i, want := range []queue.Receipt{{ID: "t0"}, {ID: "t1", Duplicate: true}, {ID: "holder", Duplicate: true}, {}, {ID: "t2"}} {
		if i == 3 {
			requireCode(e, fault.Invalid, receipts[i].Err, "an empty task")
			continue
		}
		require.Equal(e, want, receipts[i], "receipt %d", i)
	}
	there.mustRunAll("t0", "t1", "t2", "holder")
}

func emptyBatch(e *Env) {
	here, there := queueNodes(e)
	receipts, err := here.Enqueue(e.Context(), nil)
	require.NoError(e, err, "enqueuing nothing")
	require.Empty(e, receipts)
	errs, err := here.Extend(e.Context(), nil)
	require.NoError(e, err, "extending nothing")
	require.Empty(e, errs)
	require.Empty(e, here.settle(), "settling nothing")
	there.mustHaveNone()
}

func idOnce(e *Env) {
	here, there := queueNodes(e)
	first := task("t")
	here.mustEnqueue(first)
	other := taskWith("t", func(t *queue.Task) { t.Payload, t.Kind = []byte("another"), "other" })
	here.mustDuplicate(other, "t")
	there.mustDuplicate(other, "t")

	l := there.mustClaim("t")
	sameTask(e, first, l.Task)
	here.mustDuplicate(other, "t") // also while it is active
	there.mustSettle(queue.Done, l)
	there.mustHaveNone()
}

func idTwiceInBatch(e *Env) {
	here, there := queueNodes(e)
	receipts, err := here.Enqueue(e.Context(), []queue.Task{task("a"), task("b"), task("a"), task("b"), task("a")})
	require.NoError(e, err)
	for i, want := range []queue.Receipt{{ID: "a"}, {ID: "b"}, {ID: "a", Duplicate: true}, {ID: "b", Duplicate: true}, {ID: "a", Duplicate: true}} {
		require.Equal(e, want, receipts[i], "receipt %d", i)
	}
	there.mustRunAll("a", "b")
}

func idOneWinner(e *Env) {
	here, there := queueNodes(e)
	oneWinner(e, here, there, func(round, i int) queue.Task {
		return taskWith(fmt.Sprint("t", round), func(t *queue.Task) { t.CallerID, t.Kind = true, fmt.Sprint("of ", i) })
	})
}

// oneWinner has 16 callers on two nodes enqueue what excludes each other, and requires that one gets through each time.
func oneWinner(e *Env, here, there queueOn, make func(round, i int) queue.Task) {
	e.Helper()
	for round := range 15 {
		receipts := [16]queue.Receipt{}
		errs := together(len(receipts), func(i int) error {
			r, err := []queueOn{here, there}[i%2].Enqueue(e.Context(), []queue.Task{make(round, i)})
			if err == nil {
				receipts[i] = r[0]
			}
			return err
		})
		winners, winner := 0, ""
		for i, r := range receipts {
			require.NoError(e, errs[i])
			require.NoError(e, r.Err)
			if !r.Duplicate {
				winners, winner = winners+1, r.ID
			}
		}
		require.Equal(e, 1, winners, "callers whose task was stored")
		for _, r := range receipts {
			require.Equal(e, winner, r.ID, "the task that all others are told of")
		}
		there.mustRunAll(winner)
	}
}

func idPrefixes(e *Env) {
	here, there := queueNodes(e)
	ids := []string{"t", "t1", "t10", "t:1", "t ", "T", "t1 ", "1", "01", "1.0"}
	for _, id := range ids {
		here.mustEnqueue(task(id))
	}
	there.mustSettle(queue.Done, there.mustClaim("t"))
	here.mustEnqueue(task("t")) // the others' records do not stand in the way, and neither do they go with it
	there.mustRunAll(ids...)
}

func callersTask(id string) queue.Task {
	return taskWith(id, func(t *queue.Task) { t.CallerID = true })
}

func idRemembered(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(callersTask("a"), callersTask("b"))
	there.mustRunAll("a", "b")
	here.mustDuplicate(callersTask("a"), "a")
	there.mustDuplicate(callersTask("b"), "b")
	there.mustHaveNone()
}

func idRememberedRemoved(e *Env) {
	here, there := queueNodes(e)
	here.mustEnqueue(callersTask("t"))
	require.NoError(e, there.each(there.Admin.Remove, "t"))
	here.mustDuplicate(callersTask("t"), "t")
	there.mustHaveNone()
}

func idForgotten(e *Env) {
	here, there := queueNodes(e)
	for range 3 {
		here.mustEnqueue(task("t"))
		there.mustRunAll("t")
	}
}
