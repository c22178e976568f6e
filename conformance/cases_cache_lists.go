package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func listCases() []Case {
	return needing(NeedsLists, []Case{
		{Name: "cache/list/first-in-first-out", Clause: clauseLists, Run: listFIFO},
		{Name: "cache/list/both-ends", Clause: clauseLists, Run: listBothEnds},
		{Name: "cache/list/an-empty-list-does-not-exist", Clause: clauseLists, Run: listEmpty},
		{Name: "cache/list/push-appends-all-in-order-and-tells-the-length", Clause: clausePush, Run: listPush},
		{Name: "cache/list/push-under-many-keeps-each-batch-together", Clause: clausePush, Run: listPushTogether},
		{Name: "cache/list/pop-gives-each-value-to-one-taker", Clause: clausePop, Run: listPopOnce},
		{Name: "cache/list/pop-takes-no-more-than-asked", Clause: clausePop, Run: listPopMax},
		{Name: "cache/list/range-and-length-remove-nothing", Clause: clauseRange, Run: listRange},
		{Name: "cache/list/values-are-any-bytes", Clause: clauseAnyBytes, Run: listBytes},
		{Name: "cache/list/unusual-names-hold-their-own-values", Clause: clauseAnyBytes, Run: listUnusualNames},
		{Name: "cache/list/a-lifetime-is-the-whole-lists", Clause: clauseListLife, Run: listLifetime},
		{Name: "cache/list/a-push-without-lifetime-leaves-it", Clause: clauseListLife, Run: listLifetimeStays},
		{Name: "cache/list/an-entry-of-the-same-name-is-another-thing", Clause: clauseListNames, Run: listAndEntry},
		{Name: "cache/list/names-are-listed-by-prefix", Clause: clauseListNames, Run: listNames},
		{Name: "cache/list/drop-removes-the-whole", Clause: clauseLists, Run: listDrop},
		{Name: "cache/list/buffers-are-not-shared", Clause: clauseBuffers, Run: listBuffers},
		{Name: "cache/list/a-failing-element-leaves-the-others", Clause: clauseIndependent, Run: listMixed},
		{Name: "cache/list/bad-arguments-are-refused", Clause: clauseSizes, Run: listBadArguments},
		{Name: "cache/list/every-operation-heeds-a-guard", Clause: clauseGuardHolder, Run: listGuards},
		{Name: "cache/list/an-old-fence-is-conflict", Clause: clauseGuardFence, Run: listFences},
	})
}

func listFIFO(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, e.Open())
	for i := range 10 {
		require.Equal(e, i+1, here.mustPush("l", fmt.Sprint(i)))
	}
	for i := range 10 {
		require.Equal(e, []string{fmt.Sprint(i)}, there.pop(cache.Pop{List: "l", Max: 1}))
	}
	require.Empty(e, here.pop(cache.Pop{List: "l", Max: 1}))
}

func listBothEnds(e *Env) {
	here := onLists(e, e.Node)
	here.mustPush("l", "c", "d")
	// The last one of a push to the front is frontmost.
	length := here.push(cache.Push{List: "l", Values: bytesOf([]string{"b", "a"}), Front: true})
	require.NoError(e, length.Err)
	require.Equal(e, 4, length.Length)
	require.Equal(e, []string{"a", "b", "c", "d"}, here.read(cache.Range{List: "l", Max: 10}))

	require.Equal(e, []string{"d", "c"}, here.pop(cache.Pop{List: "l", Max: 2, Back: true}), "from the back, the last one first")
	require.Equal(e, []string{"a", "b"}, here.pop(cache.Pop{List: "l", Max: 2}))
}

func listEmpty(e *Env) {
	here := onLists(e, e.Node)
	require.Zero(e, here.length("l"))
	require.Empty(e, here.pop(cache.Pop{List: "l", Max: 3}))
	require.Empty(e, here.read(cache.Range{List: "l", Max: 3}))
	require.Empty(e, here.names(""))
	require.False(e, here.drop("l").Existed)

	here.mustPush("l", "a")
	here.pop(cache.Pop{List: "l", Max: 1})
	require.Zero(e, here.length("l"))
	require.Empty(e, here.names(""), "a list whose last value was taken is still there")
	require.False(e, here.drop("l").Existed)
}

