package plugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
	"github.com/gobackplane/backplane/transports/plugin"
	"github.com/gobackplane/backplane/transports/redis"
)

// factories are what this binary serves when it is asked to be a plugin: "plugin NAME".
var factories = map[string]transports.Factory{
	"memory": openMemory,
	"redis":  redis.Open,
	"fickle": openFickle,
	"mirror": openMirror,
	"rpc":    openRPC,
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "plugin" {
		if err := plugin.Serve(factories[os.Args[2]]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(testserver.Main(m))
}

func openMemory(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	t, err := memory.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// openFickle opens a memory that offers lists unless a file is there, which option flag names.
func openFickle(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	flag, _ := s.Options["flag"].(string)
	s.Options = nil
	t, err := openMemory(ctx, s)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(flag); err == nil {
		return listless{t}, nil
	}
	return t, nil
}

// listless is a transport without its lists.
type listless struct{ transports.Transport }

func (l listless) Cache() *cache.Backend {
	b := *l.Transport.Cache()
	b.Lists = nil
	return &b
}

// openMirror refuses with the settings that it got.
func openMirror(_ context.Context, s transports.Settings) (transports.Transport, error) {
	options, err := json.Marshal(s.Options)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(mirrored{Namespace: s.Namespace, URL: s.URL, Options: options, Env: os.Getenv("MIRROR")})
	if err != nil {
		return nil, err
	}
	return nil, &fault.Error{Code: fault.PermissionDenied, Message: "mirror: " + string(text)}
}

type mirrored struct {
	Namespace string          `json:"namespace"`
	URL       string          `json:"url"`
	Options   json.RawMessage `json:"options"`
	Env       string          `json:"env"`
}

// openRPC opens a memory that has an RPC of its own.
func openRPC(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	t, err := openMemory(ctx, s)
	if err != nil {
		return nil, err
	}
	return calling{t}, nil
}

type calling struct{ transports.Transport }

func (c calling) RPC() *rpc.Backend { return rpc.FromPubSub(c.Transport.PubSub()) }

func containsAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// slow is a bound that only something broken exceeds.
const slow = time.Minute

// itself is this binary as a plugin.
func itself(factory string) plugin.Config {
	return plugin.Config{Program: os.Args[0], Args: []string{"plugin", factory}, StartTimeout: slow}
}

// start starts this binary as a plugin.
func start(t *testing.T, factory string) *plugin.Program {
	t.Helper()
	p, err := plugin.Start(t.Context(), itself(factory))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	return p
}

// open opens a node in a plugin.
func open(t *testing.T, p *plugin.Program) transports.Transport {
	t.Helper()
	node, err := p.Open(t.Context(), transports.Settings{Namespace: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}
