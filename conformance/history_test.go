package conformance

import (
	"os"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// step is one operation of a history that was made up: from and to are its times, 0 for one that was never answered.
func made(from, to int64, q question, a any) porcupine.Operation {
	return porcupine.Operation{Input: q, Output: a, Call: from, Return: to}
}

// explained checks a history that was made up as a case checks its own.
func explained(t *testing.T, model porcupine.Model, ops ...porcupine.Operation) Result {
	t.Helper()
	return judged(t, ofNothing, Case{Name: "x/y/z", Run: func(e *Env) {
		h := &history{e: e, done: ops}
		h.ticks.Store(1000)
		h.check(model)
	}}, HistoryDir(t.TempDir()))
}

func wrote(value string) (entryQuestion, entryAnswer) {
	return entryQuestion{kind: entryWrite, key: "k", value: value}, entryAnswer{now: version{revision: cache.Revision("of " + value)}}
}

func saw(value string) (entryQuestion, entryAnswer) {
	v := version{}
	if value != "" {
		v = version{true, value, cache.Revision("of " + value)}
	}
	return entryQuestion{kind: entryRead, key: "k"}, entryAnswer{now: v}
}

func op[Q question, A any](from, to int64) func(Q, A) porcupine.Operation {
	return func(q Q, a A) porcupine.Operation { return made(from, to, q, a) }
}

func TestHistoriesOfEntries(t *testing.T) {
	at := op[entryQuestion, entryAnswer]
	a := at(1, 2)(wrote("a"))
	lost := made(3, 0, entryQuestion{kind: entryWrite, key: "k", value: "b"}, entryAnswer{outcome: unknown})
	atRevision := func(r string, o outcome) (entryQuestion, entryAnswer) {
		return entryQuestion{kind: entryWrite, key: "k", value: "c", condition: cache.IfRevision(cache.Revision(r))},
			entryAnswer{outcome: o, now: version{revision: map[outcome]cache.Revision{done: "of c"}[o]}}
	}
	for name, c := range map[string]struct {
		ops []porcupine.Operation
		ok  bool
	}{
		"a read sees what was written":                    {[]porcupine.Operation{a, at(3, 4)(saw("a"))}, true},
		"a read during a write sees either":               {[]porcupine.Operation{a, at(3, 9)(wrote("b")), at(4, 5)(saw("a")), at(6, 7)(saw("b"))}, true},
		"a read after a write must see it":                {[]porcupine.Operation{a, at(3, 4)(wrote("b")), at(5, 6)(saw("a"))}, false},
		"what was seen is not unseen":                     {[]porcupine.Operation{a, at(3, 9)(wrote("b")), at(4, 5)(saw("b")), at(6, 7)(saw("a"))}, false},
		"a write without answer may never happen":         {[]porcupine.Operation{a, lost, at(90, 91)(saw("a"))}, true},
		"a write without answer may happen late":          {[]porcupine.Operation{a, lost, at(90, 91)(saw("a")), at(92, 93)(saw("b"))}, true},
		"and is not undone then":                          {[]porcupine.Operation{a, lost, at(90, 91)(saw("b")), at(92, 93)(saw("a"))}, false},
		"it does not happen before it was asked for":      {[]porcupine.Operation{a, made(5, 0, lost.Input.(question), lost.Output), at(3, 4)(saw("b"))}, false},
		"its revision may be any, until it is seen":       {[]porcupine.Operation{a, lost, at(5, 6)(atRevision("of b", done)), at(7, 8)(saw("c"))}, true},
		"and stays what was seen":                         {[]porcupine.Operation{a, lost, at(5, 6)(saw("b")), at(7, 8)(atRevision("of x", done))}, false},
		"a condition that did not hold is refused":        {[]porcupine.Operation{a, at(3, 4)(atRevision("of x", refused)), at(5, 6)(saw("a"))}, true},
		"one that held must not be":                       {[]porcupine.Operation{a, at(3, 4)(atRevision("of a", refused))}, false},
		"of two writes at one revision one is refused":    {[]porcupine.Operation{a, at(3, 9)(atRevision("of a", done)), at(4, 8)(atRevision("of a", refused))}, true},
		"they are not both done":                          {[]porcupine.Operation{a, at(3, 9)(atRevision("of a", done)), at(4, 8)(atRevision("of a", done))}, false},
		"absent before anything is written":               {[]porcupine.Operation{at(1, 2)(saw(""))}, true},
		"nothing is seen that nobody wrote":               {[]porcupine.Operation{a, at(3, 4)(saw("z"))}, false},
		"a deletion tells whether there was anything":     {[]porcupine.Operation{a, made(3, 4, entryQuestion{kind: entryDelete, key: "k"}, entryAnswer{now: version{found: true}}), at(5, 6)(saw(""))}, true},
		"a deletion does not find what is not there":      {[]porcupine.Operation{made(3, 4, entryQuestion{kind: entryDelete, key: "k"}, entryAnswer{now: version{found: true}})}, false},
		"what is about other keys is another history":     {[]porcupine.Operation{a, made(3, 4, entryQuestion{kind: entryRead, key: "other"}, entryAnswer{})}, true},
		"a conflict tells the revision that is there":     {[]porcupine.Operation{a, made(3, 4, entryQuestion{kind: entryWrite, key: "k", condition: cache.IfAbsent()}, entryAnswer{outcome: refused, now: version{revision: "of a"}})}, true},
		"a conflict tells no revision that is not there":  {[]porcupine.Operation{a, made(3, 4, entryQuestion{kind: entryWrite, key: "k", condition: cache.IfAbsent()}, entryAnswer{outcome: refused, now: version{revision: "of x"}})}, false},
		"two that were there at once may come in any way": {[]porcupine.Operation{at(1, 9)(wrote("b")), at(1, 9)(wrote("a")), at(10, 11)(saw("b")), at(12, 13)(saw("b"))}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := explained(t, entryModel, c.ops...)
			require.Equal(t, c.ok, r.Outcome == Pass, r.Reason)
		})
	}
}

