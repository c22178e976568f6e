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
