package memory_test

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/memory"
)

func set(t require.TestingT, b *cache.Backend, w cache.Write) cache.Written {
	written, err := b.Set(background, []cache.Write{w})
	return one(t, written, err)
}

func get(t require.TestingT, b *cache.Backend, key string) cache.Got {
	got, err := b.Get(background, []cache.Read{{Key: key, Expiry: true}})
	return one(t, got, err)
}

func acquire(t require.TestingT, b *cache.Backend, c cache.Claim) cache.Lease {
	leases, err := b.Acquire(background, []cache.Claim{c})
	return one(t, leases, err)
}

func TestWhatOneNodeWritesTheOtherReads(t *testing.T) {
	pair := cluster(t, 2)
	a, b := pair[0].Cache(), pair[1].Cache()
	value := []byte("value")

	written := set(t, a, cache.Write{Key: "k", Value: value, Flags: 7})
	value[0] = 'X'

	require.NoError(t, written.Err)
	got := get(t, b, "k")
	require.True(t, got.Found)
	require.Equal(t, "value", string(got.Entry.Value))
	require.Equal(t, uint8(7), got.Entry.Flags)
	require.Equal(t, written.Revision, got.Entry.Revision)
	got.Entry.Value[0] = 'Y'
	require.Equal(t, "value", string(get(t, a, "k").Entry.Value), "values are copied out")
}

func TestAnEntryLivesUntilItsEndAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, 1)[0].Cache()
		began := time.Now()
		require.NoError(t, set(t, c, cache.Write{Key: "k", TTL: time.Second}).Err)

		time.Sleep(time.Second - 1)
		got := get(t, c, "k")
		require.True(t, got.Found)
		require.NotNil(t, got.Entry.Value)
		require.True(t, got.Entry.Expires.Equal(began.Add(time.Second)))
		require.True(t, got.Entry.Created.Equal(began))

		time.Sleep(time.Nanosecond)
		require.False(t, get(t, c, "k").Found)
	})
}

func TestConditionsDecideAndTellWhatIsThere(t *testing.T) {
	c := cluster(t, 1)[0].Cache()
	require.Equal(t, fault.Conflict, fault.CodeOf(set(t, c, cache.Write{Key: "k", If: cache.IfPresent()}).Err))
	require.Equal(t, fault.Conflict, fault.CodeOf(set(t, c, cache.Write{Key: "k", If: cache.IfRevision("r")}).Err))
	first := set(t, c, cache.Write{Key: "k", If: cache.IfRevision("")})
	require.NoError(t, first.Err)

	refused := set(t, c, cache.Write{Key: "k", If: cache.IfAbsent()})
	second := set(t, c, cache.Write{Key: "k", If: cache.IfRevision(first.Revision)})
	stale := set(t, c, cache.Write{Key: "k", If: cache.IfRevision(first.Revision)})

	require.Equal(t, fault.Conflict, fault.CodeOf(refused.Err))
	require.Equal(t, first.Revision, refused.Revision)
	require.NoError(t, second.Err)
	require.NotEqual(t, first.Revision, second.Revision)
	require.Equal(t, fault.Conflict, fault.CodeOf(stale.Err))
	require.Equal(t, second.Revision, stale.Revision)
}

func TestAddRefusesWhatIsNoCounterAndWhatWouldOverflow(t *testing.T) {
	c := cluster(t, 1)[0].Cache()
	add := func(delta int64) cache.Sum {
		sums, err := c.Add(background, []cache.Increment{{Key: "k", Delta: delta}})
		return one(t, sums, err)
	}
	require.Equal(t, int64(-5), add(-5).Value)
	require.Equal(t, "-5", string(get(t, c, "k").Entry.Value))

	for _, text := range []string{"", "x", "+1", "01", "-0", " 1", "1.0", "9223372036854775808"} {
		require.NoError(t, set(t, c, cache.Write{Key: "k", Value: []byte(text)}).Err)
		require.Equal(t, fault.Invalid, fault.CodeOf(add(1).Err), text)
		require.Equal(t, text, string(get(t, c, "k").Entry.Value))
	}
	for _, c2 := range []struct{ value, delta int64 }{
		{math.MaxInt64, 1}, {math.MinInt64, -1}, {-1, math.MinInt64}, {1, math.MaxInt64},
	} {
		require.NoError(t, set(t, c, cache.Write{Key: "k", Value: strconv.AppendInt(nil, c2.value, 10)}).Err)
		require.Equal(t, fault.Exhausted, fault.CodeOf(add(c2.delta).Err))
	}
}

func TestALockHasOneHolderAndEachHasAGreaterFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		a, b := pair[0].Cache(), pair[1].Cache()
		first := acquire(t, a, cache.Claim{Lock: "l", Holder: "a", TTL: time.Second})
		require.NoError(t, first.Err)

		refused := acquire(t, b, cache.Claim{Lock: "l", Holder: "b", TTL: time.Second})
		again := acquire(t, a, cache.Claim{Lock: "l", Holder: "a", TTL: time.Second})
		stolen, err := b.Release(background, []cache.Lease{{Lock: "l", Holder: "b", Fence: first.Fence}})
		time.Sleep(time.Second)
		second := acquire(t, b, cache.Claim{Lock: "l", Holder: "b", TTL: time.Second})
		late, err2 := a.Renew(background, []cache.Lease{first})

		require.Equal(t, fault.Locked, fault.CodeOf(refused.Err))
		require.Equal(t, "a", refused.Holder)
		require.Zero(t, refused.Fence)
		require.Equal(t, fault.Locked, fault.CodeOf(again.Err))
		require.Equal(t, fault.LeaseLost, fault.CodeOf(one(t, stolen, err)))
		require.NoError(t, second.Err)
		require.Greater(t, second.Fence, first.Fence)
		require.Equal(t, fault.LeaseLost, fault.CodeOf(one(t, late, err2).Err))
		released, err := b.Release(background, []cache.Lease{second})
		require.NoError(t, one(t, released, err))
	})
}

