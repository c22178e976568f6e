package conformance

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// What the contract says of locks.
const (
	clauseOneHolder    Clause = "exactly one holder has a lock at a time"
	clauseTellsHolder  Clause = "Locked tells who holds the lock and until when"
	clauseReentrant    Clause = "locks are not reentrant: its own holder gets Locked too"
	clauseFence        Clause = "each lease has a fence greater than all that were given before for the lock"
	clauseFenceMemory  Clause = "the last fence is remembered for the declared time after release"
	clauseLease        Clause = "a lease never ends early by the store's clock, and frees the lock when it ends"
	clauseRenew        Clause = "Renew makes a lease end its TTL from now, keeping holder and fence"
	clauseRenewLost    Clause = "Renew is LeaseLost when the lease has ended or another was given since, and leaves that alone"
	clauseRelease      Clause = "Release ends a lease and wakes those who wait"
	clauseReleaseLost  Clause = "Release is LeaseLost for whatever is not the live lease, and leaves that alone"
	clauseWait         Clause = "with Wait, Locked may be answered as soon as the lock was seen released, or when Wait is over"
	clauseClaimInvalid Clause = "a claim without name, holder or lifetime is Invalid, and takes nothing"
	clauseHeld         Clause = "Held lists live leases by prefix, with holder and end"
	clauseLockRestart  Clause = "locks outlive a restart of the store as Persistent says"
)

var lockClauses = []Clause{
	clauseOneHolder, clauseTellsHolder, clauseReentrant, clauseFence, clauseFenceMemory, clauseLease, clauseRenew,
	clauseRenewLost, clauseRelease, clauseReleaseLost, clauseWait, clauseClaimInvalid, clauseHeld, clauseLockRestart,
}

