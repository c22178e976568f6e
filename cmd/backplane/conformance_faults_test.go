package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
)

// served makes a shell command that has the test do something, and waits until it is done.
func served(t *testing.T, do func() error) string {
	t.Helper()
	wish := filepath.Join(t.TempDir(), "wish")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if _, err := os.Stat(wish); err == nil {
				if err := do(); err != nil {
					t.Error(err)
				}
				_ = os.Remove(wish)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	return fmt.Sprintf("touch %[1]s && while [ -e %[1]s ]; do sleep 0.01; done", wish)
}

func TestConformanceExercisesFaultsOnRedis(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t, servers.RedisOptions{Persist: true, Password: "se:cr@et"})
	restart := served(t, func() error { server.Kill(); return server.Restart(context.Background()) })

	code, stdout, stderr := invoke(t, "conformance", "--transport", server.URL(), "--faults", "--restart-command", restart,
		"--pause-command", served(t, server.Pause), "--resume-command", served(t, server.Resume),
		"--run", "cache/restart,cache/history,transport/links/health*,transport/store/*pause*,cache/lock/of-a-crashed*", "--require-hooks", "--format", "json", "--slow", "2")

	require.Zero(t, code, stdout, stderr)
	v := decodeVerdict(t, stdout)
	require.Zero(t, v.NotExercised)
	require.Greater(t, v.Passed, 8)
	require.Equal(t, "partial", v.level("cache"))
}

func TestConformanceExercisesFaultsOfEachPart(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "mixed.yaml")
	require.NoError(t, os.WriteFile(config, []byte(`
transports: { store: { url: "`+testserver.Redis(t).URL()+`" }, bus: { url: "`+testserver.NATS(t).URL()+`" } }
use:        { cache: store, queue: store, pubsub: bus, rpc: bus }
`), 0o600))

	code, stdout, stderr := invoke(t, "conformance", "--config", config, "--faults", "--format", "json", "--slow", "2",
		"--run", "cache/counter/a-cut*,queue/history,pubsub/links/*cut*,transport/links/work-again-after-a-cut")

	require.Zero(t, code, stdout, stderr)
	v := decodeVerdict(t, stdout)
	require.Greater(t, v.Passed, 5)
	for _, c := range v.Cases {
		require.True(t, c.Result != "not-exercised" || strings.HasSuffix(c.Reason, "restart") || strings.HasSuffix(c.Reason, "pause"), "%s: %s", c.Name, c.Reason)
	}
}

func TestARestartCommandThatFailsIsTold(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)

	code, stdout, _ := invoke(t, "conformance", "--transport", server.URL(), "--restart-command", "echo no such container >&2; exit 3", "--run", "cache/restart/lifetimes-go-on")

	require.Equal(t, exitFailed, code)
	require.Contains(t, stdout, "the harness could not restart the store")
	require.Contains(t, stdout, "exit status 3: no such container")
}

func TestALinkKeepsAllButTheAddress(t *testing.T) {
	t.Parallel()
	proxy, err := servers.StartProxy("127.0.0.1:1")
	require.NoError(t, err)
	defer proxy.Close()
	through := func(s transports.Settings) transports.Settings {
		l, err := linkOf(s)
		require.NoError(t, err)
		return l.by(proxy, s)
	}

	redis := through(transports.Settings{URL: "rediss://u:p%40@store.example/3?pool_size=2", Options: map[string]any{"attempts": 1}})
	require.Equal(t, "rediss://u:p%40@"+proxy.Addr()+"/3?pool_size=2", redis.URL)
	require.Equal(t, map[string]any{"attempts": 1, "tls_server_name": "store.example"}, redis.Options, "the certificate is the store's")

	nats := through(transports.Settings{URL: "nats://bus.example"})
	require.Equal(t, map[string]any{"discover": false}, nats.Options, "past the proxy there is no fault")
	named := through(transports.Settings{URL: "tls://10.0.0.1:4222", Options: map[string]any{"tls_server_name": "bus"}})
	require.Equal(t, "bus", named.Options["tls_server_name"])

	for _, address := range []string{"memory:", "unix:///run/redis.sock", "nats://a,b", "mine://h", "", "nats-embedded:"} {
		_, err := linkOf(transports.Settings{URL: address})
		require.Error(t, err, address)
	}
	_, err = linkOf(transports.Settings{URL: "redis://:secret@h", Options: map[string]any{"address": "elsewhere:1"}})
	require.False(t, strings.Contains(err.Error(), "secret"), "%v", err)
}