func TestAWaitingClaimGetsTheLockWhenItIsReleasedOrEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		a, b := pair[0].Cache(), pair[1].Cache()
		first := acquire(t, a, cache.Claim{Lock: "l", Holder: "a", TTL: time.Minute})
		waited := make(chan cache.Lease)
		claim := func(wait time.Duration) {
			began := time.Now()
			leases, _ := b.Acquire(background, []cache.Claim{{Lock: "l", Holder: "b", TTL: time.Minute, Wait: wait}})
			leases[0].TTL = time.Since(began)
			waited <- leases[0]
		}

		go claim(time.Hour)
		time.Sleep(3 * time.Second)
		released, err := a.Release(background, []cache.Lease{first})
		require.NoError(t, one(t, released, err))
		second := <-waited
		go claim(time.Second)
		given := <-waited
		go claim(time.Hour)
		third := <-waited
		go claim(time.Hour)
		time.Sleep(3 * time.Second)
		ended := third.TTL
		third.TTL = time.Second
		renewed, err := b.Renew(background, []cache.Lease{third})
		require.NoError(t, one(t, renewed, err).Err)
		fourth := <-waited

		require.NoError(t, second.Err)
		require.Equal(t, 3*time.Second, second.TTL)
		require.Equal(t, fault.Locked, fault.CodeOf(given.Err))
		require.Equal(t, time.Second, given.TTL)
		require.NoError(t, third.Err, "the lease before had ended")
		require.Equal(t, 59*time.Second, ended)
		require.Equal(t, 4*time.Second, fourth.TTL, "the lease before was renewed for less")
	})
}

func TestManyWaitersAllGetTheLockOneAfterTheOtherAlsoWhenSomeGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		const waiters = 100
		var mu sync.Mutex
		var all sync.WaitGroup
		holders, most, got, fences := 0, 0, 0, map[uint64]bool{}
		count := func(by int, fence uint64) {
			mu.Lock()
			defer mu.Unlock()
			holders += by
			most = max(most, holders)
			got += max(0, by)
			fences[fence] = true
		}
		for i := range waiters {
			all.Go(func() {
				c := pair[i%2].Cache()
				ctx, cancel := context.WithTimeout(background, time.Hour)
				if i%3 == 0 {
					ctx, cancel = context.WithTimeout(background, time.Duration(i)*time.Second)
				}
				defer cancel()
				leases, err := c.Acquire(ctx, []cache.Claim{{Lock: "l", Holder: fmt.Sprint(i), TTL: time.Minute, Wait: time.Hour}})
				if err != nil {
					return
				}
				count(1, leases[0].Fence)
				time.Sleep(10 * time.Second)
				count(-1, leases[0].Fence)
				if i%5 != 0 { // the others crash
					_, _ = c.Release(background, leases)
				}
			})
		}
		// A lease whose holder does not release it ends a minute after it was given, which is also the longest turn.
		all.Wait()

		require.Equal(t, 1, most)
		require.GreaterOrEqual(t, got, waiters*2/3)
		require.Len(t, fences, got)
	})
}

func TestACallThatTakesOneLockDoesNotWaitForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, 1)[0].Cache()
		require.NoError(t, acquire(t, c, cache.Claim{Lock: "a", Holder: "x", TTL: time.Hour}).Err)
		began := time.Now()

		leases, err := c.Acquire(background, []cache.Claim{
			{Lock: "a", Holder: "y", TTL: time.Hour, Wait: time.Hour}, {Lock: "b", Holder: "y", TTL: time.Hour, Wait: time.Hour},
			{Lock: "", Holder: "y", TTL: time.Hour},
		})

		require.NoError(t, err)
		require.Equal(t, fault.Locked, fault.CodeOf(leases[0].Err))
		require.NoError(t, leases[1].Err)
		require.Equal(t, fault.Invalid, fault.CodeOf(leases[2].Err))
		require.Zero(t, time.Since(began))
	})
}

func TestFencesAreRememberedForADayAndGrowEvenWhenTheClockIsSetBack(t *testing.T) {
	clock := newHandClock()
	store := memory.Store{Clock: clock}
	c := nodes(t, &store, 1)[0].Cache()
	first := acquire(t, c, cache.Claim{Lock: "l", Holder: "a", TTL: time.Second})
	clock.pass(-time.Hour)
	released, err := c.Release(background, []cache.Lease{first})
	require.NoError(t, one(t, released, err))
	second := acquire(t, c, cache.Claim{Lock: "l", Holder: "a", TTL: time.Second})
	require.Equal(t, first.Fence+1, second.Fence)

	clock.pass(time.Second + c.Capabilities.FenceMemory - 1)
	stale := set(t, c, cache.Write{Key: "l", Guard: cache.Guard{Fence: first.Fence}})
	current := set(t, c, cache.Write{Key: "l", Guard: cache.Guard{Fence: second.Fence}})
	clock.pass(1)
	third := acquire(t, c, cache.Claim{Lock: "l", Holder: "a", TTL: time.Second})

	require.Equal(t, fault.Conflict, fault.CodeOf(stale.Err))
	require.NoError(t, current.Err)
	require.Greater(t, third.Fence, second.Fence, "what is forgotten does not repeat")
}
