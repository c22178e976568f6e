package conformance

import (
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
)

func keysCases() []Case {
	return needing(NeedsCache, []Case{
		{Name: "cache/keys/of-nothing-are-none", Clause: clauseKeys, Run: keysOfNothing},
		{Name: "cache/keys/with-a-prefix-and-no-others", Clause: clauseKeys, Run: keysWithPrefix},
		{Name: "cache/keys/a-prefix-is-bytes-and-no-pattern", Clause: clauseKeys, Run: keysPrefixIsBytes},
		{Name: "cache/keys/pages-add-up-to-all", Clause: clauseKeys, Run: keysPages},
		{Name: "cache/keys/that-are-gone-are-not-listed", Clause: clauseKeys, Run: keysGone},
		{Name: "cache/keys/that-stay-are-listed-while-others-come-and-go", Clause: clauseKeysDuring, Run: keysDuring},
	})
}

func keysOfNothing(e *Env) {
	here := on(e, e.Node)
	require.Empty(e, here.keys(""))
	here.mustSet("k", "v")
	require.Empty(e, here.keys("nothing begins with this"))
	require.Empty(e, here.keys("k\x00"))
	require.Equal(e, []string{"k"}, here.keys("k"))
}

func keysWithPrefix(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	for _, key := range []string{"user:1", "user:2", "user:10", "user", "users:1", "usher", "order:1", "xuser:1"} {
		here.mustSet(key, "v")
	}
	for prefix, want := range map[string][]string{
		"user:":  {"user:1", "user:2", "user:10"},
		"user:1": {"user:1", "user:10"},
		"us":     {"user:1", "user:2", "user:10", "user", "users:1", "usher"},
		"user":   {"user:1", "user:2", "user:10", "user", "users:1"},
		"":       {"user:1", "user:2", "user:10", "user", "users:1", "usher", "order:1", "xuser:1"},
		"ser":    {},
	} {
		require.ElementsMatch(e, want, there.keys(prefix), "prefix %q", prefix)
	}
}

func keysPrefixIsBytes(e *Env) {
	here := on(e, e.Node)
	for _, key := range unusualNames {
		here.mustSet(key, "v")
	}
	// What a glob would take for a pattern must find only what begins with these bytes.
	for _, decoy := range []string{"ax", "axb", "abx", "b", "aab", "x"} {
		here.set(cache.Write{Key: decoy, Value: []byte("v"), If: cache.IfAbsent()})
	}
	all := here.keys("")
	for _, prefix := range append([]string{"a[", "a\\", "[a", "*", "a*", "?", "{a}", "\xff", "клю", "\xd0"}, unusualNames...) {
		want := []string{}
		for _, key := range all {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		require.ElementsMatch(e, want, here.keys(prefix), "prefix %q", prefix)
	}
}

func keysPages(e *Env) {
	here := on(e, e.Node)
	want := fill(e, here, "k", 500)
	for _, limit := range []int{0, 1, 7, 100, 10_000} {
		got := collect(e, cache.Page{Prefix: "k", Limit: limit}, func(p cache.Page) ([]string, string, error) {
			page, err := here.Keys(e.Context(), p)
			return page.Keys, page.Next, err
		})
		require.ElementsMatch(e, want, got, "pages of %d", limit)
	}
}

// fill writes n keys that begin with the prefix.
func fill(e *Env, c cacheOn, prefix string, n int) []string {
	e.Helper()
	keys, writes := make([]string, n), make([]cache.Write, n)
	for i := range n {
		keys[i] = fmt.Sprint(prefix, i)
		writes[i] = cache.Write{Key: keys[i], Value: []byte("v")}
	}
	results, err := c.Set(e.Context(), writes)
	require.NoError(e, err)
	for _, r := range results {
		require.NoError(e, r.Err)
	}
	return keys
}

func keysGone(e *Env) {
	here := on(e, e.Node)
	here.mustSet("kept", "v")
	here.mustSet("deleted", "v")
	require.NoError(e, here.remove(cache.Removal{Key: "deleted"}).Err)
	here.mustEnd("ended", here.writing("ended", here.span(1)))

	require.Equal(e, []string{"kept"}, here.keys(""))
}

func keysDuring(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	stay := fill(e, here, "stay", 300)
	fill(e, there, "go", 300)
	n := 0
	got := collect(e, cache.Page{Limit: 10}, func(p cache.Page) ([]string, string, error) {
		for range 10 { // between two pages a part of the others goes, and new ones come
			there.remove(cache.Removal{Key: fmt.Sprint("go", n)})
			if n < 1000 {
				there.mustSet(fmt.Sprint("come", n), "v")
			}
			n++
		}
		page, err := here.Keys(e.Context(), p)
		return page.Keys, page.Next, err
	})
	require.Subset(e, got, stay)
}
