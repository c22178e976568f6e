package memory_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/memory"
)

// cacheModel is what a cache should hold, said as plainly as can be.
type cacheModel struct {
	clock   *handClock
	nodes   []*memory.Transport
	entries map[string]modelEntry
	locks   map[string]modelLock
	lists   map[string][]string
	seen    map[cache.Revision]bool
}

type modelEntry struct {
	value    string
	revision cache.Revision
	ends     time.Time // zero: never
}

type modelLock struct {
	lease cache.Lease
	ends  time.Time
	last  uint64
}

var (
	modelKeys    = rapid.SampledFrom([]string{"a", "ab", "abc", "b", "\x00\xff"})
	modelHolders = rapid.SampledFrom([]string{"x", "y"})
	modelTTLs    = rapid.SampledFrom([]time.Duration{0, time.Second, 3 * time.Second})
)

func (m *cacheModel) backend(t *rapid.T) *cache.Backend {
	return rapid.SampledFrom(m.nodes).Draw(t, "node").Cache()
}

func (m *cacheModel) live(key string) (modelEntry, bool) {
	e, found := m.entries[key]
	if found && !e.ends.IsZero() && !m.clock.Now().Before(e.ends) {
		delete(m.entries, key)
		return modelEntry{}, false
	}
	return e, found
}

func (m *cacheModel) end(ttl time.Duration) time.Time {
	if ttl == 0 {
		return time.Time{}
	}
	return m.clock.Now().Add(ttl)
}

func (m *cacheModel) held(lock string) (modelLock, bool) {
	l := m.locks[lock]
	return l, m.clock.Now().Before(l.ends)
}

// guard draws a guard, and says what it should answer for a key.
func (m *cacheModel) guard(t *rapid.T, key string) (g cache.Guard, want fault.Code) {
	lock, isHeld := m.held(key)
	if rapid.Bool().Draw(t, "guarded by holder") {
		g.Holder = modelHolders.Draw(t, "guard's holder")
	}
	if rapid.Bool().Draw(t, "guarded by fence") {
		g.Fence = lock.last - min(lock.last, rapid.Uint64Range(0, 1).Draw(t, "old"))
	}
	switch {
	case g.Holder != "" && isHeld && lock.lease.Holder != g.Holder:
		return g, fault.Locked
	case g.Fence != 0 && g.Fence < lock.last:
		return g, fault.Conflict
	}
	return g, fault.OK
}

func (m *cacheModel) condition(t *rapid.T, found bool, current cache.Revision) (c cache.Condition, holds bool) {
	switch rapid.IntRange(0, 4).Draw(t, "condition") {
	case 1:
		return cache.IfAbsent(), !found
	case 2:
		return cache.IfPresent(), found
	case 3:
		return cache.IfRevision(current), true
	case 4:
		return cache.IfRevision("another"), false
	}
	return cache.Always(), true
}

func (m *cacheModel) Set(t *rapid.T) {
	key, value, ttl := modelKeys.Draw(t, "key"), rapid.String().Draw(t, "value"), modelTTLs.Draw(t, "TTL")
	g, want := m.guard(t, key)
	before, found := m.live(key)
	condition, holds := m.condition(t, found, before.revision)

	written := set(t, m.backend(t), cache.Write{Key: key, Value: []byte(value), TTL: ttl, If: condition, Guard: g})

	if want == fault.OK && !holds {
		want = fault.Conflict
		require.Equal(t, before.revision, written.Revision)
	}
	require.Equal(t, want, fault.CodeOf(written.Err))
	if want == fault.OK {
		require.False(t, m.seen[written.Revision], "a revision never repeats")
		m.seen[written.Revision] = true
		m.entries[key] = modelEntry{value, written.Revision, m.end(ttl)}
	}
}

func (m *cacheModel) Get(t *rapid.T) {
	key := modelKeys.Draw(t, "key")
	g, want := m.guard(t, key)
	e, found := m.live(key)

	got, err := m.backend(t).Get(background, []cache.Read{{Key: key, Guard: g, Expiry: true}})

	answer := one(t, got, err)
	require.Equal(t, want, fault.CodeOf(answer.Err))
	if want == fault.OK {
		require.Equal(t, found, answer.Found)
		require.Equal(t, e.value, string(answer.Entry.Value))
		require.Equal(t, e.revision, answer.Entry.Revision)
		require.True(t, e.ends.Equal(answer.Entry.Expires))
	}
}