func lockCases() []Case {
	return append(needing(NeedsCache, []Case{
		{Name: "cache/lock/a-held-lock-is-refused-to-another-owner", Clause: clauseOneHolder, Run: lockRefused},
		{Name: "cache/lock/one-of-16-owners-gets-it", Clause: clauseOneHolder, Run: lockOneWinner},
		{Name: "cache/lock/never-two-holders-at-a-time", Clause: clauseOneHolder, Run: lockMutualExclusion},
		{Name: "cache/lock/locks-with-other-names-are-free", Clause: clauseOneHolder, Run: lockNames},
		{Name: "cache/lock/a-refusal-tells-holder-and-end", Clause: clauseTellsHolder, Run: lockTellsHolder},
		{Name: "cache/lock/its-own-holder-is-refused", Clause: clauseReentrant, Run: lockNotReentrant},
		{Name: "cache/lock/deleting-the-entry-does-not-free-it", Clause: clauseOneHolder, Run: lockOutlivesEntry},

		{Name: "cache/lock/fences-increase-over-releases-and-nodes", Clause: clauseFence, Run: fencesOverReleases},
		{Name: "cache/lock/fences-increase-over-ended-leases", Clause: clauseFence, Run: fencesOverEnds},
		{Name: "cache/lock/fences-increase-under-contention", Clause: clauseFence, Run: fencesUnderContention},
		{Name: "cache/lock/a-refused-claim-tells-no-fence", Clause: clauseFence, Run: fenceNotTold},
		{Name: "cache/lock/a-released-locks-fence-is-remembered", Clause: clauseFenceMemory, Run: fenceRemembered},

		{Name: "cache/lock/a-lease-lasts-its-time-and-no-longer", Clause: clauseLease, Run: leaseEnds},
		{Name: "cache/lock/an-ended-lease-frees-the-lock", Clause: clauseLease, Run: leaseFrees},

		{Name: "cache/lock/renewing-makes-it-last-longer", Clause: clauseRenew, Run: renewLengthens},
		{Name: "cache/lock/renewing-counts-from-now", Clause: clauseRenew, Run: renewShortens},
		{Name: "cache/lock/renewing-keeps-holder-and-fence", Clause: clauseRenew, Run: renewKeeps},
		{Name: "cache/lock/renewing-an-ended-lease-is-lost", Clause: clauseRenewLost, Run: renewEnded},
		{Name: "cache/lock/renewing-by-a-non-holder-is-lost", Clause: clauseRenewLost, Run: renewForged},
		{Name: "cache/lock/renewing-a-stale-lease-is-lost", Clause: clauseRenewLost, Run: renewStale},

		{Name: "cache/lock/release-frees-at-once", Clause: clauseRelease, Run: releaseFrees},
		{Name: "cache/lock/release-twice-is-lost", Clause: clauseReleaseLost, Run: releaseTwice},
		{Name: "cache/lock/release-by-non-holder-is-refused", Clause: clauseReleaseLost, Run: releaseForged},
		{Name: "cache/lock/without-a-fence-the-holder-decides", Clause: clauseReleaseLost, Run: releaseWithoutFence},
		{Name: "cache/lock/release-of-a-stale-lease-leaves-the-new-one", Clause: clauseReleaseLost, Run: releaseStale},
		{Name: "cache/lock/release-of-an-ended-lease-is-lost", Clause: clauseReleaseLost, Run: releaseEnded},

		{Name: "cache/lock/a-waiter-gets-it-soon-after-release", Clause: clauseRelease, Run: waiterWakes},
		{Name: "cache/lock/a-waiter-gets-it-when-the-lease-ends", Clause: clauseWait, Run: waiterOutlasts},
		{Name: "cache/lock/all-waiters-get-it-in-turn", Clause: clauseWait, Run: waitersInTurn},
		{Name: "cache/lock/waiting-ends-when-it-is-over", Clause: clauseWait, Run: waitEnds},
		{Name: "cache/lock/waiting-ends-with-its-context", Clause: clauseContexts, Run: waitEndsWithContext},
		{Name: "cache/lock/a-waiter-who-gave-up-takes-nothing", Clause: clauseWait, Run: waiterGaveUp},

		{Name: "cache/lock/bad-claims-are-invalid", Clause: clauseClaimInvalid, Run: claimInvalid},
		{Name: "cache/lock/unusual-names-are-their-own-locks", Clause: clauseAnyBytes, Run: lockUnusualNames},
		{Name: "cache/lock/unusual-holders-are-told-apart", Clause: clauseAnyBytes, Run: lockUnusualHolders},
	}), needing(NeedsHolders, []Case{
		{Name: "cache/lock/held-locks-are-listed", Clause: clauseHeld, Run: heldListed},
		{Name: "cache/lock/held-locks-are-listed-by-prefix", Clause: clauseHeld, Run: heldByPrefix},
		{Name: "cache/lock/released-and-ended-leases-are-not-listed", Clause: clauseHeld, Run: heldNotListed},
		{Name: "cache/lock/held-locks-are-listed-in-pages", Clause: clauseHeld, Run: heldPages},
	})...)
}

func lockRefused(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", time.Minute)
	for range 10 {
		there.mustBeLocked("l", "b")
		here.mustBeLocked("l", "c")
	}
	require.NoError(e, here.release(lease), "it is the first owner's still")
}

func lockOneWinner(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	for round := range 25 {
		lock := fmt.Sprint("l", round)
		errs := together(16, func(i int) error {
			r, err := nodes[i%2].Acquire(e.Context(), []cache.Claim{{Lock: lock, Holder: fmt.Sprint("owner", i), TTL: time.Minute}})
			return first(r, err, func(l cache.Lease) error { return l.Err })
		})
		winners := 0
		for _, err := range errs {
			if err == nil {
				winners++
			} else {
				requireCode(e, fault.Locked, err, "losing")
			}
		}
		require.Equal(e, 1, winners, "owners who got the lock")
	}
}

