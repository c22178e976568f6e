package conformance

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func counterCases() []Case {
	return needing(NeedsCache, []Case{
		{Name: "cache/counter/counts-from-zero-up-and-down", Clause: clauseCounter, Run: countsUpAndDown},
		{Name: "cache/counter/is-read-and-written-as-decimal-text", Clause: clauseCounter, Run: counterIsText},
		{Name: "cache/counter/every-sum-is-given-once", Clause: clauseAtomic, Run: sumsDistinct},
		{Name: "cache/counter/its-sum-has-the-revision-that-is-read", Clause: clauseRevision, Run: counterRevision},
		{Name: "cache/counter/the-ends-of-64-bits-are-reached", Clause: clauseCounterBad, Run: counterEnds},
		{Name: "cache/counter/overflow-is-exhausted", Clause: clauseCounterBad, Run: counterOverflow},
		{Name: "cache/counter/anything-else-is-invalid", Clause: clauseCounterBad, Run: counterInvalid},
		{Name: "cache/counter/a-lifetime-begins-with-it", Clause: clauseCounterLife, Run: counterLifetimeBegins},
		{Name: "cache/counter/a-later-lifetime-changes-nothing", Clause: clauseCounterLife, Run: counterLifetimeStays},
		{Name: "cache/counter/without-a-lifetime-has-no-end", Clause: clauseCounterLife, Run: counterNoEnd},
	})
}

func countsUpAndDown(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	want := int64(0)
	for i, delta := range []int64{1, 10, -1, 0, -100, 7, -1 << 40, 1 << 41} {
		want += delta
		sum := nodes[i%2].add(cache.Increment{Key: "k", Delta: delta})
		require.NoError(e, sum.Err)
		require.Equal(e, want, sum.Value)
	}
	nodes[0].mustHave("k", fmt.Sprint(want))

	sum := nodes[0].add(cache.Increment{Key: "zero"})
	require.NoError(e, sum.Err)
	require.Zero(e, sum.Value)
	nodes[1].mustHave("zero", "0")
}

func counterIsText(e *Env) {
	here := on(e, e.Node)
	for text, want := range map[string]int64{"0": 1, "41": 42, "-1": 0, "-9223372036854775808": math.MinInt64 + 1} {
		here.mustSet("k", text)
		sum := here.add(cache.Increment{Key: "k", Delta: 1})
		require.NoError(e, sum.Err, "%q is a counter", text)
		require.Equal(e, want, sum.Value)
		here.mustHave("k", fmt.Sprint(want))
	}
}

func sumsDistinct(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	const callers, rounds = 16, 25
	sums := make([][]int64, callers)
	errs := together(callers, func(i int) error {
		for range rounds {
			r, err := nodes[i%2].Add(e.Context(), []cache.Increment{{Key: "k", Delta: 1}})
			if err := first(r, err, func(s cache.Sum) error { return s.Err }); err != nil {
				return err
			}
			sums[i] = append(sums[i], r[0].Value)
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	all := slices.Concat(sums...)
	slices.Sort(all)
	for i, sum := range all {
		require.Equal(e, int64(i+1), sum, "each sum is given to one caller")
	}
}

func counterRevision(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	seen := map[cache.Revision]bool{}
	for i := range 20 {
		sum := here.add(cache.Increment{Key: "k", Delta: 1})
		require.NoError(e, sum.Err)
		require.Equal(e, sum.Revision, there.mustHave("k", fmt.Sprint(i+1)).Revision)
		require.NotEmpty(e, sum.Revision)
		require.False(e, seen[sum.Revision], "the revision %q was given twice", sum.Revision)
		seen[sum.Revision] = true
	}
	last := there.mustHave("k", "20").Revision
	there.mustWrite(cache.Write{Key: "k", Value: []byte("0"), If: cache.IfRevision(last)})
}

func counterEnds(e *Env) {
	here := on(e, e.Node)
	for _, end := range []int64{math.MaxInt64, math.MinInt64} {
		key := fmt.Sprint("at once", end)
		sum := here.add(cache.Increment{Key: key, Delta: end})
		require.NoError(e, sum.Err)
		require.Equal(e, end, sum.Value)
		here.mustHave(key, fmt.Sprint(end))

		key = fmt.Sprint("by steps", end)
		for _, step := range []int64{end / 2, end/2 + end%2} {
			require.NoError(e, here.add(cache.Increment{Key: key, Delta: step}).Err)
		}
		here.mustHave(key, fmt.Sprint(end))
	}
}

func counterOverflow(e *Env) {
	here := on(e, e.Node)
	for text, delta := range map[string]int64{
		"9223372036854775807": 1, "1": math.MaxInt64, "-9223372036854775808": -1, "-1": math.MinInt64,
	} {
		revision := here.mustSet("k", text)
		requireCode(e, fault.Exhausted, here.add(cache.Increment{Key: "k", Delta: delta}).Err, "%s%+d", text, delta)
		require.Equal(e, revision, here.mustHave("k", text).Revision)
	}
}

func counterInvalid(e *Env) {
	here := on(e, e.Node)
	for _, text := range []string{"", "text", "1.5", "1e3", "0x10", " 1", "1 ", "1\n", "+ 1", "--1", "1\x00", "9223372036854775808", "-9223372036854775809", "inf", "nan", "१"} {
		revision := here.mustSet("k", text)
		requireCode(e, fault.Invalid, here.add(cache.Increment{Key: "k", Delta: 1}).Err, "adding to %q", text)
		require.Equal(e, revision, here.mustHave("k", text).Revision)
	}
}

func counterLifetimeBegins(e *Env) {
	here := on(e, e.Node)
	here.mustEnd("k", giving(here.span(1), func() {
		require.NoError(e, here.add(cache.Increment{Key: "k", Delta: 5, TTL: here.span(1)}).Err)
	}))
	sum := here.add(cache.Increment{Key: "k", Delta: 1, TTL: time.Hour})
	require.NoError(e, sum.Err)
	require.Equal(e, int64(1), sum.Value, "it begins anew")
	require.WithinDuration(e, time.Now().Add(time.Hour), here.mustHave("k", "1").Expires, e.Timing.Wait)
}

func counterLifetimeStays(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for beats, told := 2, false; !told; beats *= 2 {
		key := fmt.Sprint("k", beats)
		life := giving(here.span(beats), func() {
			require.NoError(e, here.add(cache.Increment{Key: key, Delta: 1, TTL: here.span(beats)}).Err)
		})
		for _, ttl := range []time.Duration{0, time.Hour, here.span(1)} {
			require.NoError(e, there.add(cache.Increment{Key: key, Delta: 1, TTL: ttl}).Err)
		}
		// On a slow day it ended meanwhile and began again with another lifetime. Then a longer one is tried.
		if told = time.Since(life.before) < life.ttl; told {
			here.mustEnd(key, life)
		}
	}

	here.mustWrite(cache.Write{Key: "set", Value: []byte("1"), TTL: time.Hour})
	require.NoError(e, there.add(cache.Increment{Key: "set", Delta: 1, TTL: here.span(1)}).Err)
	require.WithinDuration(e, time.Now().Add(time.Hour), here.mustHave("set", "2").Expires, e.Timing.Wait)
}

func counterNoEnd(e *Env) {
	here := on(e, e.Node)
	require.NoError(e, here.add(cache.Increment{Key: "k", Delta: 1}).Err)
	require.NoError(e, here.add(cache.Increment{Key: "k", Delta: 1, TTL: here.span(1)}).Err)
	here.outlive(here.span(1))
	require.Zero(e, here.mustHave("k", "2").Expires)
}