func (m *cacheModel) Delete(t *rapid.T) {
	key := modelKeys.Draw(t, "key")
	g, want := m.guard(t, key)
	before, found := m.live(key)
	condition, holds := m.condition(t, found, before.revision)

	removed, err := m.backend(t).Delete(background, []cache.Removal{{Key: key, If: condition, Guard: g}})

	answer := one(t, removed, err)
	if want == fault.OK && !holds {
		want = fault.Conflict
	}
	require.Equal(t, want, fault.CodeOf(answer.Err))
	if want == fault.OK {
		require.Equal(t, found, answer.Existed)
		delete(m.entries, key)
	}
}

func (m *cacheModel) Touch(t *rapid.T) {
	key, ttl := modelKeys.Draw(t, "key"), modelTTLs.Draw(t, "TTL")
	g, want := m.guard(t, key)
	e, found := m.live(key)

	touched, err := m.backend(t).Touch(background, []cache.Lifetime{{Key: key, TTL: ttl, Guard: g}})

	if want == fault.OK && !found {
		want = fault.NotFound
	}
	require.Equal(t, want, fault.CodeOf(one(t, touched, err).Err))
	if want == fault.OK {
		e.ends = m.end(ttl)
		m.entries[key] = e
	}
}

func (m *cacheModel) Acquire(t *rapid.T) {
	lock, holder := modelKeys.Draw(t, "lock"), modelHolders.Draw(t, "holder")
	before, isHeld := m.held(lock)

	lease := acquire(t, m.backend(t), cache.Claim{Lock: lock, Holder: holder, TTL: 2 * time.Second})

	if isHeld {
		require.Equal(t, fault.Locked, fault.CodeOf(lease.Err))
		require.Equal(t, before.lease.Holder, lease.Holder)
		require.True(t, before.ends.Equal(lease.Expires))
		return
	}
	require.NoError(t, lease.Err)
	require.Greater(t, lease.Fence, before.last)
	m.locks[lock] = modelLock{lease, m.end(2 * time.Second), lease.Fence}
}

func (m *cacheModel) ReleaseOrRenew(t *rapid.T) {
	lock := modelKeys.Draw(t, "lock")
	current, isHeld := m.held(lock)
	lease := cache.Lease{Lock: lock, Holder: modelHolders.Draw(t, "holder"), Fence: current.last, TTL: time.Second}
	if rapid.Bool().Draw(t, "stale") {
		lease.Fence--
	}
	want := fault.LeaseLost
	if isHeld && current.lease.Holder == lease.Holder && current.lease.Fence == lease.Fence {
		want = fault.OK
	}
	if rapid.Bool().Draw(t, "renew") {
		renewed, err := m.backend(t).Renew(background, []cache.Lease{lease})
		require.Equal(t, want, fault.CodeOf(one(t, renewed, err).Err))
		if want == fault.OK {
			current.ends = m.end(time.Second)
			require.True(t, current.ends.Equal(renewed[0].Expires))
		}
	} else {
		released, err := m.backend(t).Release(background, []cache.Lease{lease})
		require.Equal(t, want, fault.CodeOf(one(t, released, err)))
		if want == fault.OK {
			current.ends = time.Time{}
		}
	}
	if want == fault.OK {
		m.locks[lock] = current
	}
}

func (m *cacheModel) Push(t *rapid.T) {
	list, front := modelKeys.Draw(t, "list"), rapid.Bool().Draw(t, "front")
	values := rapid.SliceOfN(rapid.String(), 1, 20).Draw(t, "values")
	push := cache.Push{List: list, Front: front}
	for _, v := range values {
		push.Values = append(push.Values, []byte(v))
		if front {
			m.lists[list] = append([]string{v}, m.lists[list]...)
		} else {
			m.lists[list] = append(m.lists[list], v)
		}
	}

	lengths, err := m.backend(t).Lists.Push(background, []cache.Push{push})

	require.Equal(t, cache.Length{Length: len(m.lists[list])}, one(t, lengths, err))
}

