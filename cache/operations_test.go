package cache_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func TestWhatIsSetIsRead(t *testing.T) {
	c := newStore(t).node()

	revision, err := c.Set(t.Context(), "k", []byte("v"))
	require.NoError(t, err)
	entry, err := c.Get(t.Context(), "k")

	require.NoError(t, err)
	require.Equal(t, "k", entry.Key)
	require.Equal(t, "v", string(entry.Value))
	require.Equal(t, revision, entry.Revision)
	require.WithinDuration(t, time.Now(), entry.Created, time.Minute)
	require.Zero(t, entry.Expires)
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	c := newStore(t).node()

	_, err := c.Get(t.Context(), "user:42")

	requireCode(t, cache.ErrNotFound, err)
	require.ErrorIs(t, err, cache.ErrNotFound)
	require.Equal(t, `cache: get "user:42": there is no such entry`, err.Error())
	existed, err := c.Delete(t.Context(), "user:42")
	require.NoError(t, err)
	require.False(t, existed)
	requireCode(t, cache.ErrNotFound, c.Touch(t.Context(), "user:42", time.Hour))
}

func TestALifetimeIsKeptAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node()

		_, err := c.Set(t.Context(), "k", nil, cache.TTL(10*second))
		require.NoError(t, err)
		time.Sleep(9 * second)
		entry, err := c.Get(t.Context(), "k", cache.WithExpiry())
		require.NoError(t, err)
		require.Equal(t, second, time.Until(entry.Expires))

		require.NoError(t, c.Touch(t.Context(), "k", 5*second))
		time.Sleep(4 * second)
		_, err = c.Get(t.Context(), "k")
		require.NoError(t, err)
		time.Sleep(second + 1)
		_, err = c.Get(t.Context(), "k")
		require.ErrorIs(t, err, cache.ErrNotFound)
	})
}

func TestJitterShortensLifetimesByNoMoreThanItsFraction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node()
		var shortest, longest time.Duration = math.MaxInt64, 0

		for i := range 100 {
			key := fmt.Sprint(i)
			_, err := c.Set(t.Context(), key, nil, cache.TTL(time.Hour), cache.Jitter(0.1))
			require.NoError(t, err)
			entry, err := c.Get(t.Context(), key, cache.WithExpiry())
			require.NoError(t, err)
			left := time.Until(entry.Expires)
			shortest, longest = min(shortest, left), max(longest, left)
		}

		require.GreaterOrEqual(t, shortest, 54*time.Minute)
		require.LessOrEqual(t, longest, time.Hour)
		require.Greater(t, longest-shortest, time.Minute)
	})
}

func TestConditionsDecideWhetherAWriteIsDone(t *testing.T) {
	c := newStore(t).node()
	ctx := t.Context()

	_, err := c.Set(ctx, "k", []byte("a"), cache.IfPresent())
	requireCode(t, cache.ErrConflict, err)
	first, err := c.Set(ctx, "k", []byte("a"), cache.IfAbsent())
	require.NoError(t, err)
	_, err = c.Set(ctx, "k", []byte("b"), cache.IfAbsent())
	requireCode(t, cache.ErrConflict, err)
	second, err := c.Set(ctx, "k", []byte("b"), cache.IfRevision(first))
	require.NoError(t, err)
	_, err = c.Set(ctx, "k", []byte("c"), cache.IfRevision(first))
	requireCode(t, cache.ErrConflict, err)
	_, err = c.Delete(ctx, "k", cache.IfRevision(first))
	requireCode(t, cache.ErrConflict, err)
	existed, err := c.Delete(ctx, "k", cache.IfRevision(second))
	require.NoError(t, err)
	require.True(t, existed)
	_, err = c.Delete(ctx, "k", cache.IfAbsent())
	requireCode(t, fault.Invalid, err)
}

