package redis_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports/redis"
)

func acquire(t testing.TB, node *redis.Transport, c cache.Claim) cache.Lease {
	t.Helper()
	leases, err := node.Cache().Acquire(t.Context(), []cache.Claim{c})
	return one(t, leases, err)
}

func renew(t testing.TB, node *redis.Transport, l cache.Lease) cache.Lease {
	t.Helper()
	leases, err := node.Cache().Renew(t.Context(), []cache.Lease{l})
	return one(t, leases, err)
}

func release(t testing.TB, node *redis.Transport, l cache.Lease) error {
	t.Helper()
	errs, err := node.Cache().Release(t.Context(), []cache.Lease{l})
	return one(t, errs, err)
}

func held(t testing.TB, node *redis.Transport, prefix string) []cache.Lease {
	t.Helper()
	var all []cache.Lease
	page := cache.Page{Prefix: prefix}
	for {
		leases, err := node.Cache().Holders.Held(t.Context(), page)
		require.NoError(t, err)
		all = append(all, leases.Leases...)
		if page.Cursor = leases.Next; page.Cursor == "" {
			return all
		}
	}
}

// isAwaited looks at the byte of a lock's record that says so.
func isAwaited(t testing.TB, server *client.Client, ns, lock string) bool {
	t.Helper()
	record, err := server.Get(t.Context(), "bp:"+ns+":k:{"+lock+"}").Result()
	require.NoError(t, err)
	return record[25] == 1
}

// lockRecord is a released lock that remembers a fence.
func lockRecord(fence uint64) []byte {
	record := make([]byte, 26)
	record[0] = 1
	binary.BigEndian.PutUint64(record[1:], math.Float64bits(float64(fence)))
	return record
}

func TestOneHolderAtATimeAndFencesGrow(t *testing.T) {
	url, ns := testserver.Shared(t).URL(), testserver.Namespace(t)
	a, b := openURL(t, url, ns), openURL(t, url, ns)

	first := acquire(t, a, cache.Claim{Lock: "k", Holder: "a", TTL: time.Minute})
	second := acquire(t, b, cache.Claim{Lock: "k", Holder: "b", TTL: time.Minute})
	again := acquire(t, a, cache.Claim{Lock: "k", Holder: "a", TTL: time.Minute})

	require.NoError(t, first.Err)
	require.InDelta(t, time.Minute, time.Until(first.Expires), float64(10*time.Second))
	requireCode(t, fault.Locked, second.Err)
	require.Equal(t, "a", second.Holder)
	require.Zero(t, second.Fence)
	require.Equal(t, first.Expires, second.Expires)
	requireCode(t, fault.Locked, again.Err)
	requireCode(t, fault.LeaseLost, release(t, b, cache.Lease{Lock: "k", Holder: "b", Fence: first.Fence}))
	requireCode(t, fault.LeaseLost, release(t, b, cache.Lease{Lock: "k", Holder: "a", Fence: first.Fence - 1}))
	require.NoError(t, release(t, b, first), "any node may release for the holder")
	requireCode(t, fault.LeaseLost, release(t, a, first))
	third := acquire(t, b, cache.Claim{Lock: "k", Holder: "b", TTL: time.Minute})
	require.NoError(t, third.Err)
	require.Greater(t, third.Fence, first.Fence)
}

func TestFenceGrowsAlthoughTheClockWasSetBack(t *testing.T) {
	server := plain(t, testserver.Shared(t).URL())
	ns := testserver.Namespace(t)
	node := openURL(t, testserver.Shared(t).URL(), ns)
	const future = 4_000_000_000_000_000 // in microseconds: far ahead of the clock
	require.NoError(t, server.Set(t.Context(), "bp:"+ns+":k:{k}", lockRecord(future), 0).Err())

	lease := acquire(t, node, cache.Claim{Lock: "k", Holder: "nul\x00 and\nline", TTL: time.Minute})

	require.NoError(t, lease.Err)
	require.Equal(t, uint64(future+1), lease.Fence)
	require.NoError(t, renew(t, node, lease).Err)
	require.Equal(t, "nul\x00 and\nline", held(t, node, "")[0].Holder)
	memory, err := server.PTTL(t.Context(), "bp:"+ns+":k:{k}").Result()
	require.NoError(t, err)
	require.Greater(t, memory, node.Cache().Capabilities.FenceMemory)
}

