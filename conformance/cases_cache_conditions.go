package conformance

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func conditionCases() []Case {
	return needing(NeedsCache, []Case{
		{Name: "cache/condition/if-absent-writes-what-is-absent", Clause: clauseCondition, Run: ifAbsentWrites},
		{Name: "cache/condition/if-absent-leaves-what-is-there", Clause: clauseCondition, Run: ifAbsentLeaves},
		{Name: "cache/condition/if-present-writes-what-is-there", Clause: clauseCondition, Run: ifPresentWrites},
		{Name: "cache/condition/if-present-makes-nothing", Clause: clauseCondition, Run: ifPresentMakesNothing},
		{Name: "cache/condition/at-its-revision-writes", Clause: clauseCondition, Run: atRevisionWrites},
		{Name: "cache/condition/at-an-old-revision-leaves-it", Clause: clauseCondition, Run: atOldRevisionLeaves},
		{Name: "cache/condition/at-a-revision-makes-nothing", Clause: clauseCondition, Run: atRevisionMakesNothing},
		{Name: "cache/condition/no-revision-means-absent", Clause: clauseCondition, Run: noRevisionIsAbsent},
		{Name: "cache/condition/a-conflict-tells-only-the-revision-that-is-there", Clause: clauseCondition, Run: conflictTellsRevision},
		{Name: "cache/condition/one-of-16-makes-what-is-absent", Clause: clauseAtomic, Run: oneMakes},
		{Name: "cache/condition/one-of-16-writes-at-a-revision", Clause: clauseAtomic, Run: oneWritesAtRevision},
		{Name: "cache/condition/no-update-is-lost", Clause: clauseAtomic, Run: noLostUpdate},
	})
}

func ifAbsentWrites(e *Env) {
	here := on(e, e.Node)
	here.mustWrite(cache.Write{Key: "k", Value: []byte("v"), If: cache.IfAbsent()})
	here.mustHave("k", "v")
	require.NoError(e, here.remove(cache.Removal{Key: "k"}).Err)
	here.mustWrite(cache.Write{Key: "k", Value: []byte("again"), If: cache.IfAbsent()})
	here.mustHave("k", "again")
}

// mustConflict requires that a write is refused and the entry stays as it is in every respect.
func mustConflict(e *Env, c cacheOn, w cache.Write) {
	e.Helper()
	before := c.get(cache.Read{Key: w.Key, Expiry: true})
	requireCode(e, fault.Conflict, c.set(w).Err, "a write whose condition does not hold")
	after := c.get(cache.Read{Key: w.Key, Expiry: true})
	require.Equal(e, before.Found, after.Found)
	require.Equal(e, string(before.Entry.Value), string(after.Entry.Value))
	require.Equal(e, before.Entry.Flags, after.Entry.Flags)
	require.Equal(e, before.Entry.Revision, after.Entry.Revision)
	require.Equal(e, before.Entry.Expires.IsZero(), after.Entry.Expires.IsZero(), "the lifetime")
}

func ifAbsentLeaves(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustWrite(cache.Write{Key: "k", Value: []byte("before"), Flags: 3})
	mustConflict(e, there, cache.Write{Key: "k", Value: []byte("x"), Flags: 9, TTL: here.span(4), If: cache.IfAbsent()})
	mustConflict(e, here, cache.Write{Key: "k", Value: []byte("before"), If: cache.IfAbsent()})
	here.mustHave("k", "before")
}

func ifPresentWrites(e *Env) {
	here := on(e, e.Node)
	here.mustSet("k", "before")
	here.mustWrite(cache.Write{Key: "k", Value: []byte("after"), If: cache.IfPresent()})
	here.mustHave("k", "after")
}

func ifPresentMakesNothing(e *Env) {
	here := on(e, e.Node)
	mustConflict(e, here, cache.Write{Key: "k", Value: []byte("x"), If: cache.IfPresent()})
	here.mustLack("k")
	require.Empty(e, here.keys(""))
}

func atRevisionWrites(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	revision := here.mustSet("k", "0")
	for i := range 10 {
		node := []cacheOn{here, there}[i%2]
		next := node.mustWrite(cache.Write{Key: "k", Value: fmt.Append(nil, i+1), If: cache.IfRevision(revision)})
		require.NotEqual(e, revision, next)
		revision = next
	}
	here.mustHave("k", "10")
}

