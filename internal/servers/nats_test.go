package servers_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/servers"
)

// What JetStream has acknowledged is there after a restart, and after a kill of a server that syncs.
func TestNATSKeepsWhatItAcknowledged(t *testing.T) {
	for name, o := range map[string]servers.NATSOptions{
		"inside": {}, "process": {Process: true, SyncAlways: true},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := servers.StartNATS(t.Context(), o)
			require.NoError(t, err)
			defer n.Stop()
			nc, err := nats.Connect(n.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
			require.NoError(t, err)
			defer nc.Close()
			js, err := jetstream.New(nc)
			require.NoError(t, err)
			_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}})
			require.NoError(t, err)
			_, err = js.Publish(t.Context(), "s", []byte("kept"))
			require.NoError(t, err)

			n.Kill()
			require.NoError(t, n.Restart(t.Context()))

			require.Eventually(t, func() bool { // a question asked over the link that has just died gets no answer
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				s, err := js.Stream(ctx, "s")
				return err == nil && s.CachedInfo().State.Msgs == 1
			}, 10*time.Second, 5*time.Millisecond)
		})
	}
}

func TestNATSClusterKeepsStreamsOnAllServers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := servers.StartNATSCluster(ctx, 3, servers.NATSOptions{})
	require.NoError(t, err)
	defer c.Stop()

	c.Nodes[0].Kill()
	require.NoError(t, c.Nodes[0].Restart(ctx))

	require.NoError(t, c.Await(ctx))
}

func TestNATSRemovesItsFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	n, err := servers.StartNATS(t.Context(), servers.NATSOptions{})
	require.NoError(t, err)

	n.Stop()
	n.Stop()

	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left)
}
