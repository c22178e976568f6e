package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// obtain asks for a lock until it gets it, as the contract lets a caller do: the driver may wait, or answer at once.
func obtain(ctx context.Context, c cacheOn, lock, holder string, ttl time.Duration) (cache.Lease, error) {
	for {
		r, err := c.Acquire(ctx, []cache.Claim{{Lock: lock, Holder: holder, TTL: ttl, Wait: time.Minute}})
		if err != nil {
			return cache.Lease{}, err
		}
		if !errors.Is(r[0].Err, fault.Locked) {
			return r[0], r[0].Err
		}
		pause := time.NewTimer(20 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return cache.Lease{}, fault.FromContext(ctx)
		}
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

func fencesOverReleases(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open()), on(e, e.Open())}
	last := uint64(0)
	for i := range 30 {
		lease := nodes[i%3].mustAcquire("l", fmt.Sprint("owner", i%4), time.Minute)
		require.Greater(e, lease.Fence, last, "the fence of lease %d", i+1)
		last = lease.Fence
		require.NoError(e, nodes[(i+1)%3].release(lease))
	}
}

func fencesOverEnds(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	last := uint64(0)
	for i := range 3 {
		lease, err := obtain(e.Context(), nodes[i%2], "l", fmt.Sprint("owner", i), nodes[0].span(1))
		require.NoError(e, err)
		require.Greater(e, lease.Fence, last, "the fence of a lease after one that ended by itself")
		last = lease.Fence
	}
}