func (m *cacheModel) Pop(t *rapid.T) {
	list, n, back := modelKeys.Draw(t, "list"), rapid.IntRange(1, 15).Draw(t, "n"), rapid.Bool().Draw(t, "back")
	values := m.lists[list]
	n = min(n, len(values))
	want := slices.Clone(values[:n])
	if back {
		want = slices.Clone(values[len(values)-n:])
		slices.Reverse(want)
		m.lists[list] = values[:len(values)-n]
	} else {
		m.lists[list] = values[n:]
	}
	if len(m.lists[list]) == 0 {
		delete(m.lists, list)
	}

	popped, err := m.backend(t).Lists.Pop(background, []cache.Pop{{List: list, Max: max(n, 1), Back: back}})

	require.Equal(t, fmt.Sprintf("%q", want), fmt.Sprintf("%q", one(t, popped, err).Values))
}

func (m *cacheModel) PassTime(t *rapid.T) {
	m.clock.pass(rapid.SampledFrom([]time.Duration{1, time.Second, 5 * time.Second}).Draw(t, "time"))
}

// Check compares what can be listed.
func (m *cacheModel) check(t *rapid.T) {
	prefix, limit := rapid.SampledFrom([]string{"", "a", "ab", "\x00", "none"}).Draw(t, "prefix"), rapid.IntRange(0, 3).Draw(t, "limit")
	b := m.backend(t)
	var keys, locks, lists []string
	for key := range m.entries {
		if _, found := m.live(key); found {
			keys = append(keys, key)
		}
	}
	for lock := range m.locks {
		if _, isHeld := m.held(lock); isHeld {
			locks = append(locks, lock)
		}
	}
	lists = slices.Collect(maps.Keys(m.lists))

	require.Equal(t, under(prefix, keys), pages(func(cursor string) ([]string, string) {
		page, err := b.Keys(background, cache.Page{Prefix: prefix, Cursor: cursor, Limit: limit})
		require.NoError(t, err)
		return page.Keys, page.Next
	}))
	require.Equal(t, under(prefix, lists), pages(func(cursor string) ([]string, string) {
		page, err := b.Lists.Names(background, cache.Page{Prefix: prefix, Cursor: cursor, Limit: limit})
		require.NoError(t, err)
		return page.Keys, page.Next
	}))
	require.Equal(t, under(prefix, locks), pages(func(cursor string) ([]string, string) {
		page, err := b.Holders.Held(background, cache.Page{Prefix: prefix, Cursor: cursor, Limit: limit})
		require.NoError(t, err)
		var names []string
		for _, l := range page.Leases {
			require.Equal(t, m.locks[l.Lock].lease.Holder, l.Holder)
			require.Equal(t, m.locks[l.Lock].last, l.Fence)
			names = append(names, l.Lock)
		}
		return names, page.Next
	}))
}

func under(prefix string, names []string) []string {
	found := []string{}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

func pages(page func(cursor string) (names []string, next string)) []string {
	all := []string{}
	for cursor := ""; ; {
		names, next := page(cursor)
		if all = append(all, names...); next == "" {
			return all
		}
		cursor = next
	}
}

func TestTheCacheDoesWhatItsModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := newHandClock()
		store := memory.Store{Clock: clock}
		m := &cacheModel{
			clock: clock, entries: map[string]modelEntry{}, locks: map[string]modelLock{}, lists: map[string][]string{},
			seen: map[cache.Revision]bool{},
		}
		for range 2 {
			node, err := store.Open("test")
			require.NoError(t, err)
			defer func() { require.NoError(t, node.Close()) }()
			m.nodes = append(m.nodes, node)
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": m.Set, "get": m.Get, "delete": m.Delete, "touch": m.Touch, "acquire": m.Acquire,
			"release or renew": m.ReleaseOrRenew, "push": m.Push, "pop": m.Pop, "time": m.PassTime, "": m.check,
		})
	})
}
