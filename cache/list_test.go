package cache_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func texts(values [][]byte) []string {
	all := []string{}
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

func TestAListIsAQueueFromBothEnds(t *testing.T) {
	c := newStore(t).node()
	ctx := t.Context()

	n, err := c.Push(ctx, "l", [][]byte{[]byte("c"), []byte("d")})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = c.PushFront(ctx, "l", [][]byte{[]byte("b"), []byte("a")})
	require.NoError(t, err)
	require.Equal(t, 4, n)
	all, err := c.Range(ctx, "l", 1, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"b", "c"}, texts(all))
	popped, err := c.Pop(ctx, "l", 2)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, texts(popped))
	popped, err = c.PopBack(ctx, "l", 9)
	require.NoError(t, err)
	require.Equal(t, []string{"d", "c"}, texts(popped))
	popped, err = c.Pop(ctx, "l", 1)
	require.NoError(t, err)
	require.Empty(t, popped)
	n, err = c.Length(ctx, "l")
	require.NoError(t, err)
	require.Zero(t, n)
	require.Empty(t, collect(t, c.Lists(ctx, "")), "an empty list does not exist")
	_, err = c.Push(ctx, "l", nil)
	requireCode(t, fault.Invalid, err)
	_, err = c.Pop(ctx, "l", 0)
	requireCode(t, fault.Invalid, err)
}

func TestListsAreListedDroppedAndClearedByPrefix(t *testing.T) {
	c := newStore(t).node()
	ctx := t.Context()
	var want []string
	for i := range 1200 {
		name := fmt.Sprint("a", i)
		want = append(want, name)
		_, err := c.Push(ctx, name, [][]byte{nil})
		require.NoError(t, err)
	}
	_, err := c.Push(ctx, "b", [][]byte{nil})
	require.NoError(t, err)

	require.ElementsMatch(t, want, collect(t, c.Lists(ctx, "a")))
	existed, err := c.Drop(ctx, "a0")
	require.NoError(t, err)
	require.True(t, existed)
	dropped, err := c.ClearLists(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, 1199, dropped)
	require.Equal(t, []string{"b"}, collect(t, c.Lists(ctx, "")))
}

func TestAListHasALifetimeAndHeedsGuards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c := s.node()
		ctx := t.Context()
		lock, err := s.node().Lock(ctx, "l")
		require.NoError(t, err)

		_, err = c.Push(ctx, "l", [][]byte{nil}, cache.RespectLock())
		requireCode(t, cache.ErrLocked, err)
		_, err = c.Push(ctx, "l", [][]byte{nil}, cache.Under(lock), cache.TTL(time.Minute))
		require.NoError(t, err)
		_, err = c.Pop(ctx, "l", 1, cache.RespectLock())
		requireCode(t, cache.ErrLocked, err)
		time.Sleep(time.Minute)
		n, err := c.Length(ctx, "l")
		require.NoError(t, err)
		require.Zero(t, n)
	})
}