func fencesUnderContention(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	fences := make([][]uint64, 8)
	errs := together(len(fences), func(i int) error {
		for n := range 8 {
			lease, err := obtain(e.Context(), nodes[i%2], "l", fmt.Sprintf("%d.%d", i, n), time.Minute)
			if err != nil {
				return err
			}
			fences[i] = append(fences[i], lease.Fence)
			r, err := nodes[i%2].Release(e.Context(), []cache.Lease{lease})
			if err := first(r, err, itself); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	for _, mine := range fences {
		require.True(e, slices.IsSorted(mine), "one owner's fences increase: %v", mine)
	}
	all := slices.Concat(fences...)
	slices.Sort(all)
	require.Len(e, slices.Compact(slices.Clone(all)), len(all), "a fence was given twice: %v", all)
}

func fenceNotTold(e *Env) {
	here := on(e, e.Node)
	here.mustAcquire("l", "a", time.Minute)
	require.Zero(e, on(e, e.Open()).mustBeLocked("l", "b").Fence, "whoever has a lock's fence passes for its holder")
}

func fenceRemembered(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", here.span(1))
	require.NoError(e, here.release(lease))
	here.outlive(here.span(2)) // longer than the lease would have lasted
	require.Greater(e, there.mustAcquire("l", "b", time.Minute).Fence, lease.Fence)
}

func leaseEnds(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, beats := range []int{1, 3} {
		lock := fmt.Sprint("l", beats)
		life := giving(here.span(beats), func() { here.mustAcquire(lock, "a", here.span(beats)) })
		there.mustEndAs(life, "the lease", func() bool {
			lease := there.acquire(lock, "b", time.Minute)
			if lease.Err != nil {
				requireCode(e, fault.Locked, lease.Err, "acquiring while the lease lasts")
			}
			return lease.Err != nil
		})
	}
}

// end gives a lease that has ended by itself, and nobody took since.
func end(e *Env, c cacheOn, lock, holder string) cache.Lease {
	e.Helper()
	lease := c.mustAcquire(lock, holder, c.span(1))
	c.outlive(c.span(1))
	return lease
}

func leaseFrees(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	end(e, here, "l", "a")
	there.mustAcquire("l", "b", time.Minute)
	end(e, here, "m", "a")
	here.mustAcquire("m", "a", time.Minute) // by whoever had it, too
}

// held acquires a short lease and has f do something with it while it lasts. On a slow day it has ended before f is
// done; then it is tried with a longer one. The answer is how long it was.
func held(e *Env, c cacheOn, lock, holder string, f func(cache.Lease) error) time.Duration {
	e.Helper()
	for beats := 2; ; beats *= 2 {
		begin := time.Now()
		lease := c.mustAcquire(fmt.Sprint(lock, beats), holder, c.span(beats))
		if err := f(lease); time.Since(begin) < c.span(beats) {
			require.NoError(e, err)
			return c.span(beats)
		}
	}
}

func renewLengthens(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	var renewed cache.Lease
	before := held(e, here, "l", "a", func(l cache.Lease) error {
		l.TTL = time.Hour
		renewed = there.renew(l) // through whichever node
		return renewed.Err
	})
	require.Equal(e, time.Hour, renewed.TTL)
	here.outlive(before)
	require.Equal(e, "a", there.mustBeLocked(renewed.Lock, "b").Holder)
	require.NoError(e, here.release(renewed))
}

func renewShortens(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", time.Hour)
	lease.TTL = here.span(1)
	life := giving(lease.TTL, func() { require.NoError(e, here.renew(lease).Err) })
	there.mustEndAs(life, "the renewed lease", func() bool { return there.acquire("l", "b", time.Minute).Err != nil })
}

func renewKeeps(e *Env) {
	here := on(e, e.Node)
	lease := here.mustAcquire("l", "a", time.Minute)
	for range 5 {
		renewed := here.renew(lease)
		require.NoError(e, renewed.Err)
		require.Equal(e, lease.Lock, renewed.Lock)
		require.Equal(e, lease.Holder, renewed.Holder)
		require.Equal(e, lease.Fence, renewed.Fence)
		require.WithinDuration(e, time.Now().Add(time.Minute), renewed.Expires, e.Timing.Wait)
		lease = renewed
	}
	require.NoError(e, here.release(lease))
}

func renewEnded(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := end(e, here, "l", "a")
	lease.TTL = time.Hour
	requireCode(e, fault.LeaseLost, here.renew(lease).Err, "renewing what has ended")
	there.mustAcquire("l", "b", time.Minute) // and the renewal did not take it again
}

func renewForged(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", time.Minute)
	for _, forged := range forgeries(lease) {
		forged.TTL = time.Hour
		requireCode(e, fault.LeaseLost, there.renew(forged).Err, "renewing %+v", forged)
	}
	refused := there.mustBeLocked("l", "b")
	require.Equal(e, "a", refused.Holder)
	require.WithinDuration(e, lease.Expires, refused.Expires, time.Second, "a renewal that was refused made the lease longer")
	requireCode(e, fault.LeaseLost, here.renew(cache.Lease{Lock: "free", Holder: "a", Fence: 1, TTL: time.Minute}).Err, "renewing what was never given")
	here.mustAcquire("free", "b", time.Minute)
}

// forgeries are leases that look like a live one and are not it.
func forgeries(l cache.Lease) []cache.Lease {
	var all []cache.Lease
	for _, change := range []func(*cache.Lease){
		func(l *cache.Lease) { l.Holder = "b" },
		func(l *cache.Lease) { l.Holder += "a" },
		func(l *cache.Lease) { l.Holder = strings.ToUpper(l.Holder) },
		func(l *cache.Lease) { l.Fence-- },
		func(l *cache.Lease) { l.Fence++ },
		func(l *cache.Lease) { l.Holder, l.Fence = "b", l.Fence+1 },
	} {
		forged := l
		change(&forged)
		all = append(all, forged)
	}
	return all
}

func renewStale(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	stale := end(e, here, "l", "a")
	current := there.mustAcquire("l", "a", time.Minute) // the same holder again: only the fence tells them apart
	stale.TTL = time.Hour
	requireCode(e, fault.LeaseLost, here.renew(stale).Err, "renewing the lease before")
	require.WithinDuration(e, current.Expires, here.mustBeLocked("l", "b").Expires, time.Second, "it made another's lease longer")
	require.NoError(e, there.release(current))
}

func releaseFrees(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for i := range 10 {
		lease := here.mustAcquire("l", "a", time.Minute)
		require.NoError(e, there.release(lease), "through whichever node")
		require.NoError(e, here.release(there.mustAcquire("l", fmt.Sprint("b", i), time.Minute)))
	}
}

func releaseTwice(e *Env) {
	here := on(e, e.Node)
	lease := here.mustAcquire("l", "a", time.Minute)
	require.NoError(e, here.release(lease))
	requireCode(e, fault.LeaseLost, here.release(lease), "the second release")
	requireCode(e, fault.LeaseLost, here.renew(lease).Err, "renewing what was released")
	here.mustAcquire("l", "b", time.Minute)
	requireCode(e, fault.LeaseLost, here.release(lease), "the third release")
	here.mustBeLocked("l", "c")
}

func releaseForged(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", time.Minute)
	for _, forged := range forgeries(lease) {
		requireCode(e, fault.LeaseLost, there.release(forged), "releasing %+v", forged)
		require.Equal(e, "a", there.mustBeLocked("l", "b").Holder, "it was released by %+v", forged)
	}
	require.NoError(e, here.release(lease))
	requireCode(e, fault.LeaseLost, here.release(cache.Lease{Lock: "never", Holder: "a", Fence: 1, TTL: time.Minute}), "releasing what was never given")
}

func releaseStale(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, next := range []string{"b", "a"} { // by another holder, and by the same one
		lock := "l" + next
		stale := end(e, here, lock, "a")
		current := there.mustAcquire(lock, next, time.Minute)
		requireCode(e, fault.LeaseLost, here.release(stale), "releasing the lease before")
		require.Equal(e, next, here.mustBeLocked(lock, "c").Holder)
		require.NoError(e, there.release(current))
	}
}

func releaseEnded(e *Env) {
	here := on(e, e.Node)
	lease := end(e, here, "l", "a")
	requireCode(e, fault.LeaseLost, here.release(lease), "releasing what has ended")
	here.mustAcquire("l", "b", time.Minute)
}

// waiting has somebody wait for a lock on a goroutine of its own.
func waiting(e *Env, c cacheOn, lock, holder string) <-chan cache.Lease {
	got := make(chan cache.Lease, 1)
	go func() {
		lease, err := obtain(e.Context(), c, lock, holder, time.Minute)
		if err != nil {
			lease.Err = err
		}
		got <- lease
	}()
	return got
}

func waiterWakes(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for round := range 5 {
		lock := fmt.Sprint("l", round)
		lease := here.mustAcquire(lock, "a", time.Minute)
		got := waiting(e, there, lock, "b")
		e.sleep(e.Timing.Beat / 5) // mostly it waits by now; if not, it finds the lock free
		select {
		case early := <-got:
			e.Errorf("a waiter got the lock while it was held: %+v", early)
			e.FailNow()
		default:
		}
		require.NoError(e, here.release(lease))
		released := time.Now()
		next := Await(e, got, "the lock, after its release")
		require.NoError(e, next.Err)
		require.Greater(e, next.Fence, lease.Fence)
		require.Less(e, time.Since(released), e.Timing.Prompt, "a waiter hears of a release soon")
	}
}

func waiterOutlasts(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	begin := time.Now()
	here.mustAcquire("l", "a", here.span(2))
	next := Await(e, waiting(e, there, "l", "b"), "the lock, after the end of its lease")
	require.NoError(e, next.Err)
	require.GreaterOrEqual(e, time.Since(begin), here.span(2), "a waiter got the lock before its lease had ended")
}

func waitersInTurn(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	lease := nodes[0].mustAcquire("l", "a", time.Minute)
	got := make([]<-chan cache.Lease, 6)
	all := make(chan cache.Lease, len(got))
	for i := range got {
		got[i] = waiting(e, nodes[i%2], "l", fmt.Sprint("waiter", i))
		go func() { all <- <-got[i] }()
	}
	for range got {
		require.NoError(e, nodes[0].release(lease))
		next := Await(e, all, "the lock, by any of those who wait")
		require.NoError(e, next.Err)
		require.Greater(e, next.Fence, lease.Fence)
		lease = next
	}
}

func waitEnds(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustAcquire("l", "a", time.Minute)
	wait := e.Timing.Beat
	start := time.Now()
	r, err := there.Acquire(e.Context(), []cache.Claim{{Lock: "l", Holder: "b", TTL: time.Minute, Wait: wait}})
	took := time.Since(start)
	lease := only(e, r, err)
	requireCode(e, fault.Locked, lease.Err, "the end of waiting")
	require.Equal(e, "a", lease.Holder)
	require.Less(e, took, wait+e.Timing.Prompt)
}

func waitEndsWithContext(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustAcquire("l", "a", time.Minute)
	claim := []cache.Claim{{Lock: "l", Holder: "b", TTL: time.Minute, Wait: time.Hour}}
	answered := func(err error, lease []cache.Lease, want fault.Code) {
		e.Helper()
		// A driver may answer Locked at once; what it may not is to go on waiting.
		code := fault.CodeOf(first(lease, err, func(l cache.Lease) error { return l.Err }))
		require.Contains(e, []string{want.String(), fault.Locked.String()}, code.String())
	}

	ctx, cancel := context.WithTimeout(e.Context(), e.Timing.Beat)
	defer cancel()
	start := time.Now()
	leases, err := there.Acquire(ctx, claim)
	require.Less(e, time.Since(start), e.Timing.Beat+e.Timing.Prompt, "waiting went on after its deadline")
	answered(err, leases, fault.DeadlineExceeded)

	ctx, cancel = context.WithCancel(e.Context())
	timer := time.AfterFunc(e.Timing.Beat, cancel)
	defer timer.Stop()
	start = time.Now()
	leases, err = there.Acquire(ctx, claim)
	require.Less(e, time.Since(start), e.Timing.Beat+e.Timing.Prompt, "waiting went on after it was cancelled")
	answered(err, leases, fault.Canceled)
}

func waiterGaveUp(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("l", "a", time.Minute)
	for i := range 5 {
		ctx, cancel := context.WithTimeout(e.Context(), e.Timing.Beat/10)
		_, err := obtain(ctx, there, "l", fmt.Sprint("gave up", i), time.Minute)
		cancel()
		require.Error(e, err)
	}
	require.NoError(e, here.release(lease))
	here.mustAcquire("l", "b", time.Minute)
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

// heldUnder lists all held locks with the prefix.
func heldUnder(e *Env, c cacheOn, page cache.Page) map[string]cache.Lease {
	e.Helper()
	all := map[string]cache.Lease{}
	collect(e, page, func(p cache.Page) (names []string, next string, err error) {
		held, err := c.Holders.Held(e.Context(), p)
		for _, lease := range held.Leases {
			require.NoError(e, lease.Err)
			all[lease.Lock] = lease
		}
		return nil, held.Next, err
	})
	return all
}

func heldListed(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	require.Empty(e, heldUnder(e, here, cache.Page{}))
	want := map[string]cache.Lease{}
	for i, name := range unusualNames {
		want[name] = here.mustAcquire(name, fmt.Sprint("owner", i), time.Hour)
	}
	here.mustSet("an entry", "v")
	got := heldUnder(e, there, cache.Page{})
	require.Len(e, got, len(want))
	for name, lease := range want {
		require.Equal(e, lease.Holder, got[name].Holder, "%q", name)
		require.WithinDuration(e, lease.Expires, got[name].Expires, time.Second, "%q", name)
	}
}

func heldByPrefix(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, name := range []string{"job:1", "job:2", "job", "jobs", "j*", "other"} {
		here.mustAcquire(name, "a", time.Hour)
	}
	require.Len(e, heldUnder(e, there, cache.Page{Prefix: "job:"}), 2)
	require.Len(e, heldUnder(e, there, cache.Page{Prefix: "job"}), 4)
	require.Len(e, heldUnder(e, there, cache.Page{Prefix: "j*"}), 1)
	require.Empty(e, heldUnder(e, there, cache.Page{Prefix: "nothing"}))
}

func heldNotListed(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	require.NoError(e, here.release(here.mustAcquire("released", "a", time.Hour)))
	end(e, here, "ended", "a")
	here.mustAcquire("again", "a", here.span(1))
	here.outlive(here.span(1))
	here.mustAcquire("again", "b", time.Hour)

	got := heldUnder(e, there, cache.Page{})
	require.Len(e, got, 1)
	require.Equal(e, "b", got["again"].Holder)
}

func heldPages(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	const n = 100
	claims := make([]cache.Claim, n)
	for i := range claims {
		claims[i] = cache.Claim{Lock: fmt.Sprint("l", i), Holder: "a", TTL: time.Hour}
	}
	leases, err := here.Acquire(e.Context(), claims)
	mustFail(e, leases, err, func(l cache.Lease) error { return l.Err }, nil)
	for _, limit := range []int{0, 1, 7, 1000} {
		require.Len(e, heldUnder(e, there, cache.Page{Prefix: "l", Limit: limit}), n, "pages of %d", limit)
	}
}
