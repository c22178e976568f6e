package conformance

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func batchCases() []Case {
	return needing(NeedsCache, []Case{
		{Name: "cache/batch/answers-are-in-order", Clause: clauseElements, Run: batchInOrder},
		{Name: "cache/batch/of-nothing-answers-nothing", Clause: clauseElements, Run: batchOfNothing},
		{Name: "cache/batch/a-thousand-elements-are-taken", Clause: clauseSizes, Run: batchOfThousand},
		{Name: "cache/batch/more-than-the-most-is-refused", Clause: clauseSizes, Run: batchTooLarge},
		{Name: "cache/batch/a-failing-write-leaves-the-others", Clause: clauseIndependent, Run: batchSetMixed},
		{Name: "cache/batch/a-failing-delete-leaves-the-others", Clause: clauseIndependent, Run: batchDeleteMixed},
		{Name: "cache/batch/a-failing-touch-leaves-the-others", Clause: clauseIndependent, Run: batchTouchMixed},
		{Name: "cache/batch/a-failing-add-leaves-the-others", Clause: clauseIndependent, Run: batchAddMixed},
		{Name: "cache/batch/a-refused-read-leaves-the-others", Clause: clauseIndependent, Run: batchGetMixed},
		{Name: "cache/batch/a-locked-lock-leaves-the-others", Clause: clauseIndependent, Run: batchLocksMixed},
	})
}

func batchInOrder(e *Env) {
	here := on(e, e.Node)
	const n = 200
	writes, reads := make([]cache.Write, n), make([]cache.Read, 0, 2*n)
	for i := range n {
		writes[i] = cache.Write{Key: fmt.Sprint("k", i), Value: fmt.Append(nil, i), Flags: uint8(i)}
		reads = append(reads, cache.Read{Key: fmt.Sprint("k", n-1-i)}, cache.Read{Key: fmt.Sprint("absent", i)})
	}
	written, err := here.Set(e.Context(), writes)
	require.NoError(e, err)
	require.Len(e, written, n)

	got, err := here.Get(e.Context(), reads)
	require.NoError(e, err)
	require.Len(e, got, 2*n)
	for i := range n {
		there, absent := got[2*i], got[2*i+1]
		require.True(e, there.Found, "element %d", 2*i)
		require.Equal(e, fmt.Sprint(n-1-i), string(there.Entry.Value), "element %d", 2*i)
		require.Equal(e, written[n-1-i].Revision, there.Entry.Revision, "element %d", 2*i)
		require.False(e, absent.Found, "element %d", 2*i+1)
	}
}

func batchOfNothing(e *Env) {
	b := e.Node.Cache()
	ctx := e.Context()
	got, err := b.Get(ctx, nil)
	require.NoError(e, err)
	require.Empty(e, got)
	written, err := b.Set(ctx, []cache.Write{})
	require.NoError(e, err)
	require.Empty(e, written)
	removed, err := b.Delete(ctx, nil)
	require.NoError(e, err)
	require.Empty(e, removed)
	touched, err := b.Touch(ctx, nil)
	require.NoError(e, err)
	require.Empty(e, touched)
	sums, err := b.Add(ctx, nil)
	require.NoError(e, err)
	require.Empty(e, sums)
	leases, err := b.Acquire(ctx, nil)
	require.NoError(e, err)
	require.Empty(e, leases)
	leases, err = b.Renew(ctx, nil)
	require.NoError(e, err)
	require.Empty(e, leases)
	errs, err := b.Release(ctx, nil)
	require.NoError(e, err)
	require.Empty(e, errs)
}

