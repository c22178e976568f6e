package redis_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports/redis"
)

func set(t testing.TB, node *redis.Transport, w cache.Write) cache.Written {
	t.Helper()
	written, err := node.Cache().Set(t.Context(), []cache.Write{w})
	return one(t, written, err)
}

func get(t testing.TB, node *redis.Transport, key string) cache.Got {
	t.Helper()
	got, err := node.Cache().Get(t.Context(), []cache.Read{{Key: key, Expiry: true}})
	return one(t, got, err)
}

func remove(t testing.TB, node *redis.Transport, r cache.Removal) cache.Removed {
	t.Helper()
	removed, err := node.Cache().Delete(t.Context(), []cache.Removal{r})
	return one(t, removed, err)
}

func touch(t testing.TB, node *redis.Transport, l cache.Lifetime) error {
	t.Helper()
	touched, err := node.Cache().Touch(t.Context(), []cache.Lifetime{l})
	return one(t, touched, err).Err
}

func add(t testing.TB, node *redis.Transport, i cache.Increment) cache.Sum {
	t.Helper()
	sums, err := node.Cache().Add(t.Context(), []cache.Increment{i})
	return one(t, sums, err)
}

// allKeys walks through a listing to its end.
func allKeys(t testing.TB, list func(cache.Page) (cache.Keys, error), page cache.Page) []string {
	t.Helper()
	var all []string
	for {
		keys, err := list(page)
		require.NoError(t, err)
		all = append(all, keys.Keys...)
		if page.Cursor = keys.Next; page.Cursor == "" {
			slices.Sort(all)
			return slices.Compact(all)
		}
	}
}

