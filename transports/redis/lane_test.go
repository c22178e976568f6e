package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/redis"
)

func TestScriptsAreLoadedAgainAfterAFlushAndARestart(t *testing.T) {
	server := testserver.Redis(t, servers.RedisOptions{Persist: true})
	node := openURL(t, server.URL(), "n")
	admin := plain(t, server.URL())
	for range 2 {
		sums, err := node.Cache().Add(t.Context(), []cache.Increment{{Key: "a", Delta: 1}, {Key: "b", Delta: 1}, {Key: "a", Delta: 1}})
		require.NoError(t, err)
		for _, s := range sums {
			require.NoError(t, s.Err)
		}
		require.NoError(t, admin.ScriptFlush(t.Context()).Err())
	}
	require.NoError(t, server.Restart(t.Context()))

	require.Equal(t, int64(4), add(t, node, cache.Increment{Key: "a"}).Value)
	require.Equal(t, int64(2), add(t, node, cache.Increment{Key: "b"}).Value)
}

func TestAServerThatTakesNoScriptsSaysSo(t *testing.T) {
	server := testserver.Redis(t)
	require.NoError(t, plain(t, server.URL()).Do(t.Context(), "acl", "setuser", "default", "-script").Err())
	node := openURL(t, server.URL(), "n")

	err := add(t, node, cache.Increment{Key: "a"}).Err

	requireCode(t, fault.PermissionDenied, err)
	require.ErrorContains(t, err, "ACL SETUSER")
}

func TestFirstCallAfterARestartSucceeds(t *testing.T) {
	server := testserver.Redis(t, servers.RedisOptions{Persist: true})
	node := openURL(t, server.URL(), "n")
	for _, ctx := range []context.Context{context.Background(), t.Context()} {
		_, err := node.Cache().Set(ctx, []cache.Write{{Key: "k", Value: []byte("v")}})
		require.NoError(t, err)
		require.NoError(t, server.Restart(t.Context()))

		got, err := node.Cache().Get(ctx, []cache.Read{{Key: "k"}})

		require.Equal(t, "v", string(one(t, got, err).Entry.Value))
	}
}

func TestStoppedServerIsUnavailableUntilItIsBack(t *testing.T) {
	server := testserver.Redis(t, servers.RedisOptions{Persist: true})
	node := openURL(t, server.URL(), "n")
	set(t, node, cache.Write{Key: "k"})
	server.Kill()

	_, err := node.Cache().Set(t.Context(), []cache.Write{{Key: "k"}})
	requireCode(t, fault.Unavailable, err)
	require.Contains(t, err.Error(), server.Addr())
	require.Contains(t, err.Error(), `cache: set "k"`)
	requireCode(t, fault.Unavailable, node.Health(t.Context()))
	require.NoError(t, server.Restart(t.Context()))

	eventually(t, "the server answers again", func() bool { return node.Health(t.Context()) == nil })
	require.True(t, get(t, node, "k").Found)
}

func TestContextEndsACallWhileTheServerHangs(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	t.Run("with a client of ours", func(t *testing.T) { testContextEndsACall(t, server, openURL(t, server.URL(), "n")) })
	t.Run("with an application's client", func(t *testing.T) {
		node, err := redis.New(t.Context(), plain(t, server.URL()), transports.Settings{Namespace: "n"})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Close()) })
		testContextEndsACall(t, server, node)
	})
}

func testContextEndsACall(t *testing.T, server *servers.Redis, node *redis.Transport) {
	set(t, node, cache.Write{Key: "k", Value: []byte("v")})
	require.NoError(t, server.Pause())
	large := bytes.Repeat([]byte{1}, 1<<20)
	calls := map[string]func(context.Context) error{
		"get": func(ctx context.Context) error { _, err := node.Cache().Get(ctx, []cache.Read{{Key: "k"}}); return err },
		"large": func(ctx context.Context) error {
			_, err := node.Cache().Set(ctx, []cache.Write{{Key: "l", Value: large}})
			return err
		},
		"keys":   func(ctx context.Context) error { _, err := node.Cache().Keys(ctx, cache.Page{}); return err },
		"health": node.Health,
	}
	for name, call := range calls {
		ended := make(chan error, 64)
		ctx, cancel := context.WithCancel(t.Context())
		for range cap(ended) {
			go func() { ended <- call(ctx) }()
		}
		time.AfterFunc(20*time.Millisecond, cancel)
		for range cap(ended) {
			select {
			case err := <-ended:
				requireCode(t, fault.Canceled, err)
			case <-time.After(patience):
				t.Fatal(name + " did not end with its context")
			}
		}
	}
	require.NoError(t, server.Resume())

	require.Equal(t, "v", string(get(t, node, "k").Entry.Value))
}