func batchOfThousand(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	n := min(here.Capabilities.MaxBatch, 2000)
	writes, reads, removals := make([]cache.Write, n), make([]cache.Read, n), make([]cache.Removal, n)
	increments, lifetimes := make([]cache.Increment, n), make([]cache.Lifetime, n)
	for i := range n {
		key := fmt.Sprint("k", i)
		writes[i] = cache.Write{Key: key, Value: fmt.Append(nil, i)}
		reads[i], removals[i] = cache.Read{Key: key, Expiry: i%2 == 0}, cache.Removal{Key: key}
		increments[i], lifetimes[i] = cache.Increment{Key: key, Delta: 1}, cache.Lifetime{Key: key, TTL: time.Hour}
	}

	written, err := here.Set(e.Context(), writes)
	require.NoError(e, err)
	require.Len(e, written, n)
	sums, err := there.Add(e.Context(), increments)
	require.NoError(e, err)
	require.Len(e, sums, n)
	touched, err := here.Touch(e.Context(), lifetimes)
	require.NoError(e, err)
	require.Len(e, touched, n)
	got, err := there.Get(e.Context(), reads)
	require.NoError(e, err)
	require.Len(e, got, n)
	removed, err := here.Delete(e.Context(), removals)
	require.NoError(e, err)
	require.Len(e, removed, n)

	for i := range n {
		require.NoError(e, written[i].Err)
		require.NoError(e, sums[i].Err)
		require.Equal(e, int64(i+1), sums[i].Value)
		require.NoError(e, touched[i].Err)
		require.Equal(e, fmt.Sprint(i+1), string(got[i].Entry.Value))
		require.True(e, removed[i].Existed)
	}
}

func batchTooLarge(e *Env) {
	here := on(e, e.Node)
	n := here.Capabilities.MaxBatch + 1
	writes, reads := make([]cache.Write, n), make([]cache.Read, n)
	for i := range n {
		writes[i] = cache.Write{Key: fmt.Sprint("k", i%10), Value: []byte("v")}
		reads[i] = cache.Read{Key: "k"}
	}
	_, err := here.Set(e.Context(), writes)
	requireCode(e, fault.TooLarge, err, "a batch of one more than the most")
	require.Empty(e, here.keys(""), "a batch that was refused was done in part")

	_, err = here.Get(e.Context(), reads)
	requireCode(e, fault.TooLarge, err, "a batch of one more than the most")
}

// mustFail requires that exactly the elements named fail, each with its code.
func mustFail[R any](e *Env, results []R, err error, errOf func(R) error, want map[int]fault.Code) {
	e.Helper()
	require.NoError(e, err, "one element's error is not the call's")
	for i, r := range results {
		if code, fails := want[i]; fails {
			requireCode(e, code, errOf(r), "element %d", i)
		} else {
			require.NoError(e, errOf(r), "element %d", i)
		}
	}
}

func batchSetMixed(e *Env) {
	here := on(e, e.Node)
	here.mustSet("there", "before")
	here.mustAcquire("locked", "a", time.Minute)

	results, err := here.Set(e.Context(), []cache.Write{
		{Key: "first", Value: []byte("1")},
		{Key: "there", Value: []byte("x"), If: cache.IfAbsent()},
		{Key: "second", Value: []byte("2"), If: cache.IfAbsent()},
		{Key: "short", Value: []byte("x"), TTL: -time.Second},
		{Key: "", Value: []byte("x")},
		{Key: "locked", Value: []byte("x"), Guard: cache.Guard{Holder: "b"}},
		{Key: "large", Value: make([]byte, here.Capabilities.MaxValue+1)},
		{Key: "last", Value: []byte("3"), TTL: time.Hour},
	})
	require.Len(e, results, 8)
	mustFail(e, results, err, func(w cache.Written) error { return w.Err }, map[int]fault.Code{
		1: fault.Conflict, 3: fault.Invalid, 4: fault.Invalid, 5: fault.Locked, 6: fault.TooLarge,
	})

	here.mustHave("first", "1")
	here.mustHave("second", "2")
	here.mustHave("last", "3")
	here.mustHave("there", "before")
	require.ElementsMatch(e, []string{"first", "second", "last", "there"}, here.keys(""))
}