func listPush(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, e.Open())
	require.Equal(e, 3, here.mustPush("l", "a", "b", "c"))
	require.Equal(e, 5, there.mustPush("l", "d", "e"))
	require.Equal(e, []string{"a", "b", "c", "d", "e"}, here.pop(cache.Pop{List: "l", Max: 10}))
}

func listPushTogether(e *Env) {
	nodes := []listsOn{onLists(e, e.Node), onLists(e, e.Open())}
	const pushers, size = 16, 5
	errs := together(pushers, func(i int) error {
		values := make([][]byte, size)
		for n := range size {
			values[n] = fmt.Appendf(nil, "%d.%d", i, n)
		}
		r, err := nodes[i%2].Push(e.Context(), []cache.Push{{List: "l", Values: values}})
		return first(r, err, func(l cache.Length) error { return l.Err })
	})
	require.NoError(e, errors.Join(errs...))

	all := nodes[0].read(cache.Range{List: "l", Max: 1000})
	require.Len(e, all, pushers*size)
	for batch := range slices.Chunk(all, size) {
		who, _, _ := strings.Cut(batch[0], ".")
		for n, value := range batch {
			require.Equal(e, fmt.Sprintf("%s.%d", who, n), value, "one push's values are in a row and in order")
		}
	}
}

func listPopOnce(e *Env) {
	nodes := []listsOn{onLists(e, e.Node), onLists(e, e.Open())}
	const n = 400
	values := make([]string, n)
	for i := range n {
		values[i] = fmt.Sprint(i)
	}
	nodes[0].mustPush("l", values...)
	taken := make([][]string, 16)
	errs := together(len(taken), func(i int) error {
		for {
			r, err := nodes[i%2].Pop(e.Context(), []cache.Pop{{List: "l", Max: 1 + i%3, Back: i%5 == 0}})
			if err := first(r, err, func(p cache.Popped) error { return p.Err }); err != nil {
				return err
			}
			if len(r[0].Values) == 0 {
				return nil
			}
			taken[i] = append(taken[i], stringsOf(r[0].Values)...)
		}
	})
	require.NoError(e, errors.Join(errs...))
	require.ElementsMatch(e, values, slices.Concat(taken...))
}

func listPopMax(e *Env) {
	here := onLists(e, e.Node)
	here.mustPush("l", "a", "b", "c")
	require.Equal(e, []string{"a", "b"}, here.pop(cache.Pop{List: "l", Max: 2}))
	require.Equal(e, []string{"c"}, here.pop(cache.Pop{List: "l", Max: 2}))
	require.Empty(e, here.pop(cache.Pop{List: "l", Max: 2}))
}

func listRange(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, e.Open())
	here.mustPush("l", "a", "b", "c", "d")
	for range 2 {
		require.Equal(e, []string{"a", "b"}, there.read(cache.Range{List: "l", Max: 2}))
		require.Equal(e, []string{"c", "d"}, there.read(cache.Range{List: "l", Start: 2, Max: 100}))
		require.Empty(e, there.read(cache.Range{List: "l", Start: 4, Max: 1}))
		require.Equal(e, 4, there.length("l"))
	}
	require.Len(e, here.pop(cache.Pop{List: "l", Max: 10}), 4)
}

func listBytes(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, e.Open())
	var want []string
	for _, value := range binaries {
		want = append(want, string(value))
	}
	want = append(want, "", string(patterned(64<<10+1)), "")
	here.mustPush("l", want...)
	got := there.pop(cache.Pop{List: "l", Max: 100})
	require.Len(e, got, len(want))
	for i := range want {
		require.True(e, want[i] == got[i], "value %d of %d bytes came back changed", i, len(want[i]))
	}
}

func listUnusualNames(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, e.Open())
	for i, name := range unusualNames {
		here.mustPush(name, fmt.Sprint(i))
	}
	require.ElementsMatch(e, unusualNames, there.names(""))
	for i, name := range unusualNames {
		require.Equal(e, []string{fmt.Sprint(i)}, there.pop(cache.Pop{List: name, Max: 5}), "%q", name)
	}
}