func TestADeadlineIsThatOfItsOwnCallAlone(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	node := openURL(t, server.URL(), "n")
	health := func(within time.Duration) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		began := time.Now()
		err := node.Health(ctx)
		return time.Since(began), err
	}

	for range 3 {
		_, _ = health(100 * time.Millisecond) // leaves its deadline behind, in good time or not
		require.NoError(t, server.Pause())
		took, err := health(400 * time.Millisecond)
		require.NoError(t, server.Resume())

		requireCode(t, fault.DeadlineExceeded, err)
		require.GreaterOrEqual(t, took, 400*time.Millisecond)
		require.NoError(t, node.Health(t.Context()))
	}
}

func TestCloseEndsCallsWhileTheServerHangs(t *testing.T) {
	server := testserver.Redis(t)
	node := openURL(t, server.URL(), "n")
	require.NoError(t, server.Pause())
	ended := make(chan error, 16)
	for i := range cap(ended) {
		ctx := context.Background()
		if i%2 == 0 {
			ctx = t.Context()
		}
		go func() {
			_, err := node.Cache().Get(ctx, []cache.Read{{Key: "k"}})
			ended <- err
		}()
	}
	time.Sleep(20 * time.Millisecond) // some are under way, some may not be: all must end

	require.NoError(t, node.Close())

	for range cap(ended) {
		requireCode(t, fault.Closed, <-ended)
	}
	require.NoError(t, server.Resume())
}

func TestManyCallersGetEachTheirOwnAnswer(t *testing.T) {
	t.Parallel()
	node := open(t)
	var all sync.WaitGroup
	failed := make(chan error, 64)
	for g := range 64 {
		all.Go(func() {
			ctx := context.Background()
			if g%2 == 0 {
				ctx = t.Context()
			}
			for i := range 100 {
				key := fmt.Sprint(g, "-", i%10)
				value := []byte(fmt.Sprint(key, "=", i))
				if g%8 == 0 {
					value = append(value, make([]byte, 100<<10)...) // goes beside the lane
				}
				if _, err := node.Cache().Set(ctx, []cache.Write{{Key: key, Value: value}}); err != nil {
					failed <- err
					return
				}
				got, err := node.Cache().Get(ctx, []cache.Read{{Key: key}})
				if err != nil || !bytes.Equal(got[0].Entry.Value, value) {
					failed <- fmt.Errorf("%s: %v", key, err)
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)

	require.Empty(t, failed)
}

func TestCallersWhoLeaveDisturbNobody(t *testing.T) {
	node := open(t)
	var all sync.WaitGroup
	failed := make(chan error, 64)
	for g := range 64 {
		all.Go(func() {
			for i := range 100 {
				key, value := fmt.Sprint(g), []byte(fmt.Sprint(g, " ", i))
				leaving, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*100*time.Microsecond)
				got, err := node.Cache().Get(leaving, []cache.Read{{Key: key}})
				cancel()
				if err != nil && fault.CodeOf(err) != fault.DeadlineExceeded {
					failed <- err
					return
				}
				if err == nil && i > 0 && string(got[0].Entry.Value) != fmt.Sprint(g, " ", i-1) {
					failed <- fmt.Errorf("caller %d read %q", g, got[0].Entry.Value)
					return
				}
				if _, err := node.Cache().Set(t.Context(), []cache.Write{{Key: key, Value: value}}); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)

	require.Empty(t, failed)
}

func TestSmallCallsPassALargeOne(t *testing.T) {
	server := testserver.Redis(t)
	proxy := testserver.NewProxy(t, server.Addr())
	node := openURL(t, "redis://"+proxy.Addr(), "n")
	set(t, node, cache.Write{Key: "large", Value: make([]byte, 32<<20)})
	large := make(chan time.Time, 1)
	go func() {
		_, _ = node.Cache().Get(context.Background(), []cache.Read{{Key: "large"}})
		large <- time.Now()
	}()

	var small time.Time
	for range 20 {
		require.False(t, get(t, node, "small").Found)
		small = time.Now()
	}

	// No speed is promised, only that the small ones need not wait for the large one; on a slow machine it may be over.
	if end := <-large; end.Before(small) {
		t.Logf("the large value was there %v before the last small answer", small.Sub(end))
	}
}