func TestHistoriesOfCounters(t *testing.T) {
	add := func(from, to, delta, value int64, o outcome) porcupine.Operation {
		return made(from, to, counterQuestion{"n", delta}, counterAnswer{o, value})
	}
	pass := func(ops ...porcupine.Operation) {
		t.Helper()
		require.Equal(t, Pass, explained(t, counterModel, ops...).Outcome)
	}
	fail := func(ops ...porcupine.Operation) {
		t.Helper()
		require.Equal(t, Fail, explained(t, counterModel, ops...).Outcome)
	}

	pass(add(1, 4, 5, 5, done), add(2, 3, 1, 6, done), add(5, 6, 0, 6, done))
	fail(add(1, 4, 5, 5, done), add(2, 3, 1, 1, done))
	fail(add(1, 2, 5, 5, done), add(3, 4, 0, 0, done))
	pass(add(1, 0, 5, 0, unknown), add(2, 3, 0, 0, done), add(4, 5, 1, 6, done))
	fail(add(1, 0, 5, 0, unknown), add(2, 3, 0, 5, done), add(4, 5, 1, 11, done)) // added twice
}

func TestHistoriesOfLocks(t *testing.T) {
	acquire := func(from, to int64, holder string, fence uint64) porcupine.Operation {
		return made(from, to, lockQuestion{lockAcquire, "l", holder, 0}, lockAnswer{fence: fence})
	}
	locked := func(from, to int64, holder, by string) porcupine.Operation {
		return made(from, to, lockQuestion{lockAcquire, "l", holder, 0}, lockAnswer{outcome: refused, code: fault.Locked, holder: by})
	}
	ask := func(from, to int64, kind lockKind, holder string, fence uint64, code fault.Code) porcupine.Operation {
		o := done
		if code != 0 {
			o = refused
		}
		return made(from, to, lockQuestion{kind, "l", holder, fence}, lockAnswer{outcome: o, code: code})
	}
	lost := made(1, 0, lockQuestion{lockAcquire, "l", "a", 0}, lockAnswer{outcome: unknown})
	pass := func(ops ...porcupine.Operation) {
		t.Helper()
		r := explained(t, lockModel, ops...)
		require.Equal(t, Pass, r.Outcome, r.Reason)
	}
	fail := func(ops ...porcupine.Operation) {
		t.Helper()
		require.Equal(t, Fail, explained(t, lockModel, ops...).Outcome)
	}

	pass(acquire(1, 2, "a", 1), locked(3, 4, "b", "a"), ask(5, 6, lockRelease, "a", 1, 0), acquire(7, 8, "b", 2))
	fail(acquire(1, 2, "a", 1), acquire(3, 4, "b", 2), ask(5, 6, lockRelease, "a", 1, 0)) // two at once
	fail(acquire(1, 2, "a", 2), ask(3, 4, lockRelease, "a", 2, 0), acquire(5, 6, "b", 2)) // a fence twice
	fail(acquire(1, 2, "a", 1), locked(3, 4, "b", "c"))                                   // told the wrong holder
	fail(acquire(1, 2, "a", 1), ask(3, 4, lockRelease, "a", 1, fault.LeaseLost))          // lost for no reason
	fail(locked(1, 2, "b", "a"))                                                          // held by nobody
	pass(acquire(1, 2, "a", 1), ask(3, 4, lockRelease, "a", 1, 0), ask(5, 6, lockWrite, "a", 1, 0), acquire(7, 8, "b", 2),
		ask(9, 10, lockWrite, "a", 1, fault.Locked), ask(11, 12, lockWrite, "a", 1, fault.Conflict), ask(13, 14, lockRenew, "b", 2, 0))
	fail(acquire(1, 2, "a", 1), ask(3, 4, lockRelease, "a", 1, 0), acquire(5, 6, "b", 2), ask(7, 8, lockWrite, "a", 1, 0)) // fenced off
	pass(lost, acquire(3, 4, "b", 1))                                                                                      // it never happened
	pass(lost, locked(3, 4, "b", "a"), ask(5, 6, lockRelease, "a", 0, 0), acquire(7, 8, "b", 1))                           // it did
	pass(lost, acquire(3, 4, "b", 1), ask(5, 6, lockRelease, "b", 1, 0), locked(7, 8, "c", "a"))                           // late
	fail(lost, locked(3, 4, "b", "a"), acquire(5, 6, "b", 1))
}

