package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// What stands above the cache's driver, and counts on it.
const (
	clauseOneLoader   Clause = "Load runs one loader for a key in the whole cluster, and others get its value"
	clauseDeadLoader  Clause = "a loader that died is replaced when its lease ends, and one that failed stores nothing"
	clauseLockContext Clause = "a lock renews itself, and its Context ends before another holder can have it"
	clauseLockStack   Clause = "operations under a lock are refused once another has it"
	clauseDump        Clause = "a dump is restored with the lifetimes that are left; a damaged one is refused before anything is written"
	clauseUnsupported Clause = "what a transport does not offer is Unsupported, at once"
)

var cacheStackClauses = []Clause{
	clauseOneLoader, clauseDeadLoader, clauseLockContext, clauseLockStack, clauseDump, clauseUnsupported,
}

func cacheStackCases() []Case {
	return onStack(needing(NeedsCache, []Case{
		{Name: "cache/stack/one-loader-in-the-cluster", Clause: clauseOneLoader, Run: oneLoader},
		{Name: "cache/stack/a-dead-loader-is-replaced", Clause: clauseDeadLoader, Run: deadLoaderReplaced},
		{Name: "cache/stack/a-failed-loader-stores-nothing", Clause: clauseDeadLoader, Run: failedLoader},
		{Name: "cache/stack/a-lock-renews-itself", Clause: clauseLockContext, Run: lockRenewsItself},
		{Name: "cache/stack/a-lost-lock-tells-its-holder", Clause: clauseLockContext, Run: lostLockTells},
		{Name: "cache/stack/waiting-for-a-lock-gets-it-after-unlock", Clause: clauseWait, Run: stackWaitsForLock},
		{Name: "cache/stack/a-locked-key-is-respected", Clause: clauseLockStack, Run: lockedKeyRespected},
		{Name: "cache/stack/under-a-lost-lock-nothing-is-written", Clause: clauseLockStack, Run: underLostLock},
		{Name: "cache/stack/keys-are-counted-and-cleared-by-prefix", Clause: clauseKeys, Run: stackClears},
		{Name: "cache/stack/a-dump-is-restored-with-the-lifetimes-left", Clause: clauseDump, Run: dumpRestored},
		{Name: "cache/stack/a-damaged-dump-writes-nothing", Clause: clauseDump, Run: damagedDump},
		{Name: "cache/stack/what-is-not-offered-is-unsupported", Clause: clauseUnsupported, Run: notOffered},
	}))
}

func cacheStackHookCases() []Case {
	return onStack(needing(NeedsCache, []Case{
		{Name: "cache/stack/a-locks-context-ends-before-another-has-it", Clause: clauseLockContext, Hooks: []Hook{Partition}, Run: contextEndsFirst},
		{Name: "cache/stack/a-crashed-loader-is-replaced", Clause: clauseDeadLoader, Hooks: []Hook{Crash}, Run: crashedLoaderReplaced},
	}))
}

// onStack marks cases of what stands above a driver.
func onStack(cases []Case) []Case {
	for i := range cases {
		cases[i].Level = Stack
	}
	return cases
}

// cacheOf is the application's cache on a node, closed before the node is.
func cacheOf(e *Env, node transports.Transport) *cache.Cache {
	c := cache.New(node.Cache(), cache.Options{Transport: node.Kind()})
	e.Cleanup(func() { _ = c.Close() })
	return c
}

func oneLoader(e *Env) {
	caches := []*cache.Cache{cacheOf(e, e.Node), cacheOf(e, e.Open()), cacheOf(e, e.Open())}
	for round := range 3 {
		key := fmt.Sprint("k", round)
		var runs atomic.Int32
		errs := together(18, func(i int) error {
			entry, err := caches[i%3].Load(e.Context(), key, cache.LoadOptions{TTL: time.Hour}, func(ctx context.Context) ([]byte, error) {
				runs.Add(1)
				pause := time.NewTimer(e.Timing.Beat / 5) // so that the others come meanwhile
				defer pause.Stop()
				select {
				case <-pause.C:
				case <-ctx.Done():
				}
				return []byte("loaded"), ctx.Err()
			})
			if err == nil && string(entry.Value) != "loaded" {
				err = fmt.Errorf("answered %q", entry.Value)
			}
			return err
		})
		require.NoError(e, errors.Join(errs...))
		require.Equal(e, int32(1), runs.Load(), "runs of the loader")
		on(e, e.Node).mustHave(key, "loaded")
	}
}

