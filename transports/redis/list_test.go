package redis_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports/redis"
)

func texts(values ...string) [][]byte {
	var all [][]byte
	for _, v := range values {
		all = append(all, []byte(v))
	}
	return all
}

func push(t testing.TB, node *redis.Transport, p cache.Push) int {
	t.Helper()
	lengths, err := node.Cache().Lists.Push(t.Context(), []cache.Push{p})
	l := one(t, lengths, err)
	require.NoError(t, l.Err)
	return l.Length
}

func pop(t testing.TB, node *redis.Transport, p cache.Pop) [][]byte {
	t.Helper()
	popped, err := node.Cache().Lists.Pop(t.Context(), []cache.Pop{p})
	values := one(t, popped, err)
	require.NoError(t, values.Err)
	return values.Values
}

func span(t testing.TB, node *redis.Transport, r cache.Range) [][]byte {
	t.Helper()
	ranged, err := node.Cache().Lists.Range(t.Context(), []cache.Range{r})
	values := one(t, ranged, err)
	require.NoError(t, values.Err)
	return values.Values
}

func TestListKeepsItsOrder(t *testing.T) {
	node := open(t)

	require.Equal(t, 2, push(t, node, cache.Push{List: "l", Values: texts("c", "d")}))
	require.Equal(t, 4, push(t, node, cache.Push{List: "l", Values: texts("b", "a"), Front: true}))
	require.Equal(t, 5, push(t, node, cache.Push{List: "l", Values: texts(""), TTL: time.Hour}))

	require.Equal(t, texts("a", "b", "c", "d", ""), span(t, node, cache.Range{List: "l", Max: math.MaxInt}))
	require.Equal(t, texts("b", "c"), span(t, node, cache.Range{List: "l", Start: 1, Max: 2}))
	require.Empty(t, span(t, node, cache.Range{List: "l", Start: 9, Max: 2}))
	require.Equal(t, texts("d", ""), span(t, node, cache.Range{List: "l", Start: 3, Max: math.MaxInt}))
	require.Equal(t, texts("a"), pop(t, node, cache.Pop{List: "l", Max: 1}))
	require.Equal(t, texts("", "d"), pop(t, node, cache.Pop{List: "l", Max: 2, Back: true}))
	require.Equal(t, texts("b", "c"), pop(t, node, cache.Pop{List: "l", Max: math.MaxInt}))
	require.Empty(t, pop(t, node, cache.Pop{List: "l", Max: 1}))
}

func TestEmptyListDoesNotExistAndIsNoEntry(t *testing.T) {
	url, ns := testserver.Shared(t).URL(), testserver.Namespace(t)
	node := openURL(t, url, ns)
	lists := node.Cache().Lists
	set(t, node, cache.Write{Key: "l", Value: []byte("entry")})
	push(t, node, cache.Push{List: "l", Values: texts("x"), TTL: time.Hour})
	push(t, node, cache.Push{List: "l{2}", Values: texts("x")})
	names := func(p cache.Page) (cache.Keys, error) { return lists.Names(t.Context(), p) }
	require.Equal(t, []string{"l", "l{2}"}, allKeys(t, names, cache.Page{Prefix: "l"}))
	ttl, err := plain(t, url).PTTL(t.Context(), "bp:"+ns+":l:{l}").Result()
	require.NoError(t, err)
	require.Greater(t, ttl, 30*time.Minute)

	pop(t, node, cache.Pop{List: "l", Max: 1})
	dropped, err := lists.Drop(t.Context(), []cache.Removal{{Key: "l{2}"}, {Key: "absent"}, {Key: "l", If: cache.IfPresent()}})

	require.NoError(t, err)
	require.True(t, dropped[0].Existed)
	require.False(t, dropped[1].Existed)
	requireCode(t, fault.Invalid, dropped[2].Err)
	require.Empty(t, allKeys(t, names, cache.Page{}))
	lengths, err := lists.Length(t.Context(), []cache.Read{{Key: "l"}})
	require.Equal(t, cache.Length{}, one(t, lengths, err))
	require.Equal(t, "entry", string(get(t, node, "l").Entry.Value))
}

func TestEachValueIsPoppedOnce(t *testing.T) {
	url, ns := testserver.Shared(t).URL(), testserver.Namespace(t)
	nodes := []*redis.Transport{openURL(t, url, ns), openURL(t, url, ns)}
	var values []string
	for i := range 1000 {
		values = append(values, string([]byte{byte(i), byte(i >> 8)}))
	}
	push(t, nodes[0], cache.Push{List: "l", Values: texts(values...)})
	var mu sync.Mutex
	seen := map[string]int{}
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for {
				popped, err := nodes[g%2].Cache().Lists.Pop(t.Context(), []cache.Pop{{List: "l", Max: 1 + g%5, Back: g%3 == 0}})
				if err != nil || len(popped[0].Values) == 0 {
					return
				}
				mu.Lock()
				for _, v := range popped[0].Values {
					seen[string(v)]++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()

	require.Len(t, seen, len(values))
	for _, n := range seen {
		require.Equal(t, 1, n)
	}
}