func listLifetime(e *Env) {
	here, keys := onLists(e, e.Node), on(e, e.Node)
	here.mustPush("l", "without end")
	life := giving(keys.span(1), func() {
		require.NoError(e, here.push(cache.Push{List: "l", Values: bytesOf([]string{"a"}), TTL: keys.span(1)}).Err)
	})
	keys.mustEndAs(life, "the list", func() bool { return here.length("l") > 0 })
	require.Empty(e, here.names(""), "a list that has ended is listed")
	require.Equal(e, 1, here.mustPush("l", "anew"))
}

func listLifetimeStays(e *Env) {
	here, keys := onLists(e, e.Node), on(e, e.Node)
	life := giving(keys.span(2), func() {
		require.NoError(e, here.push(cache.Push{List: "l", Values: bytesOf([]string{"a", "b", "c"}), TTL: keys.span(2)}).Err)
	})
	here.pop(cache.Pop{List: "l", Max: 1})
	if length := here.mustPush("l", "d"); length == 3 { // on a slow day it has ended already, and begins anew without end
		keys.mustEndAs(life, "the list", func() bool { return here.length("l") > 0 })
	}

	here.mustPush("m", "a")
	require.NoError(e, here.push(cache.Push{List: "m", Values: bytesOf([]string{"b"}), TTL: time.Hour}).Err)
	keys.outlive(keys.span(1))
	require.Equal(e, 2, here.length("m"))
}

func listAndEntry(e *Env) {
	lists, entries := onLists(e, e.Node), on(e, e.Node)
	lists.mustPush("k", "in the list")
	entries.mustLack("k")
	entries.mustWrite(cache.Write{Key: "k", Value: []byte("1"), If: cache.IfAbsent()})
	require.NoError(e, entries.add(cache.Increment{Key: "k", Delta: 1}).Err)
	require.Equal(e, 1, lists.length("k"))
	require.Equal(e, []string{"k"}, entries.keys(""))
	require.Equal(e, []string{"k"}, lists.names(""))

	require.NoError(e, entries.remove(cache.Removal{Key: "k"}).Err)
	require.Equal(e, 1, lists.length("k"))
	require.True(e, lists.drop("k").Existed)
	entries.mustLack("k")
}

func listNames(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, e.Open())
	var jobs []string
	for i := range 60 {
		jobs = append(jobs, fmt.Sprint("jobs:", i))
		here.mustPush(jobs[i], "v")
	}
	here.mustPush("job*", "v")
	here.mustPush("other", "v")
	on(e, e.Node).mustSet("jobs:entry", "v")

	require.ElementsMatch(e, jobs, there.names("jobs:"))
	require.Equal(e, []string{"job*"}, there.names("job*"))
	small := collect(e, cache.Page{Prefix: "jobs:", Limit: 3}, func(p cache.Page) ([]string, string, error) {
		page, err := there.Names(e.Context(), p)
		return page.Keys, page.Next, err
	})
	require.ElementsMatch(e, jobs, small)
}

func listDrop(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, e.Open())
	here.mustPush("l", "a", "b")
	here.mustPush("l2", "c")
	dropped := there.drop("l")
	require.NoError(e, dropped.Err)
	require.True(e, dropped.Existed)
	require.Zero(e, here.length("l"))
	require.Equal(e, 1, here.length("l2"))
	require.NoError(e, there.drop("l").Err, "dropping what is not there is no error")
}

func listBuffers(e *Env) {
	here := onLists(e, e.Node)
	value := []byte("as it was")
	require.NoError(e, here.push(cache.Push{List: "l", Values: [][]byte{value}}).Err)
	copy(value, "SCRIBBLED")
	results, err := here.Range(e.Context(), []cache.Range{{List: "l", Max: 1}})
	got := only(e, results, err).Values[0]
	require.Equal(e, "as it was", string(got))
	copy(got, "SCRIBBLED")
	require.Equal(e, []string{"as it was"}, here.pop(cache.Pop{List: "l", Max: 1}))
}

