package conformance

import (
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func guardCases() []Case {
	cases := []Case{
		{Name: "cache/guard/of-the-holder-does-everything", Clause: clauseGuardHolder, Run: guardHolderWorks},
		{Name: "cache/guard/a-free-lock-stops-nobody", Clause: clauseGuardHolder, Run: guardFreeLock},
		{Name: "cache/guard/an-ended-lease-stops-nobody", Clause: clauseGuardHolder, Run: guardEndedLease},
		{Name: "cache/guard/is-the-lock-of-the-keys-own-name", Clause: clauseGuardHolder, Run: guardOwnName},
		{Name: "cache/guard/no-write-passes-a-lock-that-was-taken", Clause: clauseGuardHolder, Run: guardAtomic},
		{Name: "cache/guard/none-does-not-look-at-the-lock", Clause: clauseNoGuard, Run: guardNone},
		{Name: "cache/guard/the-last-fence-passes", Clause: clauseGuardFence, Run: guardLastFence},
		{Name: "cache/guard/no-fence-is-not-compared", Clause: clauseGuardFence, Run: guardNoFence},
		{Name: "cache/guard/an-old-fence-is-conflict-after-release-too", Clause: clauseGuardFence, Run: guardFenceRemembered},
		{Name: "cache/guard/holds-together-with-a-condition", Clause: clauseGuardFence, Run: guardAndCondition},
	}
	for _, op := range guardedOps {
		cases = append(cases,
			Case{
				Name: "cache/guard/" + op.name + "-is-locked-by-another-holder", Clause: clauseGuardHolder,
				Run: func(e *Env) { guardedOpIsLocked(e, op) },
			},
			Case{
				Name: "cache/guard/" + op.name + "-with-an-old-fence-is-conflict", Clause: clauseGuardFence,
				Run: func(e *Env) { guardedOpIsFenced(e, op) },
			},
		)
	}
	return needing(NeedsCache, cases)
}

// guardedOp is an operation on an entry under a guard.
type guardedOp struct {
	name string
	do   func(c cacheOn, key string, g cache.Guard) error
}

var guardedOps = []guardedOp{
	{"get", func(c cacheOn, key string, g cache.Guard) error { return c.get(cache.Read{Key: key, Guard: g}).Err }},
	{"set", func(c cacheOn, key string, g cache.Guard) error {
		return c.set(cache.Write{Key: key, Value: []byte("7"), Guard: g}).Err
	}},
	{"delete", func(c cacheOn, key string, g cache.Guard) error {
		return c.remove(cache.Removal{Key: key, Guard: g}).Err
	}},
	{"touch", func(c cacheOn, key string, g cache.Guard) error {
		return c.touch(cache.Lifetime{Key: key, TTL: time.Hour, Guard: g})
	}},
	{"add", func(c cacheOn, key string, g cache.Guard) error {
		return c.add(cache.Increment{Key: key, Delta: 1, Guard: g}).Err
	}},
}

// mustLeaveAlone requires that the operation is refused and the entry stays as it is.
func mustLeaveAlone(e *Env, c cacheOn, op guardedOp, g cache.Guard, want fault.Code) {
	e.Helper()
	before := c.mustHave("k", "1")
	requireCode(e, want, op.do(c, "k", g), "%s under the guard %+v", op.name, g)
	after := c.mustHave("k", "1")
	require.Equal(e, before.Revision, after.Revision)
	require.Equal(e, before.Expires.IsZero(), after.Expires.IsZero())
}

func guardedOpIsLocked(e *Env, op guardedOp) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustSet("k", "1")
	lease := here.mustAcquire("k", "a", time.Minute)

	mustLeaveAlone(e, there, op, cache.Guard{Holder: "b"}, fault.Locked)
	mustLeaveAlone(e, here, op, cache.Guard{Holder: "b"}, fault.Locked)
	mustLeaveAlone(e, here, op, cache.Guard{Holder: "aa"}, fault.Locked)

	require.NoError(e, here.release(lease))
	require.NoError(e, op.do(there, "k", cache.Guard{Holder: "b"}))
}

