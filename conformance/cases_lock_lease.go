package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

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
		if forged.Fence > 0 { // 0 is not compared, and fences may begin at 1
			all = append(all, forged)
		}
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

// A holder whose Acquire was answered to nobody has a lease, and does not know its fence.
func releaseWithoutFence(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustAcquire("l", "a", time.Minute)
	unfenced := func(holder string) cache.Lease { return cache.Lease{Lock: "l", Holder: holder, TTL: time.Minute} }

	requireCode(e, fault.LeaseLost, there.renew(unfenced("b")).Err, "renewing as another holder")
	requireCode(e, fault.LeaseLost, there.release(unfenced("b")), "releasing as another holder")
	require.Equal(e, "a", here.mustBeLocked("l", "c").Holder)

	require.NoError(e, there.renew(unfenced("a")).Err)
	require.NoError(e, there.release(unfenced("a")))
	requireCode(e, fault.LeaseLost, here.release(unfenced("a")), "releasing what was released")
	here.mustAcquire("l", "b", time.Minute)
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
