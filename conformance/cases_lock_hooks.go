package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func lockHookCases() []Case {
	return needing(NeedsCache, []Case{
		{Name: "cache/lock/outlives-a-restart-if-declared", Clause: clauseLockRestart, Hooks: []Hook{Restart}, Run: lockOutlivesRestart},
		{Name: "cache/lock/fences-increase-over-a-restart", Clause: clauseFence, Hooks: []Hook{Restart}, Run: fencesOverRestart},
		{Name: "cache/lock/fences-are-remembered-as-declared", Clause: clauseFenceMemory, Hooks: []Hook{AdvanceClock}, Run: fencesOverTime},
		{Name: "cache/lock/a-lost-holder-cannot-write-after-the-next", Clause: clauseGuardFence, Hooks: []Hook{Partition}, Run: lostHolderFenced},
		{Name: "cache/lock/of-a-lost-holder-ends-by-itself", Clause: clauseLease, Hooks: []Hook{Partition}, Run: lostHoldersLockEnds},
		{Name: "cache/lock/waiting-ends-with-its-context-without-a-link", Clause: clauseContexts, Hooks: []Hook{Partition}, Run: waitEndsWithoutLink},
		{Name: "cache/lock/of-a-crashed-node-ends-by-itself", Clause: clauseLease, Hooks: []Hook{Crash}, Run: crashedLockEnds},
		{Name: "cache/lock/entries-of-a-crashed-node-stay", Clause: clauseCloseKeeps, Hooks: []Hook{Crash}, Run: crashedEntriesStay},
		{Name: "cache/lock/a-waiter-survives-a-cut", Clause: clauseWait, Hooks: []Hook{Cut}, Run: waiterSurvivesCut},
		{Name: "cache/lock/a-cut-lets-no-two-hold-it", Clause: clauseOneHolder, Hooks: []Hook{Cut}, Run: oneHolderOverCuts},
		{Name: "cache/lock/waiting-on-a-paused-store-ends-with-its-context", Clause: clauseContexts, Hooks: []Hook{Pause}, Run: waitEndsOnPaused},
	})
}

func lockOutlivesRestart(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", time.Hour)
	e.Restart()
	mustRecover(e, here)
	mustRecover(e, there)

	if !here.Capabilities.Persistent {
		// It may be gone, but then it is gone for its holder too.
		if other := there.acquire("l", "b", time.Hour); other.Err == nil {
			requireCode(e, fault.LeaseLost, here.renew(lease).Err, "renewing what another holds")
		}
		return
	}
	require.Equal(e, "a", there.mustBeLocked("l", "b").Holder)
	requireCode(e, fault.Locked, there.set(cache.Write{Key: "l", Guard: cache.Guard{Holder: "b"}}).Err, "writing what another has locked")
	require.NoError(e, here.renew(lease).Err)
	require.NoError(e, here.release(lease))
}

func fencesOverRestart(e *Env) {
	here := on(e, e.Node)
	var last cache.Lease
	for i := range 5 {
		last = here.mustAcquire("l", fmt.Sprint("owner", i), time.Hour)
		require.NoError(e, here.release(last))
	}
	e.Restart()
	mustRecover(e, here)

	next := here.mustAcquire("l", "b", time.Hour)
	if here.Capabilities.Persistent { // otherwise the store has lost its data, which it may remember them by
		require.Greater(e, next.Fence, last.Fence)
		requireCode(e, fault.Conflict, here.set(cache.Write{Key: "l", Guard: cache.Guard{Fence: last.Fence}}).Err, "writing with a fence from before the restart")
	}
}

func fencesOverTime(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", time.Minute)
	require.NoError(e, here.release(lease))
	e.AdvanceClock(here.Capabilities.FenceMemory - time.Minute)

	require.Greater(e, there.mustAcquire("l", "b", time.Minute).Fence, lease.Fence)
	requireCode(e, fault.Conflict, here.set(cache.Write{Key: "l", Guard: cache.Guard{Fence: lease.Fence}}).Err, "writing with an old fence")
}

// lostHolder gives a lease whose holder's link was lost until the lock was given to somebody else.
func lostHolder(e *Env) (here, there cacheOn, old, current cache.Lease) {
	here, there = on(e, e.Node), on(e, e.Open())
	here.mustSet("l", "before")
	ttl := here.span(2)
	var heal func()
	life := giving(ttl, func() {
		old = here.mustAcquire("l", "a", ttl)
		heal = e.Partition(0)
	})
	there.mustEndAs(life, "a lost holder's lease", func() bool {
		current = there.acquire("l", "b", time.Hour)
		return current.Err != nil
	})
	there.mustWrite(cache.Write{Key: "l", Value: []byte("after"), Guard: cache.Guard{Holder: "b", Fence: current.Fence}})
	heal()
	mustRecover(e, here)
	return here, there, old, current
}

func lostHolderFenced(e *Env) {
	here, there, old, current := lostHolder(e)
	require.Greater(e, current.Fence, old.Fence)
	for _, op := range guardedOps {
		requireCode(e, fault.Conflict, op.do(here, "l", cache.Guard{Fence: old.Fence}), "%s with the lost lease's fence", op.name)
		requireCode(e, fault.Locked, op.do(here, "l", cache.Guard{Holder: "a"}), "%s as the lost holder", op.name)
	}
	there.mustHave("l", "after")
}

