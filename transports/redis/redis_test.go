package redis_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/redis"
)

// openURL opens a node on a server, in a namespace, until the test ends.
func openURL(t testing.TB, url, namespace string) *redis.Transport {
	t.Helper()
	opened, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: namespace})
	require.NoError(t, err)
	node := opened.(*redis.Transport)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

// open opens a node on the shared server in a namespace of its own.
func open(t testing.TB) *redis.Transport {
	t.Helper()
	return openURL(t, testserver.Shared(t).URL(), testserver.Namespace(t))
}

// plain is a client without any of ours, for a look at what the server holds.
func plain(t testing.TB, url string) *client.Client {
	t.Helper()
	options, err := client.ParseURL(url)
	require.NoError(t, err)
	c := client.NewClient(options)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// one unwraps the answer of a call with one element.
func one[A any](t require.TestingT, answers []A, err error) A {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	require.NoError(t, err)
	require.Len(t, answers, 1)
	return answers[0]
}

func requireCode(t require.TestingT, want fault.Code, err error) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	require.Error(t, err)
	require.Equal(t, want, fault.CodeOf(err), err.Error())
}

func TestClosedTransportAnswersClosed(t *testing.T) {
	node := open(t)
	require.NoError(t, node.Health(t.Context()))

	require.NoError(t, node.Close())
	require.NoError(t, node.Close())

	ctx := context.Background()
	requireCode(t, fault.Closed, node.Health(ctx))
	_, err := node.Cache().Get(ctx, nil)
	requireCode(t, fault.Closed, err)
	_, err = node.Cache().Keys(ctx, cache.Page{})
	requireCode(t, fault.Closed, err)
}

func TestCloseEndsAWaitForALock(t *testing.T) {
	server := plain(t, testserver.Shared(t).URL())
	ns := testserver.Namespace(t)
	node := openURL(t, testserver.Shared(t).URL(), ns)
	require.NoError(t, acquire(t, node, cache.Claim{Lock: "k", Holder: "a", TTL: time.Minute}).Err)
	ended := make(chan error, 1)
	go func() {
		_, err := node.Cache().Acquire(context.Background(), []cache.Claim{{Lock: "k", Holder: "b", TTL: time.Minute, Wait: time.Hour}})
		ended <- err
	}()
	eventually(t, "the waiter waits", func() bool { return isAwaited(t, server, ns, "k") })

	require.NoError(t, node.Close())

	requireCode(t, fault.Closed, <-ended)
}

func TestApplicationsOwnClientStaysOpen(t *testing.T) {
	c := plain(t, testserver.Shared(t).URL())
	node, err := redis.New(t.Context(), c, transports.Settings{Namespace: testserver.Namespace(t)})
	require.NoError(t, err)
	require.NoError(t, node.Health(t.Context()))

	require.NoError(t, node.Close())

	require.NoError(t, c.Ping(t.Context()).Err())
	_, err = redis.New(t.Context(), c, transports.Settings{Namespace: "a:b"})
	requireCode(t, fault.Invalid, err)
	_, err = redis.New(t.Context(), nil, transports.Settings{Namespace: "a"})
	requireCode(t, fault.Invalid, err)
}

func TestEraseRemovesItsNamespaceAndNoOther(t *testing.T) {
	server := testserver.Redis(t, servers.RedisOptions{})
	store := plain(t, server.URL())
	fill := func(ns string, entries int) *redis.Transport {
		node := openURL(t, server.URL(), ns)
		for i := range entries {
			set(t, node, cache.Write{Key: fmt.Sprintf("bp:shop:%d", i), TTL: time.Hour})
		}
		require.NoError(t, acquire(t, node, cache.Claim{Lock: "l", Holder: "a", TTL: time.Minute}).Err)
		receipts, err := node.Queue().Enqueue(t.Context(), []queue.Task{{ID: "t", Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1, UniqueKey: "u"}})
		require.NoError(t, one(t, receipts, err).Err)
		return node
	}
	fill("shopping", 3)
	others := store.DBSize(t.Context()).Val()
	shop := fill("shop", 2500)
	require.Greater(t, store.DBSize(t.Context()).Val(), others+2500)

	require.NoError(t, shop.Erase(t.Context()))

	require.Equal(t, others, store.DBSize(t.Context()).Val(), store.Keys(t.Context(), "*").Val())
	require.NoError(t, shop.Erase(t.Context()), "nothing is there")
}

func TestAServerThatIsBackIsFoundAtOnce(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server := testserver.Redis(t, servers.RedisOptions{})
	opened, err := transports.OpenURL(t.Context(), server.URL()+"?pool_size=1", transports.Settings{Namespace: "n"})
	require.NoError(t, err)
	defer func() {
		server.Kill()
		requireCode(t, fault.Unavailable, opened.Health(t.Context()))
		require.NoError(t, opened.Close())
		goleak.VerifyNone(t, before)
	}()
	large := make([]byte, 1<<20) // goes over the other pool
	lone := func() error { return opened.Health(t.Context()) }
	heavy := func() error {
		_, err := opened.Cache().Driver.Set(t.Context(), []cache.Write{{Key: "k", Value: large}})
		return err
	}
	require.NoError(t, errors.Join(lone(), heavy()))

	for range 3 {
		server.Kill()
		for range 3 {
			for _, err := range []error{lone(), heavy()} {
				requireCode(t, fault.Unavailable, err)
			}
		}
		require.True(t, fault.IsRetryable(lone()), "nothing was sent")
		require.NoError(t, server.Restart(t.Context()))

		require.NoError(t, lone())
		require.NoError(t, heavy())
	}
}