func deadLoaderReplaced(e *Env) {
	here := on(e, e.Node)
	c := cacheOf(e, e.Open())
	life := giving(here.span(2), func() { here.mustAcquire("k", "a loader that died", here.span(2)) })

	entry, err := c.Load(e.Within(e.Timing.Wait), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("v"), nil })
	require.NoError(e, err)
	require.Equal(e, "v", string(entry.Value))
	require.GreaterOrEqual(e, time.Since(life.before), life.ttl, "another loader ran while the first held the key's lock")
}

func crashedLoaderReplaced(e *Env) {
	there := cacheOf(e, e.Node)
	dying := cacheOf(e, e.Open())
	loading := make(chan struct{})
	ctx, cancel := context.WithCancel(e.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = dying.Load(ctx, "k", cache.LoadOptions{Lease: time.Second}, func(ctx context.Context) ([]byte, error) {
			close(loading)
			<-ctx.Done()
			return []byte("from the dead"), nil
		})
	}()
	Await(e, loading, "the first loader")
	e.Crash(1)

	entry, err := there.Load(e.Within(e.Timing.Wait), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("v"), nil })
	require.NoError(e, err)
	require.Equal(e, "v", string(entry.Value))
	cancel()
	Await(e, ended, "the end of the crashed node's Load")
	on(e, e.Node).mustHave("k", "v")
}

func failedLoader(e *Env) {
	c, other := cacheOf(e, e.Node), cacheOf(e, e.Open())
	broken := errors.New("out of order")
	_, err := c.Load(e.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("half"), broken })
	require.ErrorIs(e, err, broken)
	on(e, e.Node).mustLack("k")

	e.Promptly("loading after a failure elsewhere", func() {
		entry, err := other.Load(e.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("v"), nil })
		require.NoError(e, err)
		require.Equal(e, "v", string(entry.Value))
	})
}

// lockFor is how long locks last that are to be renewed in time even on a busy machine.
func lockFor(c cacheOn) time.Duration { return max(c.span(4), time.Second) }

func lockRenewsItself(e *Env) {
	here, there := cacheOf(e, e.Node), on(e, e.Open())
	ttl := lockFor(there)
	lock, err := here.Lock(e.Context(), "l", cache.TTL(ttl))
	require.NoError(e, err)
	for try := 0; try < 4 && stoodStill(e, there, lock, ttl); try++ {
		_ = lock.Unlock(e.Context()) // it may be lost
		ttl *= 2
		lock, err = here.Lock(e.Context(), "l", cache.TTL(ttl))
		require.NoError(e, err)
	}
	require.NoError(e, context.Cause(lock.Context()), "the lock's context ended while its holder is well")
	require.NoError(e, lock.Unlock(e.Context()))
	require.Error(e, lock.Context().Err(), "the context of a lock that was given back")
	there.mustAcquire("l", "b", time.Minute)
}

// stoodStill sees a lock through two of its lifetimes. True: the machine or the store stood still for so long meanwhile
// that nobody could have renewed it.
func stoodStill(e *Env, there cacheOn, lock *cache.Lock, ttl time.Duration) bool {
	last := time.Now()
	for end := last.Add(2 * ttl); time.Now().Before(end); e.sleep(ttl / 5) {
		late := time.Since(last) > ttl/2
		last = time.Now()
		if late {
			return true
		}
		require.NoError(e, context.Cause(lock.Context()), "the lock's context ended while its holder is well")
		require.Equal(e, lock.Holder(), there.mustBeLocked("l", "b").Holder)
	}
	return false
}

func lostLockTells(e *Env) {
	here, there := cacheOf(e, e.Node), on(e, e.Open())
	lock, err := here.Lock(e.Context(), "l", cache.TTL(lockFor(there)))
	require.NoError(e, err)
	// Somebody with the lock's papers gives it away.
	require.NoError(e, there.release(cache.Lease{Lock: "l", Holder: lock.Holder(), Fence: lock.Fence(), TTL: lock.TTL()}))
	there.mustAcquire("l", "b", time.Minute)

	Await(e, lock.Context().Done(), "the end of the lost lock's context")
	require.ErrorIs(e, context.Cause(lock.Context()), fault.LeaseLost)
	requireCode(e, fault.LeaseLost, lock.Unlock(e.Context()), "unlocking what was lost")
	there.mustBeLocked("l", "c")
}

func contextEndsFirst(e *Env) {
	here, there := cacheOf(e, e.Node), on(e, e.Open())
	lock, err := here.Lock(e.Context(), "l", cache.TTL(lockFor(there)))
	require.NoError(e, err)
	heal := e.Partition(0)

	next, err := obtain(e.Within(2*e.Timing.Wait), there, "l", "b", time.Minute)
	require.NoError(e, err)
	require.Error(e, lock.Context().Err(), "another has the lock, and its first holder was not told")
	require.ErrorIs(e, context.Cause(lock.Context()), fault.LeaseLost)
	require.Greater(e, next.Fence, lock.Fence())
	heal()
}