func lockMutualExclusion(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	var inside, most atomic.Int32
	errs := together(8, func(i int) error {
		for n := range 5 {
			holder := fmt.Sprintf("owner %d.%d", i, n)
			lease, err := obtain(e.Context(), nodes[i%2], "l", holder, time.Minute)
			if err != nil {
				return err
			}
			if now := inside.Add(1); now > most.Load() {
				most.Store(now)
			}
			_, err = nodes[i%2].Get(e.Context(), []cache.Read{{Key: "k"}})
			inside.Add(-1)
			if err != nil {
				return err
			}
			r, err := nodes[(i+n)%2].Release(e.Context(), []cache.Lease{lease})
			if err := first(r, err, itself); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	require.Equal(e, int32(1), most.Load(), "holders at a time")
}

func lockNames(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustAcquire("l", "a", time.Minute)
	for _, name := range []string{"l2", "L", "l:", "l*", "*", "{l}", "ll", "l\x00"} {
		there.mustAcquire(name, "b", time.Minute)
	}
}

func lockTellsHolder(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "owner a", time.Minute)
	require.WithinDuration(e, time.Now().Add(time.Minute), lease.Expires, e.Timing.Wait)

	refused := there.mustBeLocked("l", "b")
	require.Equal(e, "l", refused.Lock)
	require.Equal(e, "owner a", refused.Holder, "who holds it")
	require.WithinDuration(e, lease.Expires, refused.Expires, time.Second, "until when")
}

func lockNotReentrant(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", time.Minute)
	require.Equal(e, "a", here.mustBeLocked("l", "a").Holder)
	require.Equal(e, "a", there.mustBeLocked("l", "a").Holder)
	require.NoError(e, here.release(lease))
	here.mustAcquire("l", "a", time.Minute)
}

func lockOutlivesEntry(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustSet("k", "v")
	lease := here.mustAcquire("k", "a", time.Minute)
	require.NoError(e, there.remove(cache.Removal{Key: "k"}).Err)
	there.mustBeLocked("k", "b")
	here.mustEnd("k", here.writing("k", here.span(1)))
	there.mustBeLocked("k", "b")
	require.NoError(e, here.release(lease))
}

func claimInvalid(e *Env) {
	here := on(e, e.Node)
	requireCode(e, fault.Invalid, here.acquire("l", "", time.Minute).Err, "a claim without holder")
	requireCode(e, fault.Invalid, here.acquire("", "a", time.Minute).Err, "a claim without name")
	requireCode(e, fault.Invalid, here.acquire("l", "a", 0).Err, "a claim without lifetime")
	requireCode(e, fault.Invalid, here.acquire("l", "a", -time.Second).Err, "a claim with a negative lifetime")
	if shortest := here.Capabilities.MinTTL; shortest > 1 {
		requireCode(e, fault.Invalid, here.acquire("l", "a", shortest-1).Err, "a claim with a lifetime too short")
	}
	lease := here.mustAcquire("l", "b", time.Minute)
	lease.TTL = -time.Second
	requireCode(e, fault.Invalid, here.renew(lease).Err, "a renewal with a negative lifetime")
	here.mustBeLocked("l", "c")
}

func lockUnusualNames(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	leases := map[string]cache.Lease{}
	for i, name := range unusualNames {
		leases[name] = here.mustAcquire(name, fmt.Sprint("owner", i), time.Minute)
	}
	for i, name := range unusualNames {
		require.Equal(e, fmt.Sprint("owner", i), there.mustBeLocked(name, "x").Holder, "%q", name)
		require.NoError(e, there.release(leases[name]), "%q", name)
	}
}

func lockUnusualHolders(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for i, holder := range unusualNames {
		other := unusualNames[(i+1)%len(unusualNames)]
		lease := here.mustAcquire("l", holder, time.Minute)
		require.Equal(e, holder, there.mustBeLocked("l", other).Holder)
		forged := lease
		forged.Holder = other
		requireCode(e, fault.LeaseLost, there.release(forged), "releasing as %q what %q holds", other, holder)
		requireCode(e, fault.Locked, there.set(cache.Write{Key: "l", Guard: cache.Guard{Holder: other}}).Err, "writing as %q what %q has locked", other, holder)
		require.NoError(e, there.set(cache.Write{Key: "l", Guard: cache.Guard{Holder: holder, Fence: lease.Fence}}).Err)
		require.NoError(e, there.release(lease))
	}
}
