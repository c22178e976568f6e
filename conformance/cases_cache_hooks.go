package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func cacheHookCases() []Case {
	return append(needing(NeedsCache, []Case{
		{Name: "cache/restart/entries-outlive-it-if-declared", Clause: clausePersistent, Hooks: []Hook{Restart}, Run: entriesOutliveRestart},
		{Name: "cache/restart/lifetimes-go-on", Clause: clauseLifetime, Hooks: []Hook{Restart}, Run: lifetimesGoOn},
		{Name: "cache/restart/revisions-do-not-repeat", Clause: clauseRevisionOnce, Hooks: []Hook{Restart}, Run: revisionsAfterRestart},
		{Name: "cache/counter/a-cut-adds-nothing-twice", Clause: clauseCounterOnce, Hooks: []Hook{Cut}, Run: countsOnceOverCuts},
		{Name: "cache/condition/a-cut-lets-no-two-win", Clause: clauseAtomic, Hooks: []Hook{Cut}, Run: oneWinnerOverCuts},
		{Name: "cache/lifetime/a-day-is-a-day", Clause: clauseLifetime, Hooks: []Hook{AdvanceClock}, Run: dayIsDay},
	}), needing(NeedsWatcher, []Case{
		{Name: "cache/watch/a-cut-is-told-as-resync", Clause: clauseResync, Hooks: []Hook{Cut}, Run: watchResync},
	})...)
}

func entriesOutliveRestart(e *Env) {
	here := on(e, e.Node)
	for i, key := range unusualNames {
		here.mustWrite(cache.Write{Key: key, Value: fmt.Append(nil, i), Flags: uint8(i)})
	}
	before := here.mustHave(unusualNames[1], "1")
	e.Restart()
	mustRecover(e, here)

	if !here.Capabilities.Persistent {
		got := here.get(cache.Read{Key: unusualNames[1]})
		require.NoError(e, got.Err)
		require.True(e, !got.Found || string(got.Entry.Value) == "1", "what is not kept is gone, and not changed")
		return
	}
	for i, key := range unusualNames {
		require.Equal(e, uint8(i), here.mustHave(key, fmt.Sprint(i)).Flags)
	}
	after := here.mustHave(unusualNames[1], "1")
	require.Equal(e, before.Revision, after.Revision)
	require.True(e, before.Created.Equal(after.Created))
}

func lifetimesGoOn(e *Env) {
	here := on(e, e.Node)
	life := here.writing("short", here.span(2))
	here.writing("long", time.Hour)
	e.Restart()
	mustRecover(e, here)

	if !here.Capabilities.Persistent { // lost early is declared; what is still there must end on time
		life.ttl = 0
	}
	here.mustEnd("short", life)
	if here.Capabilities.Persistent {
		require.WithinDuration(e, time.Now().Add(time.Hour), here.mustHave("long", "v").Expires, 2*e.Timing.Wait)
	}
}

func revisionsAfterRestart(e *Env) {
	here := on(e, e.Node)
	seen := map[cache.Revision]bool{}
	for range 20 {
		seen[here.mustSet("k", "v")] = true
		seen[here.add(cache.Increment{Key: "n", Delta: 1}).Revision] = true
	}
	e.Restart()
	mustRecover(e, here)
	for range 20 {
		r := here.mustSet("k", "v")
		require.False(e, seen[r], "the revision %q was given before the restart too", r)
		s := here.add(cache.Increment{Key: "n", Delta: 1})
		require.NoError(e, s.Err)
		require.False(e, seen[s.Revision], "the revision %q was given before the restart too", s.Revision)
	}
}

// underCuts has 8 callers repeat f until the link of node 0 was cut a few times.
func underCuts(e *Env, f func(caller, n int) error) {
	e.Helper()
	working, enough, result := make(chan struct{}, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		result <- errors.Join(together(8, func(i int) error {
			for n := 0; e.Context().Err() == nil; n++ {
				select {
				case <-enough:
					return nil
				default:
				}
				if err := f(i, n); err != nil {
					return err
				}
				select {
				case working <- struct{}{}:
				default:
				}
			}
			return nil
		})...)
	}()
	for range 8 {
		Await(e, working, "a call, while the link is cut now and then")
		e.Cut(0)
	}
	close(enough)
	require.NoError(e, Await(e, result, "the end of the callers"))
}

func countsOnceOverCuts(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	var answered, unknown atomic.Int64
	underCuts(e, func(int, int) error {
		r, err := here.Add(e.Context(), []cache.Increment{{Key: "k", Delta: 1}})
		switch err := first(r, err, func(s cache.Sum) error { return s.Err }); {
		case err == nil:
			answered.Add(1)
		case isLinkFault(err):
			unknown.Add(1)
		default:
			return err
		}
		return nil
	})
	sum := there.add(cache.Increment{Key: "k"})
	require.NoError(e, sum.Err)
	require.GreaterOrEqual(e, sum.Value, answered.Load(), "an increment that was answered was not added")
	require.LessOrEqual(e, sum.Value, answered.Load()+unknown.Load(), "an increment was added twice")
}

func oneWinnerOverCuts(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	const keys = 5000
	var winners [keys]atomic.Int32
	underCuts(e, func(i, n int) error {
		if n >= keys {
			return nil
		}
		node := here
		if i%2 == 1 {
			node = there
		}
		r, err := node.Set(e.Context(), []cache.Write{{Key: fmt.Sprint("k", n), Value: fmt.Append(nil, i), If: cache.IfAbsent()}})
		switch err := first(r, err, func(w cache.Written) error { return w.Err }); {
		case err == nil:
			winners[n].Add(1)
		case errors.Is(err, fault.Conflict), isLinkFault(err):
		default:
			return err
		}
		return nil
	})
	for n := range winners {
		require.LessOrEqual(e, winners[n].Load(), int32(1), "callers who were told that they made k%d", n)
	}
}

func dayIsDay(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.writing("k", 24*time.Hour)
	e.AdvanceClock(24*time.Hour - time.Minute)
	there.mustHave("k", "v")
	e.AdvanceClock(2*time.Minute + here.Capabilities.Granularity + here.Capabilities.ExpiryDelay)
	there.mustLack("k")
}

func watchResync(e *Env) {
	there := on(e, e.Open())
	seen := watchAll(e, e.Node, "")
	there.mustSet("before", "v")
	seen.until("before", false)
	e.Cut(0)
	ctx, cancel := context.WithTimeout(e.Context(), e.Timing.Wait)
	defer cancel()
	for resync := false; !resync; {
		select {
		case change := <-seen.seen:
			resync = change.Resync
		case <-ctx.Done():
			require.NoError(e, ctx.Err(), "Resync after the link was lost")
		}
	}
	there.mustSet("after", "v")
	seen.until("after", false)
}