func TestHistoriesOfTasks(t *testing.T) {
	ask := func(from, to int64, q taskQuestion, o outcome, token string) porcupine.Operation {
		q.id = "t"
		return made(from, to, q, taskAnswer{o, token})
	}
	enqueue, claim := taskQuestion{kind: taskEnqueue}, taskQuestion{kind: taskClaim}
	settle := func(token string, as queue.Outcome) taskQuestion {
		return taskQuestion{kind: taskSettle, token: token, outcome: as}
	}
	judge := func(leasesEnd bool, ops ...porcupine.Operation) Outcome {
		return explained(t, modelOf(stage{}, taskModel(leasesEnd), describeTask), ops...).Outcome
	}
	stored := ask(1, 2, enqueue, done, "")
	x, y := ask(3, 4, claim, done, "x"), ask(5, 6, claim, done, "y")

	require.Equal(t, Pass, judge(false, stored, x, ask(5, 6, settle("x", queue.Release), done, ""), ask(7, 8, claim, done, "y"), ask(9, 10, settle("x", queue.Done), refused, "")))
	require.Equal(t, Fail, judge(false, stored, x, y), "two at once")
	require.Equal(t, Pass, judge(true, stored, x, y), "the first lease has ended")
	require.Equal(t, Fail, judge(false, stored, x, ask(5, 6, claim, done, "x")), "under one lease, too")
	require.Equal(t, Fail, judge(false, x), "never enqueued")
	require.Equal(t, Fail, judge(false, stored, ask(3, 4, enqueue, done, "")), "stored twice")
	require.Equal(t, Pass, judge(false, stored, ask(3, 4, enqueue, refused, "")))
	require.Equal(t, Fail, judge(false, stored, x, ask(5, 6, settle("x", queue.Done), done, ""), ask(7, 8, claim, done, "y")), "done is done")
	require.Equal(t, Fail, judge(false, stored, x, ask(5, 6, taskQuestion{kind: taskExtend, token: "x"}, refused, "")), "lost for no reason")

	lost := ask(3, 0, claim, unknown, "")
	require.Equal(t, Pass, judge(false, stored, lost, y), "the claim that was lost took something else")
	require.Equal(t, Pass, judge(false, stored, lost, y, ask(7, 8, settle("y", queue.Release), done, "")))
	require.Equal(t, Pass, judge(false, stored, lost, y, ask(7, 8, settle("y", queue.Release), done, ""), ask(9, 10, settle("y", queue.Done), refused, "")), "it may take it late")
}

func TestAFailingHistoryIsToldAndDrawn(t *testing.T) {
	at := op[entryQuestion, entryAnswer]
	r := explained(t, entryModel, at(1, 2)(wrote("a")), at(3, 4)(wrote("b")), at(5, 6)(saw("a")), at(7, 8)(saw("b")))

	require.Equal(t, Fail, r.Outcome)
	require.Contains(t, r.Reason, "set k to b")
	require.Contains(t, r.Reason, "and then none of these fits:\n    client 0: get k → a at")
	require.Len(t, r.Drawings, 1)
	require.Contains(t, r.Reason, r.Drawings[0])
	page, err := os.ReadFile(r.Drawings[0])
	require.NoError(t, err)
	require.Contains(t, string(page), "</html>")
	require.Contains(t, string(page), "get k")
}

func TestAHistoryOfUnknownsProvesNothing(t *testing.T) {
	r := judged(t, ofNothing, Case{Name: "x/y/z", Run: func(e *Env) {
		h := &history{e: e, doubts: 1, done: []porcupine.Operation{made(1, 0, counterQuestion{"n", 1}, counterAnswer{outcome: unknown})}}
		h.check(counterModel)
	}})

	require.Equal(t, Fail, r.Outcome)
	require.Contains(t, r.Reason, "proves nothing")
}
