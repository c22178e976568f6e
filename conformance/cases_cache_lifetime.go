package conformance

import (
	"math"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func lifetimeCases() []Case {
	return needing(NeedsCache, []Case{
		{Name: "cache/lifetime/an-entry-ends-on-time", Clause: clauseLifetime, Run: endsOnTime},
		{Name: "cache/lifetime/the-shortest-ends-on-time", Clause: clauseLifetime, Run: shortestEndsOnTime},
		{Name: "cache/lifetime/is-rounded-up-never-down", Clause: clauseLifetime, Run: roundedUp},
		{Name: "cache/lifetime/none-is-without-end", Clause: clauseExpires, Run: noneHasNoEnd},
		{Name: "cache/lifetime/is-told-when-asked-for", Clause: clauseExpires, Run: lifetimeTold},
		{Name: "cache/lifetime/the-longest-does-not-wrap-around", Clause: clauseLifetime, Run: longestLives},
		{Name: "cache/lifetime/too-short-is-invalid", Clause: clauseMinTTL, Run: tooShortInvalid},
		{Name: "cache/lifetime/a-write-makes-it-longer", Clause: clauseNewLifetime, Run: writeLengthens},
		{Name: "cache/lifetime/a-write-makes-it-shorter", Clause: clauseNewLifetime, Run: writeShortens},
		{Name: "cache/lifetime/a-write-without-one-takes-it-away", Clause: clauseNewLifetime, Run: writeTakesAway},
		{Name: "cache/lifetime/a-conflict-leaves-it", Clause: clauseCondition, Run: conflictLeavesLifetime},
		{Name: "cache/lifetime/what-has-ended-is-absent-to-all", Clause: clauseAbsent, Run: endedIsAbsent},
		{Name: "cache/touch/makes-it-longer", Clause: clauseTouch, Run: touchLengthens},
		{Name: "cache/touch/makes-it-shorter", Clause: clauseTouch, Run: touchShortens},
		{Name: "cache/touch/takes-it-away", Clause: clauseTouch, Run: touchTakesAway},
		{Name: "cache/touch/leaves-value-and-revision", Clause: clauseTouch, Run: touchLeavesRest},
		{Name: "cache/touch/what-is-absent-is-not-found", Clause: clauseTouch, Run: touchAbsent},
	})
}

func endsOnTime(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, beats := range []int{1, 3} {
		life := here.writing("k", here.span(beats))
		there.mustEnd("k", life)
		here.mustLack("k")
	}
}

func shortestEndsOnTime(e *Env) {
	here := on(e, e.Node)
	here.mustEnd("k", here.writing("k", here.Capabilities.MinTTL))
}

func roundedUp(e *Env) {
	here := on(e, e.Node)
	for _, odd := range []time.Duration{1, here.Capabilities.Granularity / 2, here.Capabilities.Granularity - 1} {
		here.mustEnd("k", here.writing("k", here.span(1)+odd))
	}
}

func noneHasNoEnd(e *Env) {
	here := on(e, e.Node)
	here.mustSet("k", "v")
	require.Zero(e, here.mustHave("k", "v").Expires, "an entry without lifetime tells an end")
	here.outlive(here.span(1))
	here.mustHave("k", "v")
}

func lifetimeTold(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, ttl := range []time.Duration{here.span(40), time.Hour, 30 * 24 * time.Hour} {
		here.mustWrite(cache.Write{Key: "k", Value: []byte("v"), TTL: ttl})
		expires := there.mustHave("k", "v").Expires
		require.NotZero(e, expires, "the end of an entry with a lifetime, when asked for")
		// Store and client may disagree about what time it is, by a little.
		require.WithinDuration(e, time.Now().Add(ttl), expires, e.Timing.Wait, "the end of a lifetime of %v", ttl)
	}
}

func longestLives(e *Env) {
	here := on(e, e.Node)
	for _, ttl := range []time.Duration{365 * 24 * time.Hour, 100 * 365 * 24 * time.Hour, math.MaxInt64} {
		w := here.set(cache.Write{Key: "k", Value: []byte("v"), TTL: ttl})
		if w.Err != nil {
			requireCode(e, fault.Invalid, w.Err, "a lifetime of %v, unless it is taken,", ttl)
			require.Greater(e, ttl, 10*365*24*time.Hour, "a lifetime of ten years must be taken")
			continue
		}
		// A store may take what is longer than it can count for a lifetime without end.
		expires := here.mustHave("k", "v").Expires
		require.True(e, expires.IsZero() || expires.After(time.Now().Add(ttl/2)), "the end of a lifetime of %v is %v", ttl, expires)
		require.NoError(e, here.touch(cache.Lifetime{Key: "k", TTL: ttl}))
		require.NoError(e, here.remove(cache.Removal{Key: "k"}).Err)
		require.NoError(e, here.add(cache.Increment{Key: "k", Delta: 1, TTL: ttl}).Err)
		here.mustHave("k", "1")
	}
}

func tooShortInvalid(e *Env) {
	here := on(e, e.Node)
	here.mustSet("there", "v")
	short := []time.Duration{-1, -time.Hour, math.MinInt64}
	if shortest := here.Capabilities.MinTTL; shortest > 1 {
		short = append(short, 1, shortest-1)
	}
	for _, ttl := range short {
		requireCode(e, fault.Invalid, here.set(cache.Write{Key: "k", Value: []byte("v"), TTL: ttl}).Err, "Set for %v", ttl)
		requireCode(e, fault.Invalid, here.set(cache.Write{Key: "there", Value: []byte("x"), TTL: ttl}).Err, "Set for %v", ttl)
		requireCode(e, fault.Invalid, here.touch(cache.Lifetime{Key: "there", TTL: ttl}), "Touch for %v", ttl)
		requireCode(e, fault.Invalid, here.add(cache.Increment{Key: "k", Delta: 1, TTL: ttl}).Err, "Add for %v", ttl)
		requireCode(e, fault.Invalid, here.acquire("k", "a", ttl).Err, "Acquire for %v", ttl)
	}
	requireCode(e, fault.Invalid, here.acquire("k", "a", 0).Err, "a lock without end")
	here.mustLack("k")
	require.Zero(e, here.mustHave("there", "v").Expires)
	here.mustAcquire("k", "b", time.Minute)
}

func writeLengthens(e *Env) {
	here := on(e, e.Node)
	here.writing("k", here.span(2))
	here.mustWrite(cache.Write{Key: "k", Value: []byte("longer"), TTL: here.span(10_000)})
	here.outlive(here.span(2))
	here.mustHave("k", "longer")
}

func writeShortens(e *Env) {
	here := on(e, e.Node)
	here.writing("k", here.span(10_000))
	here.mustEnd("k", here.writing("k", here.span(1)))

	here.mustSet("l", "without end")
	here.mustEnd("l", here.writing("l", here.span(1)))
}

func writeTakesAway(e *Env) {
	here := on(e, e.Node)
	here.writing("k", here.span(2))
	here.mustSet("k", "without end")
	here.outlive(here.span(2))
	require.Zero(e, here.mustHave("k", "without end").Expires)
}

func conflictLeavesLifetime(e *Env) {
	here := on(e, e.Node)
	life := here.writing("k", here.span(2))
	for _, ttl := range []time.Duration{0, here.span(10_000)} {
		w := here.set(cache.Write{Key: "k", Value: []byte("x"), TTL: ttl, If: cache.IfRevision("never given")})
		requireCode(e, fault.Conflict, w.Err, "writing at a revision that is not there")
	}
	here.mustEnd("k", life)

	here.writing("l", time.Hour)
	for _, ttl := range []time.Duration{0, here.span(1), 10 * time.Hour} {
		w := here.set(cache.Write{Key: "l", Value: []byte("x"), TTL: ttl, If: cache.IfAbsent()})
		requireCode(e, fault.Conflict, w.Err, "writing if absent what is there")
	}
	require.WithinDuration(e, time.Now().Add(time.Hour), here.mustHave("l", "v").Expires, e.Timing.Wait)
}

func endedIsAbsent(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	end := func(key string) cache.Revision {
		var revision cache.Revision
		life := giving(here.span(1), func() {
			revision = here.mustWrite(cache.Write{Key: key, Value: []byte("41"), TTL: here.span(1)})
		})
		there.mustEnd(key, life)
		return revision
	}

	end("a")
	require.NotContains(e, here.keys(""), "a", "what has ended is listed")
	require.False(e, here.remove(cache.Removal{Key: "a"}).Existed)
	end("b")
	requireCode(e, fault.NotFound, here.touch(cache.Lifetime{Key: "b"}), "touching what has ended")
	end("c")
	require.Equal(e, int64(1), here.add(cache.Increment{Key: "c", Delta: 1}).Value, "a counter that has ended counts from 0")
	end("d")
	requireCode(e, fault.Conflict, here.set(cache.Write{Key: "d", If: cache.IfPresent()}).Err, "writing if present what has ended")
	revision := end("e")
	requireCode(e, fault.Conflict, here.set(cache.Write{Key: "e", If: cache.IfRevision(revision)}).Err, "writing at the revision of what has ended")
	requireCode(e, fault.Conflict, here.remove(cache.Removal{Key: "e", If: cache.IfRevision(revision)}).Err, "deleting at the revision of what has ended")
	here.mustWrite(cache.Write{Key: "e", Value: []byte("new"), If: cache.IfAbsent()})
	there.mustHave("e", "new")
}

func touchLengthens(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	before := here.whileAlive("k", func() error { return there.touch(cache.Lifetime{Key: "k", TTL: here.span(10_000)}) })
	here.outlive(before)
	here.mustHave("k", "v")
}

func touchShortens(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, before := range []time.Duration{0, time.Hour} {
		here.mustWrite(cache.Write{Key: "k", Value: []byte("v"), TTL: before})
		there.mustEnd("k", giving(here.span(1), func() {
			require.NoError(e, here.touch(cache.Lifetime{Key: "k", TTL: here.span(1)}))
		}))
	}
}

func touchTakesAway(e *Env) {
	here := on(e, e.Node)
	before := here.whileAlive("k", func() error { return here.touch(cache.Lifetime{Key: "k"}) })
	here.outlive(before)
	require.Zero(e, here.mustHave("k", "v").Expires)
}

func touchLeavesRest(e *Env) {
	here := on(e, e.Node)
	here.mustWrite(cache.Write{Key: "k", Value: []byte("v"), Flags: 5, TTL: time.Hour})
	before := here.mustHave("k", "v")
	require.NoError(e, here.touch(cache.Lifetime{Key: "k", TTL: 2 * time.Hour}))
	after := here.mustHave("k", "v")

	require.Equal(e, before.Revision, after.Revision)
	require.Equal(e, before.Flags, after.Flags)
	require.True(e, before.Created.Equal(after.Created))
	require.WithinDuration(e, before.Expires.Add(time.Hour), after.Expires, e.Timing.Wait)
	here.mustWrite(cache.Write{Key: "k", Value: []byte("w"), If: cache.IfRevision(before.Revision)})
}

func touchAbsent(e *Env) {
	here := on(e, e.Node)
	requireCode(e, fault.NotFound, here.touch(cache.Lifetime{Key: "k", TTL: time.Hour}), "touching what is absent")
	requireCode(e, fault.NotFound, here.touch(cache.Lifetime{Key: "k"}), "touching what is absent")
	here.mustLack("k")
}
