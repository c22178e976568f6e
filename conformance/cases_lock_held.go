package conformance

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
)

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