func guardedOpIsFenced(e *Env, op guardedOp) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustSet("k", "1")
	old := here.mustAcquire("k", "a", time.Minute)
	require.NoError(e, here.release(old))
	current := there.mustAcquire("k", "b", time.Minute)

	mustLeaveAlone(e, here, op, cache.Guard{Fence: old.Fence}, fault.Conflict)
	require.NoError(e, op.do(there, "k", cache.Guard{Holder: "b", Fence: current.Fence}))
}

func guardHolderWorks(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	lease := here.mustAcquire("k", "a", time.Minute)
	guard := cache.Guard{Holder: "a", Fence: lease.Fence}
	for _, node := range []cacheOn{here, there} { // through whichever node
		for _, op := range guardedOps {
			node.mustSet("k", "1")
			require.NoError(e, op.do(node, "k", guard), op.name)
		}
	}
}

func guardFreeLock(e *Env) {
	here := on(e, e.Node)
	for _, op := range guardedOps {
		here.mustSet("k", "1")
		require.NoError(e, op.do(here, "k", cache.Guard{Holder: "anybody"}), op.name)
	}
	here.mustAcquire("k", "a", time.Minute) // a guard takes no lock
}

func guardEndedLease(e *Env) {
	here := on(e, e.Node)
	var lease cache.Lease
	here.mustEndAs(giving(here.span(1), func() { lease = here.mustAcquire("k", "a", here.span(1)) }), "the lock", func() bool {
		err := here.set(cache.Write{Key: "k", Value: []byte("1"), Guard: cache.Guard{Holder: "b"}}).Err
		if err != nil {
			requireCode(e, fault.Locked, err, "writing while the lease lasts")
		}
		return err != nil
	})
	for _, op := range guardedOps {
		here.mustSet("k", "1")
		require.NoError(e, op.do(here, "k", cache.Guard{Holder: "b"}), op.name)
		require.NoError(e, op.do(here, "k", cache.Guard{Fence: lease.Fence}), "%s: no greater fence was given", op.name)
		here.mustSet("k", "1")
	}
}

func guardOwnName(e *Env) {
	here := on(e, e.Node)
	for _, other := range []string{"kk", "k:", "K", "lock:k", "*", "{k}"} {
		here.mustAcquire(other, "a", time.Minute)
	}
	for _, op := range guardedOps {
		here.mustSet("k", "1")
		require.NoError(e, op.do(here, "k", cache.Guard{Holder: "b"}), op.name)
	}
	for _, name := range unusualNames {
		lease := here.acquire(name, "a", time.Minute)
		if lease.Err == nil {
			requireCode(e, fault.Locked, here.set(cache.Write{Key: name, Guard: cache.Guard{Holder: "b"}}).Err, "%q", name)
		}
	}
}

// guardAtomic has outsiders write under guards of their own all the time: from the moment at which the lock was given to
// somebody else, none of these writes may come through.
func guardAtomic(e *Env) {
	nodes := []cacheOn{on(e, e.Node), on(e, e.Open())}
	for round := range 20 {
		key := fmt.Sprint("k", round)
		writers := make([]error, 8)
		stop := make(chan struct{})
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			copy(writers, together(len(writers), func(i int) error {
				for n := 0; e.Context().Err() == nil; n++ {
					select {
					case <-stop:
						return nil
					default:
					}
					r, err := nodes[i%2].Set(e.Context(), []cache.Write{{
						Key: key, Value: fmt.Appendf(nil, "outsider %d.%d", i, n), Guard: cache.Guard{Holder: fmt.Sprint("w", i)},
					}})
					err = first(r, err, func(w cache.Written) error { return w.Err })
					time.Sleep(10 * time.Microsecond) // a bubble's clock stands still while anybody is busy
					if err != nil && !errors.Is(err, fault.Locked) {
						return err
					}
				}
				return nil
			}))
		}()
		e.sleep(time.Duration(round) * 137 * time.Microsecond) // at whatever moment of what they do
		nodes[round%2].mustAcquire(key, "holder", time.Minute)
		nodes[round%2].mustSet(key, "mine")
		for range 5 {
			nodes[(round+1)%2].mustHave(key, "mine") // nobody else writes from the moment at which Acquire answered
			e.sleep(time.Millisecond)
		}
		close(stop)
		Await(e, finished, "the end of the writers")
		require.NoError(e, errors.Join(writers...))
	}
}