func TestFenceGrowsAlthoughTheStoreWasFlushed(t *testing.T) {
	server := testserver.Redis(t)
	node := openURL(t, server.URL(), "n")
	before := acquire(t, node, cache.Claim{Lock: "k", Holder: "a", TTL: time.Minute})
	require.NoError(t, before.Err)
	require.NoError(t, plain(t, server.URL()).FlushAll(t.Context()).Err())

	after := acquire(t, node, cache.Claim{Lock: "k", Holder: "b", TTL: time.Minute})

	require.NoError(t, after.Err)
	require.Greater(t, after.Fence, before.Fence)
	requireCode(t, fault.LeaseLost, renew(t, node, before).Err)
	requireCode(t, fault.LeaseLost, release(t, node, before))
	requireCode(t, fault.Conflict, set(t, node, cache.Write{Key: "k", Guard: cache.Guard{Fence: before.Fence}}).Err)
}

func TestLeaseEndsUnlessRenewed(t *testing.T) {
	node := open(t)
	const ttl = 400 * time.Millisecond
	lease := acquire(t, node, cache.Claim{Lock: "k", Holder: "a", TTL: ttl})
	require.NoError(t, lease.Err)

	renewed := renew(t, node, cache.Lease{Lock: "k", Holder: "a", Fence: lease.Fence, TTL: time.Minute})
	require.NoError(t, renewed.Err)
	require.Equal(t, lease.Fence, renewed.Fence)
	require.Greater(t, time.Until(renewed.Expires), 30*time.Second)
	sent := time.Now()
	require.NoError(t, renew(t, node, cache.Lease{Lock: "k", Holder: "a", Fence: lease.Fence, TTL: ttl}).Err)
	for {
		err := acquire(t, node, cache.Claim{Lock: "k", Holder: "b", TTL: time.Minute}).Err
		if err == nil {
			require.GreaterOrEqual(t, time.Since(sent), ttl)
			break
		}
		requireCode(t, fault.Locked, err)
		time.Sleep(5 * time.Millisecond)
	}

	requireCode(t, fault.LeaseLost, renew(t, node, lease).Err)
	requireCode(t, fault.LeaseLost, release(t, node, lease))
	require.Equal(t, "b", held(t, node, "k")[0].Holder)
}

func TestLeaseWhoseFenceWasNeverLearnedIsItsHoldersAlone(t *testing.T) {
	node := open(t)
	lease := acquire(t, node, cache.Claim{Lock: "l", Holder: "a", TTL: time.Minute})
	stranger := cache.Lease{Lock: "l", Holder: "b", TTL: time.Hour}
	holder := cache.Lease{Lock: "l", Holder: "a", TTL: time.Hour}

	requireCode(t, fault.LeaseLost, renew(t, node, stranger).Err)
	requireCode(t, fault.LeaseLost, release(t, node, stranger))
	renewed := renew(t, node, holder)
	require.NoError(t, renewed.Err)
	require.Equal(t, lease.Fence, renewed.Fence)
	require.NoError(t, release(t, node, holder))
	requireCode(t, fault.LeaseLost, release(t, node, holder))

	require.Greater(t, acquire(t, node, cache.Claim{Lock: "l", Holder: "b", TTL: time.Minute}).Fence, lease.Fence)
}

