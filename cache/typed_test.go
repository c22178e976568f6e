package cache_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

type user struct {
	Name string
	Age  int
}

func TestATypedViewReadsWhatItWrote(t *testing.T) {
	c := newStore(t).node()
	users := cache.Typed[user](c, nil)
	ctx := t.Context()

	revision, err := users.Set(ctx, "jo", user{"Jo", 42})
	require.NoError(t, err)
	jo, err := users.Get(ctx, "jo")
	require.NoError(t, err)
	require.Equal(t, user{"Jo", 42}, jo)
	jo, entry, err := users.Entry(ctx, "jo")
	require.NoError(t, err)
	require.Equal(t, user{"Jo", 42}, jo)
	require.Equal(t, revision, entry.Revision)
	require.JSONEq(t, `{"Name":"Jo","Age":42}`, string(entry.Value))
	_, err = users.Set(ctx, "jo", user{}, cache.IfAbsent())
	requireCode(t, cache.ErrConflict, err)
	existed, err := users.Delete(ctx, "jo")
	require.NoError(t, err)
	require.True(t, existed)
	_, err = users.Get(ctx, "jo")
	requireCode(t, cache.ErrNotFound, err)
}

func TestWhatCannotBeDecodedIsCorruptAndNamesItsKey(t *testing.T) {
	c := newStore(t).node()
	users := cache.Typed[user](c, nil)
	ctx := t.Context()
	_, err := c.Set(ctx, "bad", []byte("{"))
	require.NoError(t, err)
	_, err = users.Set(ctx, "good", user{Name: "Jo"})
	require.NoError(t, err)

	_, err = users.Get(ctx, "bad")
	requireCode(t, fault.Corrupt, err)
	require.Contains(t, err.Error(), `"bad"`)
	_, err = users.Load(ctx, "bad", cache.LoadOptions{}, func(context.Context) (user, error) { panic("not called") })
	requireCode(t, fault.Corrupt, err)
	all, err := users.GetMany(ctx, []string{"good", "bad", "none"})
	require.NoError(t, err)
	require.Equal(t, "Jo", all[0].Value.Name)
	requireCode(t, fault.Corrupt, all[1].Err)
	require.False(t, all[2].Found)
	require.NoError(t, all[2].Err)
}

func TestWhatCannotBeEncodedIsInvalidAndNotSent(t *testing.T) {
	c, link := newStore(t).faulty()
	channels := cache.Typed[chan int](c, nil)

	_, err := channels.Set(t.Context(), "k", nil)
	requireCode(t, fault.Invalid, err)
	_, err = channels.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) (chan int, error) { return make(chan int), nil })
	requireCode(t, fault.Invalid, err)
	require.Zero(t, link.count("set"))
}

// fixed is a codec of one's own.
type fixed struct{}

func (fixed) Encode(n uint64) ([]byte, error) { return binary.BigEndian.AppendUint64(nil, n), nil }

func (fixed) Decode(data []byte) (uint64, error) {
	if len(data) != 8 {
		return 0, errors.New("not 8 bytes")
	}
	return binary.BigEndian.Uint64(data), nil
}

func TestATypedLoadUsesItsCodec(t *testing.T) {
	c := newStore(t).node()
	numbers := cache.Typed[uint64](c, fixed{})

	for range 2 {
		n, err := numbers.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) (uint64, error) { return 7, nil })
		require.NoError(t, err)
		require.EqualValues(t, 7, n)
	}
	require.EqualValues(t, 1, c.Stats().Loads)
	_, err := numbers.Load(t.Context(), "none", cache.LoadOptions{}, func(context.Context) (uint64, error) { return 0, cache.ErrNotFound })
	requireCode(t, cache.ErrNotFound, err)
}