func stackWaitsForLock(e *Env) {
	here, there := cacheOf(e, e.Node), cacheOf(e, e.Open())
	lock, err := here.Lock(e.Context(), "l")
	require.NoError(e, err)
	_, err = there.TryLock(e.Context(), "l")
	requireCode(e, fault.Locked, err, "TryLock while it is held")

	got := make(chan error, 1)
	go func() {
		second, err := there.Lock(e.Context(), "l")
		if err == nil {
			err = second.Unlock(e.Context())
		}
		got <- err
	}()
	e.sleep(e.Timing.Beat / 5) // mostly it waits by now
	require.NoError(e, lock.Unlock(e.Context()))
	e.Promptly("getting the lock after it was unlocked", func() { require.NoError(e, Await(e, got, "the lock")) })
}

func lockedKeyRespected(e *Env) {
	here, there := cacheOf(e, e.Node), cacheOf(e, e.Open())
	_, err := here.Set(e.Context(), "k", []byte("v"))
	require.NoError(e, err)
	lock, err := here.Lock(e.Context(), "k")
	require.NoError(e, err)

	_, err = there.Get(e.Context(), "k", cache.RespectLock())
	requireCode(e, fault.Locked, err, "Get")
	_, err = there.Set(e.Context(), "k", []byte("x"), cache.RespectLock())
	requireCode(e, fault.Locked, err, "Set")
	_, err = there.Delete(e.Context(), "k", cache.RespectLock())
	requireCode(e, fault.Locked, err, "Delete")
	_, err = here.Set(e.Context(), "k", []byte("w"), cache.Under(lock))
	require.NoError(e, err, "the holder")

	answered := make(chan error, 1)
	go func() {
		_, err := there.Set(e.Context(), "k", []byte("after"), cache.WaitForLock(e.Timing.Wait))
		answered <- err
	}()
	e.sleep(e.Timing.Beat / 5)
	require.NoError(e, lock.Unlock(e.Context()))
	require.NoError(e, Await(e, answered, "a write that waits for the lock"))
	on(e, e.Node).mustHave("k", "after")
}

func underLostLock(e *Env) {
	here, there := cacheOf(e, e.Node), on(e, e.Open())
	lock, err := here.Lock(e.Context(), "k", cache.TTL(time.Hour)) // so that no renewal tells its holder
	require.NoError(e, err)
	require.NoError(e, there.release(cache.Lease{Lock: "k", Holder: lock.Holder(), Fence: lock.Fence(), TTL: lock.TTL()}))
	next := there.mustAcquire("k", "b", time.Minute)
	there.mustWrite(cache.Write{Key: "k", Value: []byte("b's"), Guard: cache.Guard{Holder: "b", Fence: next.Fence}})

	refused := []fault.Code{fault.Locked, fault.Conflict, fault.LeaseLost}
	_, err = here.Set(e.Context(), "k", []byte("late"), cache.Under(lock))
	require.Contains(e, refused, fault.CodeOf(err), "Set under a lost lock: %v", err)
	_, err = here.Delete(e.Context(), "k", cache.Under(lock))
	require.Contains(e, refused, fault.CodeOf(err), "Delete under a lost lock: %v", err)
	there.mustHave("k", "b's")
}

func stackClears(e *Env) {
	here, there := cacheOf(e, e.Node), on(e, e.Open())
	fill(e, there, "user:*:", 150)
	fill(e, there, "user:", 50)
	size, err := here.Size(e.Context(), "user:")
	require.NoError(e, err)
	require.Equal(e, 200, size)

	removed, err := here.Clear(e.Context(), "user:*")
	require.NoError(e, err)
	require.Equal(e, 150, removed)
	require.Len(e, there.keys(""), 50)
}