// nastyKeys are names that break key layouts, patterns and protocols.
var nastyKeys = []string{
	" ", "a:b", "{tag}", "}", "{", "a{b}c", "%7B", "%", "*", "?", "[a-z]", `\`, `\*`, "a*b", "line\r\nbreak", "nul\x00byte",
	"\xff\xfe not UTF-8", "é›ø", strings.Repeat("界", 170), strings.Repeat("k", 1024),
}

func TestWhatOneNodeWritesTheOtherReads(t *testing.T) {
	url, ns := testserver.Shared(t).URL(), testserver.Namespace(t)
	a, b := openURL(t, url, ns), openURL(t, url, ns)
	value := []byte("value")
	before := time.Now().Truncate(time.Millisecond)

	written := set(t, a, cache.Write{Key: "k", Value: value, Flags: 7, TTL: time.Hour})
	value[0] = 'X'

	require.NoError(t, written.Err)
	got := get(t, b, "k")
	require.True(t, got.Found)
	require.Equal(t, "value", string(got.Entry.Value))
	require.Equal(t, "k", got.Entry.Key)
	require.Equal(t, uint8(7), got.Entry.Flags)
	require.Equal(t, written.Revision, got.Entry.Revision)
	require.WithinRange(t, got.Entry.Created, before, time.Now())
	require.WithinRange(t, got.Entry.Expires, before.Add(time.Hour-time.Second), time.Now().Add(time.Hour+time.Second))
	require.False(t, get(t, b, "other").Found)
}

func TestNastyKeysAndValuesAreKeptApart(t *testing.T) {
	node := open(t)
	values := [][]byte{nil, {}, {0}, []byte("\r\n$5\r\n"), bytes.Repeat([]byte{0xff, 0}, 1000), []byte("line\nline")}
	for i, key := range nastyKeys {
		require.NoError(t, set(t, node, cache.Write{Key: key, Value: values[i%len(values)]}).Err)
	}

	for i, key := range nastyKeys {
		got := get(t, node, key)
		require.NoError(t, got.Err)
		require.True(t, got.Found, "%q", key)
		require.NotNil(t, got.Entry.Value)
		require.True(t, bytes.Equal(values[i%len(values)], got.Entry.Value), "%q", key)
	}
	want := slices.Sorted(slices.Values(nastyKeys))
	list := func(p cache.Page) (cache.Keys, error) { return node.Cache().Keys(t.Context(), p) }
	require.Equal(t, want, allKeys(t, list, cache.Page{Limit: 3}))
	for _, prefix := range nastyKeys {
		want := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		require.Equal(t, want, allKeys(t, list, cache.Page{Prefix: prefix}), "%q", prefix)
	}
}

func TestRefusedArgumentsTouchNothing(t *testing.T) {
	node := open(t)
	c := node.Cache()

	written, err := c.Set(t.Context(), []cache.Write{
		{Key: ""}, {Key: strings.Repeat("k", 1025)}, {Key: "good"}, {Key: "k", TTL: time.Microsecond}, {Key: "k", TTL: -1},
		{Key: "k", Value: make([]byte, c.Capabilities.MaxValue+1)},
	})

	require.NoError(t, err)
	for i, want := range []fault.Code{fault.Invalid, fault.Invalid, fault.OK, fault.Invalid, fault.Invalid, fault.TooLarge} {
		require.Equal(t, want, fault.CodeOf(written[i].Err), "element %d: %v", i, written[i].Err)
	}
	require.True(t, get(t, node, "good").Found)
	require.False(t, get(t, node, "k").Found)
	_, err = c.Get(t.Context(), make([]cache.Read, c.Capabilities.MaxBatch+1))
	requireCode(t, fault.TooLarge, err)
	_, err = c.Keys(t.Context(), cache.Page{Cursor: "x"})
	requireCode(t, fault.Invalid, err)
}

func TestLargestBatchAndLargestValueAreCarried(t *testing.T) {
	node := open(t)
	c := node.Cache()
	writes := make([]cache.Write, c.Capabilities.MaxBatch)
	reads := make([]cache.Read, len(writes))
	for i := range writes {
		key := fmt.Sprint(i)
		writes[i], reads[i] = cache.Write{Key: key, Value: []byte(key)}, cache.Read{Key: key}
	}

	_, err := c.Set(t.Context(), writes)
	require.NoError(t, err)
	got, err := c.Get(t.Context(), reads)
	require.NoError(t, err)
	large := bytes.Repeat([]byte{1}, c.Capabilities.MaxValue)
	require.NoError(t, set(t, node, cache.Write{Key: "large", Value: large}).Err)

	for i := range got {
		require.Equal(t, reads[i].Key, string(got[i].Entry.Value))
	}
	require.True(t, bytes.Equal(large, get(t, node, "large").Entry.Value))
}

func TestEntryIsGoneAfterItsLifetimeAndNotBefore(t *testing.T) {
	node := open(t)
	const ttl = 500 * time.Millisecond
	sent := time.Now()
	set(t, node, cache.Write{Key: "k", TTL: ttl})
	set(t, node, cache.Write{Key: "kept", TTL: ttl})
	set(t, node, cache.Write{Key: "kept"}) // replaces the lifetime

	for {
		found := get(t, node, "k").Found
		if time.Since(sent) >= ttl { // an answer that came earlier must have found it
			break
		}
		require.True(t, found)
		time.Sleep(10 * time.Millisecond)
	}
	eventually(t, "the entry is gone", func() bool { return !get(t, node, "k").Found })
	kept := get(t, node, "kept")
	require.True(t, kept.Found)
	require.True(t, kept.Entry.Expires.IsZero())
}

func TestConditionsDecideAndTellWhatIsThere(t *testing.T) {
	node := open(t)
	requireCode(t, fault.Conflict, set(t, node, cache.Write{Key: "k", If: cache.IfPresent()}).Err)
	requireCode(t, fault.Conflict, set(t, node, cache.Write{Key: "k", If: cache.IfRevision("r")}).Err)
	first := set(t, node, cache.Write{Key: "k", If: cache.IfRevision(""), TTL: time.Minute})
	require.NoError(t, first.Err)
	require.False(t, get(t, node, "k").Entry.Expires.IsZero())

	refused := set(t, node, cache.Write{Key: "k", If: cache.IfAbsent()})
	second := set(t, node, cache.Write{Key: "k", If: cache.IfRevision(first.Revision)})
	stale := set(t, node, cache.Write{Key: "k", If: cache.IfRevision(first.Revision)})
	third := set(t, node, cache.Write{Key: "k", If: cache.IfPresent()})

	requireCode(t, fault.Conflict, refused.Err)
	require.Equal(t, first.Revision, refused.Revision)
	require.NoError(t, second.Err)
	require.NotEqual(t, first.Revision, second.Revision)
	requireCode(t, fault.Conflict, stale.Err)
	require.Equal(t, second.Revision, stale.Revision)
	require.NoError(t, third.Err)
}

func TestDeleteSaysWhatWasThere(t *testing.T) {
	node := open(t)
	first := set(t, node, cache.Write{Key: "k"})
	second := set(t, node, cache.Write{Key: "k"})

	requireCode(t, fault.Conflict, remove(t, node, cache.Removal{Key: "k", If: cache.IfRevision(first.Revision)}).Err)
	require.True(t, get(t, node, "k").Found)
	removed := remove(t, node, cache.Removal{Key: "k", If: cache.IfRevision(second.Revision)})
	require.NoError(t, removed.Err)
	require.True(t, removed.Existed)
	require.False(t, get(t, node, "k").Found)
	require.Equal(t, cache.Removed{}, remove(t, node, cache.Removal{Key: "k"}))
	requireCode(t, fault.Conflict, remove(t, node, cache.Removal{Key: "k", If: cache.IfPresent()}).Err)
}

func TestTouchGivesALifetimeAndLeavesTheRest(t *testing.T) {
	node := open(t)
	written := set(t, node, cache.Write{Key: "k", Value: []byte("v")})

	requireCode(t, fault.NotFound, touch(t, node, cache.Lifetime{Key: "absent", TTL: time.Hour}))
	requireCode(t, fault.NotFound, touch(t, node, cache.Lifetime{Key: "absent"}))
	require.NoError(t, touch(t, node, cache.Lifetime{Key: "k"})) // had no end, has none
	require.True(t, get(t, node, "k").Entry.Expires.IsZero())
	require.NoError(t, touch(t, node, cache.Lifetime{Key: "k", TTL: time.Hour}))
	require.InDelta(t, time.Hour, time.Until(get(t, node, "k").Entry.Expires), float64(time.Minute))
	require.NoError(t, touch(t, node, cache.Lifetime{Key: "k"}))

	got := get(t, node, "k")
	require.True(t, got.Entry.Expires.IsZero())
	require.Equal(t, written.Revision, got.Entry.Revision)
	require.Equal(t, "v", string(got.Entry.Value))
}

func TestAddCountsInSixtyFourBits(t *testing.T) {
	node := open(t)
	for _, c := range []struct {
		value string
		delta int64
		sum   int64
		code  fault.Code
	}{
		{"", 5, 0, fault.Invalid}, {"x", 1, 0, fault.Invalid}, {"1.5", 1, 0, fault.Invalid}, {" 1", 1, 0, fault.Invalid},
		{"99999999999999999999", 1, 0, fault.Invalid},
		{"0", 0, 0, 0}, {"1", -1, 0, 0}, {"-5", 2, -3, 0}, {"999999999999999", 1, 1000000000000000, 0},
		{"9007199254740993", 2, 9007199254740995, 0},
		{"9223372036854775806", 1, math.MaxInt64, 0}, {"9223372036854775807", 1, 0, fault.Exhausted},
		{"-9223372036854775807", -1, math.MinInt64, 0}, {"-9223372036854775808", -1, 0, fault.Exhausted},
		{"1", math.MaxInt64, 0, fault.Exhausted}, {"-1", math.MaxInt64, math.MaxInt64 - 1, 0}, {"0", math.MinInt64, math.MinInt64, 0},
	} {
		before := set(t, node, cache.Write{Key: "k", Value: []byte(c.value), Flags: 9, TTL: time.Hour})

		sum := add(t, node, cache.Increment{Key: "k", Delta: c.delta, TTL: time.Minute})

		got := get(t, node, "k").Entry
		require.Equal(t, c.code, fault.CodeOf(sum.Err), "%s + %d: %v", c.value, c.delta, sum.Err)
		require.Equal(t, uint8(9), got.Flags)
		require.Greater(t, time.Until(got.Expires), 30*time.Minute, "the lifetime stays")
		if c.code != 0 {
			require.Equal(t, c.value, string(got.Value))
			require.Equal(t, before.Revision, got.Revision)
			continue
		}
		require.Equal(t, c.sum, sum.Value, "%s + %d", c.value, c.delta)
		require.Equal(t, fmt.Sprint(c.sum), string(got.Value))
		require.Equal(t, sum.Revision, got.Revision)
	}
}

func TestAddCreatesWithItsLifetime(t *testing.T) {
	node := open(t)

	require.Equal(t, int64(math.MinInt64), add(t, node, cache.Increment{Key: "k", Delta: math.MinInt64, TTL: time.Hour}).Value)
	require.Equal(t, int64(-3), add(t, node, cache.Increment{Key: "forever", Delta: -3}).Value)

	require.False(t, get(t, node, "k").Entry.Expires.IsZero())
	require.True(t, get(t, node, "forever").Entry.Expires.IsZero())
}

func TestManyAddAndNoneIsLost(t *testing.T) {
	url, ns := testserver.Shared(t).URL(), testserver.Namespace(t)
	nodes := []*redis.Transport{openURL(t, url, ns), openURL(t, url, ns)}
	var all sync.WaitGroup
	failed := make(chan error, 64)
	for g := range 64 {
		all.Go(func() {
			for range 50 {
				sums, err := nodes[g%2].Cache().Add(t.Context(), []cache.Increment{{Key: "k", Delta: 1}})
				if err == nil {
					err = sums[0].Err
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)

	require.Empty(t, failed)
	require.Equal(t, int64(64*50), add(t, nodes[0], cache.Increment{Key: "k"}).Value)
}

func TestDamagedRecordsAreCorruptAndTheRestGoesOn(t *testing.T) {
	server := testserver.Shared(t)
	ns := testserver.Namespace(t)
	node := openURL(t, server.URL(), ns)
	raw := plain(t, server.URL())
	set(t, node, cache.Write{Key: "good", Value: []byte("1")})
	key := func(k string) string { return "bp:" + ns + ":e:{" + k + "}" }
	require.NoError(t, raw.Set(t.Context(), key("short"), "\x01\x00abc", 0).Err())
	require.NoError(t, raw.Set(t.Context(), key("newer"), "\x02"+strings.Repeat("x", 40), 0).Err())
	require.NoError(t, raw.Set(t.Context(), key("foreign"), "hello, this is no record of ours", 0).Err())
	require.NoError(t, raw.Set(t.Context(), key("empty"), "", 0).Err())
	require.NoError(t, raw.RPush(t.Context(), key("type"), "x").Err())
	damaged := []string{"short", "newer", "foreign", "empty", "type"}

	for _, expiry := range []bool{false, true} {
		reads := []cache.Read{{Key: "good", Expiry: expiry}}
		for _, k := range damaged {
			reads = append(reads, cache.Read{Key: k, Expiry: expiry})
		}
		got, err := node.Cache().Get(t.Context(), reads)
		require.NoError(t, err)
		require.True(t, got[0].Found)
		for i, g := range got[1:] {
			requireCode(t, fault.Corrupt, g.Err)
			require.Contains(t, g.Err.Error(), damaged[i])
			require.False(t, g.Found)
		}
	}
	for _, k := range damaged {
		requireCode(t, fault.Corrupt, add(t, node, cache.Increment{Key: k, Delta: 1}).Err)
		require.NoError(t, set(t, node, cache.Write{Key: k, Value: []byte("new")}).Err, "a write heals it")
		require.Equal(t, "new", string(get(t, node, k).Entry.Value))
	}
}

func TestNamespacesNeverSeeEachOther(t *testing.T) {
	url := testserver.Shared(t).URL()
	short := testserver.Namespace(t)
	a, b := openURL(t, url, short), openURL(t, url, short+"-")
	set(t, a, cache.Write{Key: "k", Value: []byte("a")})

	require.False(t, get(t, b, "k").Found)
	require.Empty(t, allKeys(t, func(p cache.Page) (cache.Keys, error) { return b.Cache().Keys(t.Context(), p) }, cache.Page{}))
	require.NoError(t, acquire(t, a, cache.Claim{Lock: "k", Holder: "a", TTL: time.Minute}).Err)
	require.NoError(t, acquire(t, b, cache.Claim{Lock: "k", Holder: "b", TTL: time.Minute}).Err)
	require.Len(t, held(t, a, ""), 1)
}

func TestListingEndsAmongManyForeignKeys(t *testing.T) {
	url, ns := testserver.Shared(t).URL(), testserver.Namespace(t)
	node, other := openURL(t, url, ns), openURL(t, url, ns+"x")
	var mine, others []cache.Write
	for i := range 4000 {
		others = append(others, cache.Write{Key: fmt.Sprint("k", i)})
		if i%40 == 0 {
			mine = append(mine, cache.Write{Key: fmt.Sprint("k", i)})
		}
	}
	_, err := node.Cache().Set(t.Context(), mine)
	require.NoError(t, err)
	_, err = other.Cache().Set(t.Context(), others)
	require.NoError(t, err)

	keys := allKeys(t, func(p cache.Page) (cache.Keys, error) { return node.Cache().Keys(t.Context(), p) }, cache.Page{Prefix: "k", Limit: 10})

	require.Len(t, keys, 100)
}