func batchDeleteMixed(e *Env) {
	here := on(e, e.Node)
	for _, key := range []string{"first", "kept", "last"} {
		here.mustSet(key, "v")
	}
	results, err := here.Delete(e.Context(), []cache.Removal{
		{Key: "first"}, {Key: "kept", If: cache.IfRevision("no such")}, {Key: "absent"}, {Key: ""}, {Key: "last"},
	})
	mustFail(e, results, err, func(r cache.Removed) error { return r.Err }, map[int]fault.Code{1: fault.Conflict, 3: fault.Invalid})
	require.Equal(e, []string{"kept"}, here.keys(""))
	require.True(e, results[0].Existed && results[4].Existed)
	require.False(e, results[2].Existed)
}

func batchTouchMixed(e *Env) {
	here := on(e, e.Node)
	here.mustSet("first", "v")
	here.mustSet("last", "v")
	results, err := here.Touch(e.Context(), []cache.Lifetime{
		{Key: "first", TTL: time.Hour}, {Key: "absent", TTL: time.Hour}, {Key: "first", TTL: -1}, {Key: "last", TTL: time.Hour},
	})
	mustFail(e, results, err, func(t cache.Touched) error { return t.Err }, map[int]fault.Code{1: fault.NotFound, 2: fault.Invalid})
	require.NotZero(e, here.mustHave("first", "v").Expires)
	require.NotZero(e, here.mustHave("last", "v").Expires)
	here.mustLack("absent")
}

func batchAddMixed(e *Env) {
	here := on(e, e.Node)
	here.mustSet("text", "text")
	here.mustSet("full", "9223372036854775807")
	results, err := here.Add(e.Context(), []cache.Increment{
		{Key: "first", Delta: 1}, {Key: "text", Delta: 1}, {Key: "full", Delta: 1}, {Key: "last", Delta: 2},
	})
	mustFail(e, results, err, func(s cache.Sum) error { return s.Err }, map[int]fault.Code{1: fault.Invalid, 2: fault.Exhausted})
	here.mustHave("first", "1")
	here.mustHave("text", "text")
	here.mustHave("full", "9223372036854775807")
	here.mustHave("last", "2")
}

func batchGetMixed(e *Env) {
	here := on(e, e.Node)
	for _, key := range []string{"first", "locked", "last"} {
		here.mustSet(key, key)
	}
	here.mustAcquire("locked", "a", time.Minute)
	results, err := here.Get(e.Context(), []cache.Read{
		{Key: "first"}, {Key: "locked", Guard: cache.Guard{Holder: "b"}}, {Key: ""}, {Key: "last"},
	})
	mustFail(e, results, err, func(g cache.Got) error { return g.Err }, map[int]fault.Code{1: fault.Locked, 2: fault.Invalid})
	require.False(e, results[1].Found, "a guarded read gave the value away")
	require.Equal(e, "first", string(results[0].Entry.Value))
	require.Equal(e, "last", string(results[3].Entry.Value))
}

func batchLocksMixed(e *Env) {
	here := on(e, e.Node)
	here.mustAcquire("held", "a", time.Minute)
	leases, err := here.Acquire(e.Context(), []cache.Claim{
		{Lock: "first", Holder: "b", TTL: time.Minute}, {Lock: "held", Holder: "b", TTL: time.Minute},
		{Lock: "bad", Holder: "b", TTL: -1}, {Lock: "last", Holder: "b", TTL: time.Minute},
	})
	errOf := func(l cache.Lease) error { return l.Err }
	mustFail(e, leases, err, errOf, map[int]fault.Code{1: fault.Locked, 2: fault.Invalid})
	first, last := leases[0], leases[3]
	forged := cache.Lease{Lock: "held", Holder: "b", Fence: 1, TTL: time.Minute}

	renewed, err := here.Renew(e.Context(), []cache.Lease{first, forged, last})
	mustFail(e, renewed, err, errOf, map[int]fault.Code{1: fault.LeaseLost})
	errs, err := here.Release(e.Context(), []cache.Lease{first, forged, last})
	mustFail(e, errs, err, itself, map[int]fault.Code{1: fault.LeaseLost})
	here.mustBeLocked("held", "c")
	here.mustAcquire("first", "c", time.Minute)
	here.mustAcquire("last", "c", time.Minute)
}