func TestManyKeysHaveAResultEach(t *testing.T) {
	c := newStore(t).node()
	ctx := t.Context()
	_, err := c.Set(ctx, "there", []byte("x"))
	require.NoError(t, err)

	written, err := c.SetMany(ctx, []cache.Write{
		{Key: "a", Value: []byte("1"), Flags: 3},
		{Key: "there", If: cache.IfAbsent()},
		{Key: "", Value: []byte("no name")},
		{Key: "b", Value: []byte{}},
	})
	require.NoError(t, err)
	require.NoError(t, written[0].Err)
	requireCode(t, cache.ErrConflict, written[1].Err)
	requireCode(t, fault.Invalid, written[2].Err)
	require.NoError(t, written[3].Err)

	got, err := c.GetMany(ctx, []string{"b", "gone", "a"})
	require.NoError(t, err)
	require.True(t, got[0].Found)
	require.NotNil(t, got[0].Entry.Value)
	require.False(t, got[1].Found)
	require.NoError(t, got[1].Err)
	require.Equal(t, "1", string(got[2].Entry.Value))
	require.EqualValues(t, 3, got[2].Entry.Flags)
	require.Equal(t, written[0].Revision, got[2].Entry.Revision)

	touched, err := c.TouchMany(ctx, []string{"a", "gone"}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, touched[0].Err)
	requireCode(t, cache.ErrNotFound, touched[1].Err)
	sums, err := c.AddMany(ctx, []cache.Increment{{Key: "n", Delta: 2}, {Key: "n", Delta: 3}, {Key: "b", Delta: 1}})
	require.NoError(t, err)
	require.EqualValues(t, 5, sums[1].Value)
	requireCode(t, fault.Invalid, sums[2].Err)
	removed, err := c.DeleteMany(ctx, []string{"a", "gone"})
	require.NoError(t, err)
	require.True(t, removed[0].Existed)
	require.False(t, removed[1].Existed)
}

func TestManyKeysAreSplitIntoBatchesOfTheTransport(t *testing.T) {
	c, link := newStore(t).faulty()
	most := c.Capabilities().MaxBatch
	keys := make([]string, most+1)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	_, err := c.Set(t.Context(), keys[most], []byte("last"))
	require.NoError(t, err)

	got, err := c.GetMany(t.Context(), keys)

	require.NoError(t, err)
	require.Len(t, got, most+1)
	require.Equal(t, "last", string(got[most].Entry.Value))
	require.EqualValues(t, 2, link.count("get"))
}

func TestAFailedCallIsInEachResultAndBesideThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		link.cut()

		got, err := c.GetMany(t.Context(), []string{"a", "b"})

		requireCode(t, fault.Unavailable, err)
		require.Len(t, got, 2)
		requireCode(t, fault.Unavailable, got[1].Err)
		require.Contains(t, got[1].Err.Error(), `"b"`)
	})
}

func TestOnlyHarmlessCallsAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		ctx := t.Context()
		link.cut()

		_, err := c.Get(ctx, "k")
		requireCode(t, fault.Unavailable, err)
		require.EqualValues(t, 3, link.count("get"))
		_, err = c.Set(ctx, "k", nil)
		requireCode(t, fault.Unavailable, err)
		require.EqualValues(t, 3, link.count("set"))
		_, err = c.Set(ctx, "k", nil, cache.IfAbsent())
		requireCode(t, fault.Unavailable, err)
		require.EqualValues(t, 4, link.count("set"), "a repeat would meet what the first had written")
		_, err = c.Add(ctx, "n", 1)
		requireCode(t, fault.Unavailable, err)
		require.EqualValues(t, 1, link.count("add"))
		_, err = c.Delete(ctx, "k")
		requireCode(t, fault.Unavailable, err)
		require.EqualValues(t, 1, link.count("delete"))
		_, err = c.Size(ctx, "")
		requireCode(t, fault.Unavailable, err)
		require.EqualValues(t, 3, link.count("keys"))
	})
}

func TestAReadSurvivesAShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		_, err := c.Set(t.Context(), "k", []byte("v"))
		require.NoError(t, err)
		link.cut()
		go func() {
			time.Sleep(50 * time.Millisecond)
			link.heal()
		}()

		entry, err := c.Get(t.Context(), "k")

		require.NoError(t, err)
		require.Equal(t, "v", string(entry.Value))
	})
}

func TestARepeatEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		link.cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()

		_, err := c.Get(ctx, "k")

		requireCode(t, fault.DeadlineExceeded, err)
	})
}

