package memory_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
)

func TestAWatchSeesTheChangesUnderItsPrefixAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		a, b := pair[0].Cache(), pair[1].Cache()
		var seen []cache.Change
		w, err := b.Watcher.Watch(background, "user:", func(changes []cache.Change) { seen = append(seen, changes...) })
		require.NoError(t, err)

		set(t, a, cache.Write{Key: "user:1", TTL: time.Second})
		set(t, a, cache.Write{Key: "user:1", If: cache.IfAbsent()})
		set(t, a, cache.Write{Key: "users"})
		_, err = a.Touch(background, []cache.Lifetime{{Key: "user:1", TTL: time.Minute}, {Key: "user:2"}})
		require.NoError(t, err)
		_, err = a.Add(background, []cache.Increment{{Key: "user:n", Delta: 1, TTL: time.Second}})
		require.NoError(t, err)
		_, err = b.Delete(background, []cache.Removal{{Key: "user:1"}, {Key: "user:2"}})
		require.NoError(t, err)
		_, err = a.Lists.Push(background, []cache.Push{{List: "user:l", Values: [][]byte{nil}}})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		get(t, a, "user:n") // it has expired, which is not a change
		synctest.Wait()
		require.NoError(t, w.Close())
		require.NoError(t, w.Close())
		set(t, a, cache.Write{Key: "user:1"})
		synctest.Wait()

		require.Equal(t, []cache.Change{
			{Key: "user:1"}, {Key: "user:1"}, {Key: "user:n"}, {Key: "user:1", Deleted: true},
		}, seen)
	})
}

func TestASlowWatcherIsToldToReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, 1)[0].Cache()
		slow := make(chan struct{})
		var seen []cache.Change
		w, err := c.Watcher.Watch(background, "", func(changes []cache.Change) {
			<-slow
			seen = append(seen, changes...)
		})
		require.NoError(t, err)

		for range 4096 + 10 {
			set(t, c, cache.Write{Key: "k"})
			synctest.Wait()
		}
		close(slow)
		synctest.Wait()
		set(t, c, cache.Write{Key: "last"})
		synctest.Wait()

		require.Contains(t, seen, cache.Change{Resync: true})
		require.Less(t, len(seen), 20)
		require.Equal(t, cache.Change{Key: "last"}, seen[len(seen)-1])
		require.NoError(t, w.Close())
	})
}
