package rpc_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// onRedis starts a peer at an address.
func onRedis(t *testing.T, addr, namespace, name string) *rpc.Peer {
	t.Helper()
	node, err := transports.OpenURL(background, "redis://"+addr, transports.Settings{Namespace: namespace, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = node.Close() })
	p, err := rpc.New(transports.RPCOf(node), rpc.Options{Name: name, Keys: []string{testKey}, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	require.NoError(t, rpc.Handle(p, "name", func(context.Context, nothing) (string, error) { return name, nil }))
	echo(t, p)
	require.NoError(t, p.Start(background))
	return p
}

func TestOverRedisCallsOfEverySizeAndToEveryTarget(t *testing.T) {
	server, namespace := testserver.Redis(t), testserver.Namespace(t)
	c := &cluster{T: t}
	a, b, d := onRedis(t, server.Addr(), namespace, "a"), onRedis(t, server.Addr(), namespace, "b"), onRedis(t, server.Addr(), namespace, "d")
	c.settle(a, b, d)

	results, err := rpc.Gather[string](background, a, rpc.All(), "name", nothing{})
	require.NoError(t, err)
	require.Len(t, results, 3)
	for _, size := range []int{0, 1, 256 << 10, 300_000, 16 << 20} {
		payload := pattern(size)
		answer, err := a.Call(background, rpc.Node(b.Self().Incarnation), "echo", payload, rpc.Timeout(time.Minute))
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(payload), sha256.Sum256(answer))
	}
	gone := d.Self().Incarnation
	require.NoError(t, d.Close())
	_, err = rpc.Call[string](background, a, rpc.Node(gone), "name", nothing{})
	require.Contains(t, []fault.Code{fault.NodeGone, fault.NoReceiver}, fault.LocalCode(err))
}

func TestBehindALinkThatSwallowedEverythingCallsWorkAgainWithinTenSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes the time that a node is silent before it is dead")
	}
	server, namespace := testserver.Redis(t), testserver.Namespace(t)
	proxy := testserver.NewProxy(t, server.Addr())
	c := &cluster{T: t}
	a, b := onRedis(t, proxy.Addr(), namespace, "a"), onRedis(t, server.Addr(), namespace, "b")
	c.settle(a, b)
	before := a.Self().Incarnation

	proxy.Swallow(true)
	c.eventually(func() bool { return a.Fenced() && len(b.Members()) == 1 }, "a takes itself for dead, and so does b")
	_, err := rpc.Call[string](background, a, rpc.Node(b.Self().Incarnation), "name", nothing{})
	require.Equal(t, fault.Unavailable, fault.LocalCode(err))
	proxy.Swallow(false)
	mended := time.Now()

	to := rpc.Node(b.Self().Incarnation)
	try := func() error {
		_, err := rpc.Call[string](background, a, to, "name", nothing{}, rpc.Timeout(time.Second))
		_, back := rpc.Call[string](background, b, rpc.Node(before), "name", nothing{}, rpc.Timeout(time.Second))
		return errors.Join(err, back)
	}
	for err := try(); err != nil; err = try() {
		require.Less(t, time.Since(mended), 10*time.Second, "%v", err)
		time.Sleep(20 * time.Millisecond)
	}
	require.Positive(t, a.Counters().Gaps)
}