func TestACounterCounts(t *testing.T) {
	c := newStore(t).node()
	ctx := t.Context()

	n, err := c.Count(ctx, "n")
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = c.Add(ctx, "n", 40, cache.TTL(time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, 40, n)
	n, err = c.Add(ctx, "n", -41)
	require.NoError(t, err)
	require.EqualValues(t, -1, n)
	n, err = c.Count(ctx, "n")
	require.NoError(t, err)
	require.EqualValues(t, -1, n)
	_, err = c.Set(ctx, "max", fmt.Append(nil, math.MaxInt64))
	require.NoError(t, err)
	_, err = c.Add(ctx, "max", 1)
	requireCode(t, fault.Exhausted, err)
	_, err = c.Set(ctx, "text", []byte("x"))
	require.NoError(t, err)
	_, err = c.Count(ctx, "text")
	requireCode(t, fault.Corrupt, err)
}

func TestKeysAreListedCountedAndClearedByPrefix(t *testing.T) {
	c := newStore(t).node()
	ctx := t.Context()
	var want []string
	for i := range 2500 {
		want = append(want, fmt.Sprintf("user:%d", i))
	}
	writes := make([]cache.Write, 0, len(want))
	for _, key := range append([]string{"use", "other"}, want...) {
		writes = append(writes, cache.Write{Key: key})
	}
	_, err := c.SetMany(ctx, writes)
	require.NoError(t, err)

	require.ElementsMatch(t, want, collect(t, c.Keys(ctx, "user:")))
	size, err := c.Size(ctx, "user:")
	require.NoError(t, err)
	require.Equal(t, 2500, size)
	removed, err := c.Clear(ctx, "user:")
	require.NoError(t, err)
	require.Equal(t, 2500, removed)
	require.ElementsMatch(t, []string{"use", "other"}, collect(t, c.Keys(ctx, "")))
	for range c.Keys(ctx, "") {
		break // a listing may be left early
	}
}

func TestClearRespectsLocksWhenAsked(t *testing.T) {
	s := newStore(t)
	c, other := s.node(), s.node()
	ctx := t.Context()
	for _, key := range []string{"a", "b"} {
		_, err := c.Set(ctx, key, nil)
		require.NoError(t, err)
	}
	lock, err := other.Lock(ctx, "a")
	require.NoError(t, err)

	removed, err := c.Clear(ctx, "", cache.RespectLock())
	require.Equal(t, 1, removed)
	requireCode(t, cache.ErrLocked, err)
	_, err = c.Clear(ctx, "", cache.Under(lock))
	requireCode(t, fault.Invalid, err)
}

func TestAnOptionThatDoesNotApplyIsInvalid(t *testing.T) {
	s := newStore(t)
	c := s.node()
	ctx := t.Context()
	lock, err := c.Lock(ctx, "lock")
	require.NoError(t, err)

	for name, call := range map[string]func() error{
		"TTL for Get":             func() error { _, err := c.Get(ctx, "k", cache.TTL(second)); return err },
		"condition for Get":       func() error { _, err := c.Get(ctx, "k", cache.IfAbsent()); return err },
		"expiry for Set":          func() error { _, err := c.Set(ctx, "k", nil, cache.WithExpiry()); return err },
		"condition for Add":       func() error { _, err := c.Add(ctx, "k", 1, cache.IfAbsent()); return err },
		"guard for Lock":          func() error { _, err := c.Lock(ctx, "k", cache.RespectLock()); return err },
		"nil option":              func() error { _, err := c.Get(ctx, "k", nil); return err },
		"nil lock":                func() error { _, err := c.Get(ctx, "k", cache.Under(nil)); return err },
		"another key's lock":      func() error { _, err := c.Get(ctx, "k", cache.Under(lock)); return err },
		"another key's lock, too": func() error { _, err := c.GetMany(ctx, []string{"lock", "k"}, cache.Under(lock)); return err },
		"jitter of 1":             func() error { _, err := c.Set(ctx, "k", nil, cache.TTL(second), cache.Jitter(1)); return err },
		"negative jitter":         func() error { _, err := c.Set(ctx, "k", nil, cache.TTL(second), cache.Jitter(-0.1)); return err },
		"NaN jitter":              func() error { _, err := c.Set(ctx, "k", nil, cache.Jitter(math.NaN())); return err },
		"negative TTL":            func() error { _, err := c.Set(ctx, "k", nil, cache.TTL(-1)); return err },
		"empty key":               func() error { _, err := c.Get(ctx, ""); return err },
		"flag of absence": func() error {
			_, err := c.SetMany(ctx, []cache.Write{{Key: "k", Flags: cache.AbsenceFlag}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { requireCode(t, fault.Invalid, call()) })
	}
}

// everyCall is each method once.
func everyCall(ctx context.Context, c *cache.Cache) map[string]func() error {
	ended := func(n int, err error) error { return err }
	return map[string]func() error{
		"Get":        func() error { _, err := c.Get(ctx, "k"); return err },
		"GetMany":    func() error { _, err := c.GetMany(ctx, []string{"k"}); return err },
		"Set":        func() error { _, err := c.Set(ctx, "k", nil); return err },
		"SetMany":    func() error { _, err := c.SetMany(ctx, []cache.Write{{Key: "k"}}); return err },
		"Delete":     func() error { _, err := c.Delete(ctx, "k"); return err },
		"DeleteMany": func() error { _, err := c.DeleteMany(ctx, []string{"k"}); return err },
		"Touch":      func() error { return c.Touch(ctx, "k", 0) },
		"TouchMany":  func() error { _, err := c.TouchMany(ctx, []string{"k"}, 0); return err },
		"Add":        func() error { _, err := c.Add(ctx, "n", 1); return err },
		"AddMany":    func() error { _, err := c.AddMany(ctx, []cache.Increment{{Key: "n"}}); return err },
		"Count":      func() error { _, err := c.Count(ctx, "n"); return err },
		"Load": func() error {
			_, err := c.Load(ctx, "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return nil, nil })
			return err
		},
		"Size":       func() error { return ended(c.Size(ctx, "")) },
		"Clear":      func() error { return ended(c.Clear(ctx, "")) },
		"Keys":       func() error { return first(c.Keys(ctx, "")) },
		"Lock":       func() error { _, err := c.Lock(ctx, "l"); return err },
		"TryLock":    func() error { _, err := c.TryLock(ctx, "l"); return err },
		"WithLock":   func() error { return c.WithLock(ctx, "l", func(context.Context) error { return nil }) },
		"Locks":      func() error { return first(c.Locks(ctx, "")) },
		"Push":       func() error { return ended(c.Push(ctx, "l", [][]byte{nil})) },
		"PushFront":  func() error { return ended(c.PushFront(ctx, "l", [][]byte{nil})) },
		"Pop":        func() error { _, err := c.Pop(ctx, "l", 1); return err },
		"PopBack":    func() error { _, err := c.PopBack(ctx, "l", 1); return err },
		"Range":      func() error { _, err := c.Range(ctx, "l", 0, 1); return err },
		"Length":     func() error { return ended(c.Length(ctx, "l")) },
		"Drop":       func() error { _, err := c.Drop(ctx, "l"); return err },
		"Lists":      func() error { return first(c.Lists(ctx, "")) },
		"ClearLists": func() error { return ended(c.ClearLists(ctx, "")) },
		"Watch":      func() error { _, err := c.Watch(ctx, "", func([]cache.Change) {}); return err },
		"Dump":       func() error { _, err := c.Dump(ctx, &discard{}, cache.DumpOptions{}); return err },
		"Restore":    func() error { _, err := c.Restore(ctx, &discard{}, cache.RestoreOptions{}); return err },
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error)          { return len(p), nil }
func (discard) Read([]byte) (int, error)             { panic("read") }
func (discard) Seek(int64, int) (n int64, err error) { return 0, nil }

func first[T any](seq func(func(T, error) bool)) error {
	for _, err := range seq {
		return err
	}
	return nil
}

func TestEveryCallAfterCloseIsClosed(t *testing.T) {
	c := newStore(t).node()
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())

	for name, call := range everyCall(t.Context(), c) {
		t.Run(name, func(t *testing.T) { requireCode(t, fault.Closed, call()) })
	}
}

func TestWithoutABackendEveryCallIsUnsupported(t *testing.T) {
	c := cache.New(nil, cache.Options{})
	defer c.Close()

	for name, call := range everyCall(t.Context(), c) {
		t.Run(name, func(t *testing.T) { requireCode(t, fault.Unsupported, call()) })
	}
}

func TestAnAbilityThatIsNotOfferedIsUnsupported(t *testing.T) {
	backend := *newStore(t).backend()
	backend.Lists, backend.Watcher, backend.Holders = nil, nil, nil
	c := cache.New(&backend, cache.Options{})
	defer c.Close()
	optional := []string{"Locks", "Push", "PushFront", "Pop", "PopBack", "Range", "Length", "Drop", "Lists", "ClearLists", "Watch"}

	for name, call := range everyCall(t.Context(), c) {
		if slices.Contains(optional, name) {
			requireCode(t, fault.Unsupported, call())
		}
	}
	_, err := c.Dump(t.Context(), discard{}, cache.DumpOptions{})
	require.NoError(t, err, "a dump has the entries then")
}

func TestTheContextEndsCalls(t *testing.T) {
	c := newStore(t).node()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lenient := []string{"Watch"} // its context is for the subscription alone

	for name, call := range everyCall(ctx, c) {
		if slices.Contains(lenient, name) || name == "Restore" {
			continue
		}
		t.Run(name, func(t *testing.T) { requireCode(t, fault.Canceled, call()) })
	}
}
