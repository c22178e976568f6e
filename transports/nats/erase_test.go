package nats_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

func TestEraseRemovesItsNamespaceAndNoOther(t *testing.T) {
	server := testserver.NATS(t)
	operator := streamsOf(t, server)
	fill := func(namespace string) transports.Transport {
		node := openQueue(t, t.Context(), server, namespace)
		written, err := node.Cache().Set(t.Context(), []cache.Write{{Key: "k", Value: []byte(namespace)}})
		require.NoError(t, err)
		require.NoError(t, written[0].Err)
		leases, err := node.Cache().Acquire(t.Context(), []cache.Claim{{Lock: "l", Holder: "h", TTL: time.Hour}})
		require.NoError(t, err)
		require.NoError(t, leases[0].Err)
		receipts, err := node.Queue().Enqueue(t.Context(), []queue.Task{{ID: "t", Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1, UniqueKey: "u"}})
		require.NoError(t, err)
		require.NoError(t, receipts[0].Err)
		return node
	}
	streams := func() []string {
		var names []string
		for name := range operator.StreamNames(t.Context()).Name() {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	other := fill("shopping")
	others := streams()
	shop := fill("shop")
	require.Greater(t, len(streams()), len(others))

	require.NoError(t, shop.(transports.Eraser).Erase(t.Context()))

	require.Equal(t, others, streams())
	require.NoError(t, shop.(transports.Eraser).Erase(t.Context()), "nothing is there")
	got, err := other.Cache().Get(t.Context(), []cache.Read{{Key: "k"}})
	require.NoError(t, err)
	require.Equal(t, "shopping", string(got[0].Entry.Value))
	require.NoError(t, shop.Close())
	require.ErrorIs(t, shop.(transports.Eraser).Erase(t.Context()), fault.Closed)
}

func TestEraseHasNothingToDoWithoutJetStream(t *testing.T) {
	server := testserver.NATS(t, servers.NATSOptions{NoJetStream: true})
	node := openURL(t, server.URL(), nil)

	require.NoError(t, node.(transports.Eraser).Erase(t.Context()))
}