func TestLockExcludesUnderContention(t *testing.T) {
	url, ns := testserver.Shared(t).URL(), testserver.Namespace(t)
	nodes := []*redis.Transport{openURL(t, url, ns), openURL(t, url, ns)}
	var inside, worst, last atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, 64)
	for g := range 64 {
		all.Go(func() {
			c := nodes[g%2].Cache()
			for i := range 3 {
				claim := cache.Claim{Lock: "k", Holder: fmt.Sprint(g, "-", i), TTL: time.Minute, Wait: time.Minute}
				leases, err := c.Acquire(t.Context(), []cache.Claim{claim})
				if err == nil {
					err = leases[0].Err
				}
				if err != nil {
					failed <- err
					return
				}
				worst.Store(max(worst.Load(), inside.Add(1)))
				if before := last.Swap(int64(leases[0].Fence)); before >= int64(leases[0].Fence) {
					failed <- fmt.Errorf("fence %d after %d", leases[0].Fence, before)
				}
				inside.Add(-1)
				if errs, err := c.Release(t.Context(), leases); err != nil || errs[0] != nil {
					failed <- fmt.Errorf("release: %v %v", errs, err)
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)

	require.Empty(t, failed)
	require.Equal(t, int64(1), worst.Load())
}

func TestReleaseWakesWhoWaits(t *testing.T) {
	url, ns := testserver.Shared(t).URL(), testserver.Namespace(t)
	a, b := openURL(t, url, ns), openURL(t, url, ns)
	server := plain(t, url)
	lease := acquire(t, a, cache.Claim{Lock: "k", Holder: "a", TTL: time.Minute})
	require.False(t, isAwaited(t, server, ns, "k"))
	taken := make(chan cache.Lease, 1)
	go func() {
		leases, err := b.Cache().Acquire(t.Context(), []cache.Claim{{Lock: "k", Holder: "b", TTL: time.Minute, Wait: time.Minute}})
		if err != nil {
			leases = []cache.Lease{{Err: err}}
		}
		taken <- leases[0]
	}()
	eventually(t, "the waiter waits", func() bool { return isAwaited(t, server, ns, "k") })

	require.NoError(t, release(t, a, lease))

	got := <-taken
	require.NoError(t, got.Err)
	require.Equal(t, "b", got.Holder)
	require.Greater(t, got.Fence, lease.Fence)
}

func TestWaitEndsWithTheLeaseTheWaitOrTheContext(t *testing.T) {
	node := open(t)
	acquire(t, node, cache.Claim{Lock: "short", Holder: "a", TTL: 300 * time.Millisecond})
	acquire(t, node, cache.Claim{Lock: "long", Holder: "a", TTL: time.Hour})

	require.NoError(t, acquire(t, node, cache.Claim{Lock: "short", Holder: "b", TTL: time.Minute, Wait: time.Minute}).Err)

	began := time.Now()
	late := acquire(t, node, cache.Claim{Lock: "long", Holder: "b", TTL: time.Minute, Wait: 100 * time.Millisecond})
	requireCode(t, fault.Locked, late.Err)
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
	require.Equal(t, "a", late.Holder)
	require.Regexp(t, `for another (1h0m0s|59m)`, late.Err.Error())

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := node.Cache().Acquire(ctx, []cache.Claim{{Lock: "long", Holder: "b", TTL: time.Minute, Wait: time.Hour}})
	requireCode(t, fault.DeadlineExceeded, err)

	leases, err := node.Cache().Acquire(t.Context(), []cache.Claim{
		{Lock: "long", Holder: "b", TTL: time.Minute, Wait: time.Hour}, {Lock: "free", Holder: "b", TTL: time.Minute, Wait: time.Hour},
	})
	require.NoError(t, err)
	requireCode(t, fault.Locked, leases[0].Err)
	require.NoError(t, leases[1].Err, "what was taken is told at once")
}

func TestGuardsBindEveryOperation(t *testing.T) {
	node := open(t)
	list := node.Cache().Lists
	set(t, node, cache.Write{Key: "k", Value: []byte("1")})
	_, err := list.Push(t.Context(), []cache.Push{{List: "k", Values: [][]byte{[]byte("x")}}})
	require.NoError(t, err)
	old := acquire(t, node, cache.Claim{Lock: "k", Holder: "old", TTL: time.Minute})
	require.NoError(t, release(t, node, old))
	now := acquire(t, node, cache.Claim{Lock: "k", Holder: "now", TTL: time.Minute})
	require.NoError(t, now.Err)
	operations := map[string]func(cache.Guard) error{
		"get": func(g cache.Guard) error {
			got, err := node.Cache().Get(t.Context(), []cache.Read{{Key: "k", Guard: g}})
			return one(t, got, err).Err
		},
		"set": func(g cache.Guard) error {
			return set(t, node, cache.Write{Key: "k", Value: []byte("1"), Guard: g}).Err
		},
		"set if": func(g cache.Guard) error {
			return set(t, node, cache.Write{Key: "k", Value: []byte("1"), If: cache.IfPresent(), Guard: g}).Err
		},
		"touch":   func(g cache.Guard) error { return touch(t, node, cache.Lifetime{Key: "k", TTL: time.Hour, Guard: g}) },
		"persist": func(g cache.Guard) error { return touch(t, node, cache.Lifetime{Key: "k", Guard: g}) },
		"add":     func(g cache.Guard) error { return add(t, node, cache.Increment{Key: "k", Guard: g}).Err },
		"delete":  func(g cache.Guard) error { return remove(t, node, cache.Removal{Key: "k", Guard: g}).Err },
		"delete if": func(g cache.Guard) error {
			revision := set(t, node, cache.Write{Key: "k", Value: []byte("1")}).Revision
			return remove(t, node, cache.Removal{Key: "k", If: cache.IfRevision(revision), Guard: g}).Err
		},
		"push": func(g cache.Guard) error {
			l, err := list.Push(t.Context(), []cache.Push{{List: "k", Values: [][]byte{nil}, Guard: g}})
			return one(t, l, err).Err
		},
		"pop": func(g cache.Guard) error {
			p, err := list.Pop(t.Context(), []cache.Pop{{List: "k", Max: 1, Guard: g}})
			return one(t, p, err).Err
		},
		"range": func(g cache.Guard) error {
			p, err := list.Range(t.Context(), []cache.Range{{List: "k", Max: 1, Guard: g}})
			return one(t, p, err).Err
		},
		"length": func(g cache.Guard) error {
			l, err := list.Length(t.Context(), []cache.Read{{Key: "k", Guard: g}})
			return one(t, l, err).Err
		},
		"drop": func(g cache.Guard) error {
			r, err := list.Drop(t.Context(), []cache.Removal{{Key: "k", Guard: g}})
			return one(t, r, err).Err
		},
	}
	for name, operation := range operations {
		t.Run(name, func(t *testing.T) {
			set(t, node, cache.Write{Key: "k", Value: []byte("1")})
			for _, c := range []struct {
				guard cache.Guard
				want  fault.Code
			}{
				{cache.Guard{Holder: "other"}, fault.Locked},
				{cache.Guard{Holder: "old", Fence: old.Fence}, fault.Locked},
				{cache.Guard{Fence: old.Fence}, fault.Conflict},
				{cache.Guard{Holder: "now", Fence: old.Fence}, fault.Conflict},
				{cache.Guard{Holder: "now", Fence: now.Fence}, fault.OK},
			} {
				require.Equal(t, c.want, fault.CodeOf(operation(c.guard)), "%+v", c.guard)
			}
			require.NoError(t, release(t, node, now))
			set(t, node, cache.Write{Key: "k", Value: []byte("1")})
			require.NoError(t, operation(cache.Guard{Holder: "other"}), "a free lock does not stop")
			requireCode(t, fault.Conflict, operation(cache.Guard{Holder: "old", Fence: old.Fence}))
			now = acquire(t, node, cache.Claim{Lock: "k", Holder: "now", TTL: time.Minute})
		})
	}
}

func TestHeldLocksAreListedWithHolderAndEnd(t *testing.T) {
	node := open(t)
	for i := range 30 {
		lease := acquire(t, node, cache.Claim{Lock: fmt.Sprint("a", i), Holder: "h", TTL: time.Minute})
		if i%2 == 0 {
			require.NoError(t, release(t, node, lease))
		}
	}
	acquire(t, node, cache.Claim{Lock: "b", Holder: "h", TTL: time.Minute})
	acquire(t, node, cache.Claim{Lock: "a-ended", Holder: "h", TTL: time.Millisecond})
	eventually(t, "the short lease has ended", func() bool { return len(held(t, node, "a-")) == 0 })

	leases := held(t, node, "a")

	require.Len(t, leases, 15)
	for _, l := range leases {
		require.Equal(t, "h", l.Holder)
		require.Greater(t, l.Fence, uint64(0))
		require.Greater(t, time.Until(l.Expires), 30*time.Second)
	}
}

func TestDamagedLockIsCorruptForItAlone(t *testing.T) {
	server := plain(t, testserver.Shared(t).URL())
	ns := testserver.Namespace(t)
	node := openURL(t, testserver.Shared(t).URL(), ns)
	require.NoError(t, server.Set(t.Context(), "bp:"+ns+":k:{bad}", "nonsense", 0).Err())

	leases, err := node.Cache().Acquire(t.Context(), []cache.Claim{
		{Lock: "bad", Holder: "h", TTL: time.Minute}, {Lock: "good", Holder: "h", TTL: time.Minute},
	})

	require.NoError(t, err)
	requireCode(t, fault.Corrupt, leases[0].Err)
	require.NoError(t, leases[1].Err)
	requireCode(t, fault.Corrupt, set(t, node, cache.Write{Key: "bad", Guard: cache.Guard{Holder: "h"}}).Err)
	require.Len(t, held(t, node, ""), 2)
}