func guardNone(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustAcquire("k", "a", time.Minute)
	for _, op := range guardedOps {
		there.mustSet("k", "1")
		require.NoError(e, op.do(there, "k", cache.Guard{}), op.name)
	}
}

func guardLastFence(e *Env) {
	here := on(e, e.Node)
	lease := here.mustAcquire("k", "a", time.Minute)
	for _, op := range guardedOps {
		here.mustSet("k", "1")
		require.NoError(e, op.do(here, "k", cache.Guard{Fence: lease.Fence}), op.name)
	}
	renewed := here.renew(lease)
	require.NoError(e, renewed.Err)
	require.NoError(e, here.set(cache.Write{Key: "k", Guard: cache.Guard{Fence: lease.Fence}}).Err, "renewal gives no new fence")
	require.NoError(e, here.release(renewed))
	require.NoError(e, here.set(cache.Write{Key: "k", Guard: cache.Guard{Fence: lease.Fence}}).Err, "it is the last one still")
	require.NoError(e, here.set(cache.Write{Key: "k", Guard: cache.Guard{Fence: lease.Fence + 1}}).Err, "none greater was given")
}

func guardNoFence(e *Env) {
	here := on(e, e.Node)
	for range 3 {
		lease := here.mustAcquire("k", "a", time.Minute)
		require.NoError(e, here.set(cache.Write{Key: "k", Value: []byte("1"), Guard: cache.Guard{Holder: "a"}}).Err)
		require.NoError(e, here.release(lease))
	}
	for _, op := range guardedOps {
		here.mustSet("k", "1")
		require.NoError(e, op.do(here, "k", cache.Guard{Fence: 0}), op.name)
	}
}

func guardFenceRemembered(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustSet("k", "1")
	old := here.mustAcquire("k", "a", time.Minute)
	require.NoError(e, here.release(old))
	require.NoError(e, there.release(there.mustAcquire("k", "b", time.Minute)))
	require.NoError(e, there.remove(cache.Removal{Key: "k"}).Err)
	there.mustSet("k", "1")

	for _, op := range guardedOps {
		mustLeaveAlone(e, here, op, cache.Guard{Holder: "a", Fence: old.Fence}, fault.Conflict)
	}
}

func guardAndCondition(e *Env) {
	here := on(e, e.Node)
	revision := here.mustSet("k", "1")
	lease := here.mustAcquire("k", "a", time.Minute)
	mine := cache.Guard{Holder: "a", Fence: lease.Fence}

	requireCode(e, fault.Conflict, here.set(cache.Write{Key: "k", Value: []byte("x"), If: cache.IfAbsent(), Guard: mine}).Err, "a condition that does not hold, under a guard that does")
	requireCode(e, fault.Locked, here.set(cache.Write{Key: "k", Value: []byte("x"), If: cache.IfRevision(revision), Guard: cache.Guard{Holder: "b"}}).Err, "a condition that holds, under a guard that does not")
	requireCode(e, fault.Conflict, here.remove(cache.Removal{Key: "k", If: cache.IfRevision("never given"), Guard: mine}).Err, "a condition that does not hold, under a guard that does")
	requireCode(e, fault.Locked, here.remove(cache.Removal{Key: "k", If: cache.IfRevision(revision), Guard: cache.Guard{Holder: "b"}}).Err, "a condition that holds, under a guard that does not")
	require.Equal(e, revision, here.mustHave("k", "1").Revision)

	next := here.mustWrite(cache.Write{Key: "k", Value: []byte("2"), If: cache.IfRevision(revision), Guard: mine})
	require.True(e, here.remove(cache.Removal{Key: "k", If: cache.IfRevision(next), Guard: mine}).Existed)
}