func lostHoldersLockEnds(e *Env) {
	here, there, old, current := lostHolder(e)
	requireCode(e, fault.LeaseLost, here.renew(old).Err, "renewing the lost lease")
	requireCode(e, fault.LeaseLost, here.release(old), "releasing the lost lease")
	require.Equal(e, "b", here.mustBeLocked("l", "a").Holder)
	require.NoError(e, there.release(current))
}

// mustStopWaiting requires that waiting for a lock ends with its context, though nothing answers.
func mustStopWaiting(e *Env, c cacheOn) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), e.Timing.Beat)
	defer cancel()
	start := time.Now()
	leases, err := c.Acquire(ctx, []cache.Claim{{Lock: "l", Holder: "b", TTL: time.Minute, Wait: time.Hour}})
	requireLinkFault(e, first(leases, err, func(l cache.Lease) error { return l.Err }))
	require.Less(e, time.Since(start), e.Timing.Beat+e.Timing.Prompt, "waiting went on after its context had ended")
}

func waitEndsWithoutLink(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	there.mustAcquire("l", "a", time.Hour)
	mustRecover(e, here)
	heal := e.Partition(0)
	mustStopWaiting(e, here)
	heal()
	mustRecover(e, here)
	require.Equal(e, "a", here.mustBeLocked("l", "c").Holder)
}

func waitEndsOnPaused(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	there.mustAcquire("l", "a", time.Hour)
	resume := e.Pause()
	mustStopWaiting(e, here)
	resume()
	mustRecover(e, here)
	require.Equal(e, "a", here.mustBeLocked("l", "c").Holder)
}

func crashedLockEnds(e *Env) {
	there := on(e, e.Node)
	node := on(e, e.Open())
	ttl := there.span(2)
	var lease cache.Lease
	life := giving(ttl, func() { lease = node.mustAcquire("l", "a", ttl) })
	e.Crash(1)

	var next cache.Lease
	there.mustEndAs(life, "a crashed node's lease", func() bool {
		next = there.acquire("l", "b", time.Minute)
		return next.Err != nil
	})
	require.Greater(e, next.Fence, lease.Fence)
	requireCode(e, fault.LeaseLost, there.release(lease), "releasing the crashed node's lease")
}

func crashedEntriesStay(e *Env) {
	there := on(e, e.Node)
	node := on(e, e.Open())
	node.mustSet("k", "v")
	e.Crash(1)

	there.mustHave("k", "v")
	_, err := node.Set(e.Within(e.Timing.Beat), []cache.Write{{Key: "k", Value: []byte("from the dead")}})
	require.Error(e, err, "the harness says that the node has crashed, and it writes")
	there.mustHave("k", "v")
}

func waiterSurvivesCut(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := there.mustAcquire("l", "a", time.Hour)
	got := make(chan error, 1)
	go func() {
		for {
			_, err := obtain(e.Context(), here, "l", "b", time.Minute)
			if err == nil || !isLinkFault(err) || e.Context().Err() != nil {
				got <- err
				return
			}
		}
	}()
	for range 3 {
		e.sleep(e.Timing.Beat / 5)
		e.Cut(0)
	}
	require.NoError(e, there.release(lease))
	require.NoError(e, Await(e, got, "the lock, by a waiter whose link was cut"))
}

func oneHolderOverCuts(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	fences := make(chan uint64, 100_000)
	underCuts(e, func(i, n int) error {
		node := here
		if i%2 == 1 {
			node = there
		}
		lock, holder := fmt.Sprint("l", n%50), fmt.Sprintf("%d.%d", i, n)
		r, err := node.Acquire(e.Context(), []cache.Claim{{Lock: lock, Holder: holder, TTL: time.Minute}})
		switch err := first(r, err, func(l cache.Lease) error { return l.Err }); {
		case err == nil:
			if n%50 == 0 {
				fences <- r[0].Fence
			}
			// Whoever holds it writes under its guard; only a second holder could be in the way.
			w, err := node.Set(e.Context(), []cache.Write{{
				Key: lock, Value: []byte(holder), TTL: time.Minute, Guard: cache.Guard{Holder: holder, Fence: r[0].Fence},
			}})
			if err := first(w, err, func(w cache.Written) error { return w.Err }); err != nil && !isLinkFault(err) {
				return fmt.Errorf("writing as the holder %s: %w", holder, err)
			}
			released, err := node.Release(e.Context(), []cache.Lease{r[0]})
			// Released, and the answer lost with the link: then a repeat finds nothing to release.
			if err := first(released, err, itself); err != nil && !isLinkFault(err) && !errors.Is(err, fault.LeaseLost) {
				return err
			}
		case errors.Is(err, fault.Locked), isLinkFault(err):
		default:
			return err
		}
		return nil
	})
	close(fences)
	given := map[uint64]bool{}
	for fence := range fences {
		require.False(e, given[fence], "the fence %d was given twice", fence)
		given[fence] = true
	}
}
