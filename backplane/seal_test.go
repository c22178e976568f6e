package backplane_test

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/internal/envelope"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

// wiretap is a transport's connection past the nodes: whoever may use the store has one.
func wiretap(t *testing.T, url, cluster string) *pubsub.Backend {
	t.Helper()
	tr, err := transports.Open(t.Context(), transports.Settings{URL: url, Namespace: cluster})
	require.NoError(t, err)
	t.Cleanup(func() { _ = tr.Close() })
	return tr.PubSub()
}

func TestSignedMessagesOfANodeAreBelievedAndNoOthers(t *testing.T) {
	for name, url := range map[string]string{"memory": "memory:" + t.Name(), "redis": testserver.Shared(t).URL()} {
		t.Run(name, func(t *testing.T) { onlySignedAreBelieved(t, url, false) })
		t.Run(name+", secret", func(t *testing.T) { onlySignedAreBelieved(t, url, true) })
	}
}

func onlySignedAreBelieved(t *testing.T, url string, secret bool) {
	key, cluster := envelope.NewKey(), testserver.Namespace(t)
	config := func(name string, change func(*backplane.ClusterConfig)) backplane.Config {
		c := backplane.URL(url)
		c.Node.Name = name
		c.Logger = slog.New(slog.DiscardHandler)
		c.Cluster = backplane.ClusterConfig{Name: cluster, Keys: []string{key}, SignPubSub: true, Secret: secret}
		change(&c.Cluster)
		return c
	}
	a := openConfig(t, config("a", func(*backplane.ClusterConfig) {}))
	b := openConfig(t, config("b", func(*backplane.ClusterConfig) {}))
	plain := openConfig(t, config("plain", func(c *backplane.ClusterConfig) { c.SignPubSub = false }))
	other := openConfig(t, config("other", func(c *backplane.ClusterConfig) { c.Keys = []string{envelope.NewKey()} }))
	stream, err := b.PubSub().Subscribe(t.Context(), "orders")
	require.NoError(t, err)
	overheard, err := plain.PubSub().Subscribe(t.Context(), "orders")
	require.NoError(t, err)
	store := wiretap(t, url, cluster)
	seen := make(chan pubsub.Message, 10)
	tap, err := store.Subscribe(t.Context(), pubsub.Filter{Subject: "orders"}, func(events []pubsub.Event) {
		for _, e := range events {
			seen <- *e.Message
		}
	})
	require.NoError(t, err)
	defer tap.Close()
	publish := func(from *backplane.Node, payload string) pubsub.Message {
		_, err := from.PubSub().Publish(t.Context(), "orders", []byte(payload))
		require.NoError(t, err)
		return <-seen
	}

	first := publish(a, "ship 1")
	require.Equal(t, !secret, bytes.Contains(first.Payload, []byte("ship 1")))
	publish(plain, "ship 2")
	publish(other, "ship 3")
	forged := first
	forged.Payload = bytes.Clone(first.Payload)
	forged.Payload[len(forged.Payload)-1]++
	_, err = store.Publish(t.Context(), []pubsub.Message{first, forged, {Subject: "orders", Payload: []byte("ship 4")}})
	require.NoError(t, err)
	publish(a, "ship 5")

	require.Equal(t, []string{"ship 1", "ship 5"}, read(t, stream, 2))
	stats := stream.Stats()
	require.EqualValues(t, 4, stats.Refused)
	require.EqualValues(t, 1, stats.Duplicates, "the repeat")
	require.Equal(t, []string{"ship 1", "ship 2", "ship 4", "ship 5"}, read(t, overheard, 4), "who does not sign takes both")
}

func read(t *testing.T, s *pubsub.Stream, n int) []string {
	t.Helper()
	var all []string
	for range n {
		e, err := s.Next(t.Context())
		require.NoError(t, err)
		all = append(all, string(e.Message.Payload))
	}
	return all
}

func TestTheSealsKeysAreTheClustersOwn(t *testing.T) {
	url, key := "memory:"+t.Name(), envelope.NewKey()
	open := func(cluster string) *pubsub.PubSub {
		c := backplane.URL(url)
		c.Logger = slog.New(slog.DiscardHandler)
		c.Cluster = backplane.ClusterConfig{Name: cluster, Keys: []string{key}, SignPubSub: true}
		return openConfig(t, c).PubSub()
	}
	shop, staging := open("shop"), open("staging")
	seen := make(chan pubsub.Message, 1)
	tap, err := wiretap(t, url, "shop").Subscribe(t.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) { seen <- *events[0].Message })
	require.NoError(t, err)
	defer tap.Close()
	stream, err := staging.Subscribe(t.Context(), "s")
	require.NoError(t, err)

	_, err = shop.Publish(t.Context(), "s", []byte("of the shop"))
	require.NoError(t, err)
	_, err = wiretap(t, url, "staging").Publish(t.Context(), []pubsub.Message{<-seen})
	require.NoError(t, err)
	_, err = staging.Publish(t.Context(), "s", []byte("our own"))
	require.NoError(t, err)

	require.Equal(t, []string{"our own"}, read(t, stream, 1))
	require.EqualValues(t, 1, stream.Stats().Refused)
}