func atOldRevisionLeaves(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	old := here.mustSet("k", "old")
	there.mustSet("k", "old") // the same value: still another version
	mustConflict(e, here, cache.Write{Key: "k", Value: []byte("x"), If: cache.IfRevision(old)})
	mustConflict(e, there, cache.Write{Key: "k", Value: []byte("x"), If: cache.IfRevision("never given")})
	here.mustHave("k", "old")
}

func atRevisionMakesNothing(e *Env) {
	here := on(e, e.Node)
	revision := here.mustSet("k", "v")
	require.NoError(e, here.remove(cache.Removal{Key: "k"}).Err)
	mustConflict(e, here, cache.Write{Key: "k", Value: []byte("x"), If: cache.IfRevision(revision)})
	here.mustLack("k")
}

func noRevisionIsAbsent(e *Env) {
	here := on(e, e.Node)
	here.mustWrite(cache.Write{Key: "k", Value: []byte("v"), If: cache.IfRevision("")})
	mustConflict(e, here, cache.Write{Key: "k", Value: []byte("x"), If: cache.IfRevision("")})
	here.mustHave("k", "v")
}

func conflictTellsRevision(e *Env) {
	here := on(e, e.Node)
	there := here.mustSet("k", "v")
	for _, condition := range []cache.Condition{cache.IfAbsent(), cache.IfRevision("never given")} {
		w := here.set(cache.Write{Key: "k", Value: []byte("x"), If: condition})
		requireCode(e, fault.Conflict, w.Err, "a write whose condition does not hold")
		if w.Revision != "" { // not every store knows it for nothing
			require.Equal(e, there, w.Revision)
		}
	}
	w := here.set(cache.Write{Key: "absent", Value: []byte("x"), If: cache.IfPresent()})
	requireCode(e, fault.Conflict, w.Err, "a write whose condition does not hold")
	require.Empty(e, w.Revision, "there is no entry, so it has no revision")
}

// race has 16 writers on two nodes write the same key at once, under the same condition, and requires one winner whose
// value is there.
func race(e *Env, nodes []cacheOn, key string, condition cache.Condition) cache.Revision {
	e.Helper()
	var winners []int
	revisions := make([]cache.Revision, 16)
	errs := together(len(revisions), func(i int) error {
		r, err := nodes[i%len(nodes)].Set(e.Context(), []cache.Write{{Key: key, Value: fmt.Append(nil, i), If: condition}})
		if err != nil {
			return err
		}
		revisions[i] = r[0].Revision
		return r[0].Err
	})
	for i, err := range errs {
		if err == nil {
			winners = append(winners, i)
		} else {
			requireCode(e, fault.Conflict, err, "losing")
		}
	}
	require.Len(e, winners, 1, "writers who won")
	require.Equal(e, revisions[winners[0]], nodes[0].mustHave(key, strconv.Itoa(winners[0])).Revision)
	return revisions[winners[0]]
}

func oneMakes(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	for round := range 25 {
		race(e, nodes, fmt.Sprint("k", round), cache.IfAbsent())
	}
}

func oneWritesAtRevision(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	revision := nodes[0].mustSet("k", "v")
	for range 25 {
		revision = race(e, nodes, "k", cache.IfRevision(revision))
	}
}

func noLostUpdate(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	nodes[0].mustSet("k", "0")
	const writers, rounds = 8, 10
	errs := together(writers, func(i int) error {
		c := nodes[i%2]
		for done := 0; done < rounds; {
			got, err := c.Get(e.Context(), []cache.Read{{Key: "k"}})
			if err := first(got, err, func(g cache.Got) error { return g.Err }); err != nil {
				return err
			}
			n, err := strconv.Atoi(string(got[0].Entry.Value))
			if err != nil {
				return err
			}
			w, err := c.Set(e.Context(), []cache.Write{{
				Key: "k", Value: fmt.Append(nil, n+1), If: cache.IfRevision(got[0].Entry.Revision),
			}})
			switch err := first(w, err, func(w cache.Written) error { return w.Err }); {
			case err == nil:
				done++
			case !errors.Is(err, fault.Conflict):
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	nodes[0].mustHave("k", fmt.Sprint(writers*rounds))
}