func dumpRestored(e *Env) {
	from := cacheOf(e, e.Node)
	here, there := on(e, e.Node), on(e, neighbour(e))
	for i, name := range unusualNames {
		here.mustWrite(cache.Write{Key: name, Value: binaries["every byte"], Flags: uint8(i), TTL: time.Duration(i%3) * time.Hour})
	}
	here.mustAcquire("lock", "a", time.Hour)
	var dump bytes.Buffer
	dumped, err := from.Dump(e.Context(), &dump, cache.DumpOptions{})
	require.NoError(e, err)
	require.Equal(e, len(unusualNames), dumped.Entries)

	to := cache.New(there.Backend, cache.Options{})
	e.Cleanup(func() { _ = to.Close() })
	restored, err := to.Restore(e.Context(), bytes.NewReader(dump.Bytes()), cache.RestoreOptions{})
	require.NoError(e, err)
	require.Equal(e, len(unusualNames), restored.Entries)
	require.ElementsMatch(e, unusualNames, there.keys(""))
	for i, name := range unusualNames {
		was, is := here.mustHave(name, string(binaries["every byte"])), there.mustHave(name, string(binaries["every byte"]))
		require.Equal(e, uint8(i), is.Flags)
		require.Equal(e, was.Expires.IsZero(), is.Expires.IsZero(), "%q", name)
		require.WithinDuration(e, was.Expires, is.Expires, e.Timing.Wait, "%q", name)
	}
	there.mustAcquire("lock", "b", time.Minute) // locks are not dumped
}

func damagedDump(e *Env) {
	from := cacheOf(e, e.Node)
	fill(e, on(e, e.Node), "k", 50)
	var dump bytes.Buffer
	_, err := from.Dump(e.Context(), &dump, cache.DumpOptions{})
	require.NoError(e, err)

	there := on(e, neighbour(e))
	to := cache.New(there.Backend, cache.Options{})
	e.Cleanup(func() { _ = to.Close() })
	whole := dump.Bytes()
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for what, damaged := range map[string][]byte{
		"cut short": whole[:len(whole)*2/3], "with a bit turned": flipped, "without its end": whole[:len(whole)-2], "of nothing": nil,
	} {
		_, err := to.Restore(e.Context(), bytes.NewReader(damaged), cache.RestoreOptions{})
		require.Error(e, err, "a dump %s", what)
		require.Empty(e, there.keys(""), "a dump %s was written in part", what)
	}
}

// notOffered takes away what is optional, so that it is checked on every transport.
func notOffered(e *Env) {
	bare := *e.Node.Cache()
	bare.Watcher, bare.Lists, bare.Holders = nil, nil, nil
	c := cache.New(&bare, cache.Options{})
	e.Cleanup(func() { _ = c.Close() })
	e.Promptly("refusing", func() {
		refuseWatch(e, c)
		refuseLists(e, c)
		refuseHolders(e, c)
	})
	none := cache.New(nil, cache.Options{})
	e.Cleanup(func() { _ = none.Close() })
	e.Promptly("refusing", func() { refuseCache(e, none) })
}

func refuseCache(e *Env, c *cache.Cache) {
	ctx := e.Context()
	_, err := c.Get(ctx, "k")
	requireCode(e, fault.Unsupported, err, "Get")
	_, err = c.Set(ctx, "k", nil)
	requireCode(e, fault.Unsupported, err, "Set")
	_, err = c.Delete(ctx, "k")
	requireCode(e, fault.Unsupported, err, "Delete")
	requireCode(e, fault.Unsupported, c.Touch(ctx, "k", time.Minute), "Touch")
	_, err = c.Add(ctx, "k", 1)
	requireCode(e, fault.Unsupported, err, "Add")
	_, err = c.Size(ctx, "")
	requireCode(e, fault.Unsupported, err, "Size")
	_, err = c.TryLock(ctx, "k")
	requireCode(e, fault.Unsupported, err, "TryLock")
	_, err = c.Load(ctx, "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return nil, errors.New("the loader ran") })
	requireCode(e, fault.Unsupported, err, "Load")
	refuseWatch(e, c)
	refuseLists(e, c)
	refuseHolders(e, c)
}

func refuseWatch(e *Env, c *cache.Cache) {
	_, err := c.Watch(e.Context(), "", func([]cache.Change) {})
	requireCode(e, fault.Unsupported, err, "Watch")
}

func refuseLists(e *Env, c *cache.Cache) {
	ctx := e.Context()
	_, err := c.Push(ctx, "l", [][]byte{{1}})
	requireCode(e, fault.Unsupported, err, "Push")
	_, err = c.Pop(ctx, "l", 1)
	requireCode(e, fault.Unsupported, err, "Pop")
	_, err = c.Range(ctx, "l", 0, 1)
	requireCode(e, fault.Unsupported, err, "Range")
	_, err = c.Length(ctx, "l")
	requireCode(e, fault.Unsupported, err, "Length")
	_, err = c.Drop(ctx, "l")
	requireCode(e, fault.Unsupported, err, "Drop")
	for _, err := range c.Lists(ctx, "") {
		requireCode(e, fault.Unsupported, err, "Lists")
	}
}

func refuseHolders(e *Env, c *cache.Cache) {
	for _, err := range c.Locks(e.Context(), "") {
		requireCode(e, fault.Unsupported, err, "Locks")
	}
}
