package conformance

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
)

func watchCases() []Case {
	return needing(NeedsWatcher, []Case{
		{Name: "cache/watch/tells-of-every-kind-of-change", Clause: clauseWatch, Run: watchKinds},
		{Name: "cache/watch/begins-when-it-returns", Clause: clauseWatch, Run: watchBegins},
		{Name: "cache/watch/tells-of-its-prefix-and-no-other", Clause: clauseWatch, Run: watchPrefix},
		{Name: "cache/watch/a-refused-write-is-no-change", Clause: clauseWatch, Run: watchRefused},
		{Name: "cache/watch/of-one-key-in-order", Clause: clauseWatch, Run: watchOrder},
		{Name: "cache/watch/watches-tell-side-by-side", Clause: clauseWatch, Run: watchMany},
		{Name: "cache/watch/quiet-after-close", Clause: clauseWatchEnd, Run: watchQuiet},
		{Name: "cache/watch/close-may-be-called-twice", Clause: clauseWatchEnd, Run: watchCloseTwice},
	})
}

// until waits for a change of the key, of the kind. Others are passed over.
func (c *changes) until(key string, deleted bool) {
	c.e.Helper()
	for {
		change := c.next(fmt.Sprintf("a change of %q, deleted %t", key, deleted))
		if change.Key == key && change.Deleted == deleted {
			return
		}
	}
}

func watchKinds(e *Env) {
	there := on(e, e.Open())
	seen := watchAll(e, e.Node, "")
	there.mustSet("k", "v")
	seen.until("k", false)
	require.NoError(e, there.touch(cache.Lifetime{Key: "k", TTL: time.Hour}))
	seen.until("k", false)
	require.NoError(e, there.remove(cache.Removal{Key: "k"}).Err)
	seen.until("k", true)
	require.NoError(e, there.add(cache.Increment{Key: "n", Delta: 1}).Err)
	seen.until("n", false)
	require.NoError(e, there.add(cache.Increment{Key: "n", Delta: 1}).Err)
	seen.until("n", false)
}

func watchBegins(e *Env) {
	there := on(e, e.Open())
	there.mustSet("before", "v")
	for i := range 20 {
		seen := watchAll(e, e.Node, fmt.Sprint("k", i))
		there.mustSet(fmt.Sprint("k", i), "v")
		require.Equal(e, fmt.Sprint("k", i), seen.next("a change right after Watch returned").Key)
		require.NoError(e, seen.watch.Close())
	}
}

func watchPrefix(e *Env) {
	there := on(e, e.Open())
	seen := watchAll(e, e.Node, "a*")
	for _, other := range []string{"a", "ab", "axb", "b", "A*", ""} {
		if other != "" {
			there.mustSet(other, "v")
			require.NoError(e, there.remove(cache.Removal{Key: other}).Err)
		}
	}
	there.mustSet("a*b", "v") // the sentinel
	change := seen.next("a change under the prefix")
	require.Equal(e, "a*b", change.Key, "a change from beside the prefix came through")
}

func watchRefused(e *Env) {
	there := on(e, e.Open())
	there.mustSet("k", "v")
	lease := there.mustAcquire("k", "a", time.Minute)
	seen := watchAll(e, e.Node, "")
	there.set(cache.Write{Key: "k", If: cache.IfAbsent()})
	there.set(cache.Write{Key: "new", If: cache.IfPresent()})
	there.set(cache.Write{Key: "k", Guard: cache.Guard{Holder: "b"}})
	there.remove(cache.Removal{Key: "k", If: cache.IfRevision("never given")})
	there.remove(cache.Removal{Key: "absent"})
	there.touch(cache.Lifetime{Key: "absent"})
	there.get(cache.Read{Key: "k"})
	there.add(cache.Increment{Key: "k", Delta: 1})
	require.NoError(e, there.release(lease))
	there.mustSet("sentinel", "v")

	require.Equal(e, "sentinel", seen.next("the sentinel").Key, "something that changed nothing was told as a change")
}

func watchOrder(e *Env) {
	there := on(e, e.Open())
	seen := watchAll(e, e.Node, "k")
	for range 100 {
		there.mustSet("k", "v")
		require.NoError(e, there.remove(cache.Removal{Key: "k"}).Err)
	}
	there.mustSet("k-end", "v")
	last := cache.Change{}
	for {
		change := seen.next("the end")
		if change.Key == "k-end" {
			break
		}
		last = change
	}
	// Several may be merged into the last, so that is the one to look at.
	require.Equal(e, cache.Change{Key: "k", Deleted: true}, last, "the last change of a key that was deleted last")
}

func watchMany(e *Env) {
	other := e.Open()
	watches := []*changes{watchAll(e, e.Node, ""), watchAll(e, e.Node, "k"), watchAll(e, other, "k"), watchAll(e, other, "")}
	on(e, e.Open()).mustSet("k", "v")
	for _, seen := range watches {
		require.Equal(e, "k", seen.next("a change that all watch").Key)
	}
	require.NoError(e, watches[0].watch.Close())
	on(e, other).mustSet("k2", "v")
	for _, seen := range watches[1:] {
		require.Equal(e, "k2", seen.next("a change after another watch was closed").Key)
	}
}

func watchQuiet(e *Env) {
	there := on(e, e.Open())
	seen := watchAll(e, e.Node, "")
	after := watchAll(e, e.Node, "") // tells when the change has been told to whoever still watches
	there.mustSet("k", "v")
	seen.until("k", false)
	require.NoError(e, seen.watch.Close())
	for len(seen.seen) > 0 {
		<-seen.seen
	}
	for range 10 {
		there.mustSet("late", "v")
		after.until("late", false)
	}
	// The other watch has it, and this one's would have come by the same way; a little time for it is all that is left.
	e.sleep(e.Timing.Beat / 5)
	require.Empty(e, seen.seen, "a change was delivered after Close had returned")
}

func watchCloseTwice(e *Env) {
	seen := watchAll(e, e.Node, "")
	require.NoError(e, seen.watch.Close())
	e.Promptly("the second Close", func() { require.NoError(e, seen.watch.Close()) })
	on(e, e.Node).mustSet("k", "v")
}