func listMixed(e *Env) {
	here := onLists(e, e.Node)
	on(e, e.Node).mustAcquire("locked", "a", time.Minute)
	v := [][]byte{[]byte("v")}
	pushed, err := here.Push(e.Context(), []cache.Push{
		{List: "first", Values: v}, {List: "locked", Values: v, Guard: cache.Guard{Holder: "b"}}, {List: "", Values: v}, {List: "last", Values: v},
	})
	mustFail(e, pushed, err, func(l cache.Length) error { return l.Err }, map[int]fault.Code{1: fault.Locked, 2: fault.Invalid})
	popped, err := here.Pop(e.Context(), []cache.Pop{
		{List: "first", Max: 1}, {List: "locked", Max: 1, Guard: cache.Guard{Holder: "b"}}, {List: "absent", Max: 1}, {List: "last", Max: 1},
	})
	mustFail(e, popped, err, func(p cache.Popped) error { return p.Err }, map[int]fault.Code{1: fault.Locked})
	require.Equal(e, []string{"v"}, stringsOf(popped[0].Values))
	require.Empty(e, popped[2].Values)
	require.Equal(e, []string{"v"}, stringsOf(popped[3].Values))
	require.Empty(e, here.names(""))
}

func listBadArguments(e *Env) {
	here := onLists(e, e.Node)
	caps := e.Node.Cache().Capabilities
	here.mustPush("l", "v")
	requireCode(e, fault.TooLarge, here.push(cache.Push{List: "l", Values: [][]byte{[]byte("x"), make([]byte, caps.MaxValue+1)}}).Err, "a value of one byte more than the largest")
	requireCode(e, fault.Invalid, here.push(cache.Push{List: strings.Repeat("l", caps.MaxKey+1), Values: bytesOf([]string{"x"})}).Err, "too long a name")
	requireCode(e, fault.Invalid, here.push(cache.Push{List: "l"}).Err, "a push of nothing")
	requireCode(e, fault.Invalid, here.push(cache.Push{List: "l", Values: bytesOf([]string{"x"}), TTL: -1}).Err, "a negative lifetime")
	for _, max := range []int{0, -1} {
		r, err := here.Pop(e.Context(), []cache.Pop{{List: "l", Max: max}})
		requireCode(e, fault.Invalid, only(e, r, err).Err, "a pop of %d", max)
	}
	require.Equal(e, []string{"v"}, here.read(cache.Range{List: "l", Max: 10}), "what was refused was done in part")
}

// listOps are the operations on lists, under a guard.
func listOps(l listsOn, g cache.Guard) map[string]error {
	ctx := l.e.Context()
	all := map[string]error{}
	pushed, err := l.Push(ctx, []cache.Push{{List: "l", Values: bytesOf([]string{"x"}), Guard: g}})
	all["Push"] = first(pushed, err, func(n cache.Length) error { return n.Err })
	values, err := l.Range(ctx, []cache.Range{{List: "l", Max: 1, Guard: g}})
	all["Range"] = first(values, err, func(p cache.Popped) error { return p.Err })
	length, err := l.Length(ctx, []cache.Read{{Key: "l", Guard: g}})
	all["Length"] = first(length, err, func(n cache.Length) error { return n.Err })
	popped, err := l.Pop(ctx, []cache.Pop{{List: "l", Max: 1, Back: true, Guard: g}})
	all["Pop"] = first(popped, err, func(p cache.Popped) error { return p.Err })
	dropped, err := l.Drop(ctx, []cache.Removal{{Key: "l", Guard: g}})
	all["Drop"] = first(dropped, err, func(r cache.Removed) error { return r.Err })
	return all
}

func listGuards(e *Env) {
	here, there := onLists(e, e.Node), onLists(e, e.Open())
	here.mustPush("l", "kept")
	lease := on(e, e.Node).mustAcquire("l", "a", time.Minute)
	for name, err := range listOps(there, cache.Guard{Holder: "b"}) {
		requireCode(e, fault.Locked, err, "%s", name)
	}
	require.Equal(e, []string{"kept"}, here.read(cache.Range{List: "l", Max: 10}))
	for name, err := range listOps(there, cache.Guard{Holder: "a", Fence: lease.Fence}) {
		require.NoError(e, err, name)
	}
}

func listFences(e *Env) {
	here, entries := onLists(e, e.Node), on(e, e.Node)
	here.mustPush("l", "kept")
	old := entries.mustAcquire("l", "a", time.Minute)
	require.NoError(e, entries.release(old))
	entries.mustAcquire("l", "b", time.Minute)
	for name, err := range listOps(here, cache.Guard{Fence: old.Fence}) {
		requireCode(e, fault.Conflict, err, "%s", name)
	}
	require.Equal(e, []string{"kept"}, here.read(cache.Range{List: "l", Max: 10}))
}
