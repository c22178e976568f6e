package cache_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func TestAWatchSeesTheChangesOfOthersUntilItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c, other := s.node(), s.node()
		ctx := t.Context()
		changes := make(chan cache.Change, 100)
		deliver := func(some []cache.Change) {
			for _, change := range some {
				changes <- change
			}
		}
		w, err := c.Watch(ctx, "user:", deliver)
		require.NoError(t, err)

		_, err = other.Set(ctx, "user:1", nil)
		require.NoError(t, err)
		_, err = other.Set(ctx, "other", nil)
		require.NoError(t, err)
		require.Equal(t, cache.Change{Key: "user:1"}, <-changes)
		_, err = other.Delete(ctx, "user:1")
		require.NoError(t, err)
		require.Equal(t, cache.Change{Key: "user:1", Deleted: true}, <-changes)

		require.NoError(t, w.Close())
		require.NoError(t, w.Close())
		_, err = other.Set(ctx, "user:1", nil)
		require.NoError(t, err)
		synctest.Wait()
		require.Empty(t, changes)
		_, err = c.Watch(ctx, "", nil)
		requireCode(t, fault.Invalid, err)
	})
}

func TestCloseEndsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c, other := s.node(), s.node()
		changes := make(chan []cache.Change, 100)
		_, err := c.Watch(t.Context(), "", func(some []cache.Change) { changes <- some })
		require.NoError(t, err)

		require.NoError(t, c.Close())
		synctest.Wait()
		_, err = other.Set(t.Context(), "k", nil)
		require.NoError(t, err)
		synctest.Wait()

		require.Empty(t, changes)
	})
}
