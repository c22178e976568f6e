package plugin_test

import (
	"bytes"
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// busy is for machines that are.
var busy = conformance.Timing{Case: 3 * time.Minute, Wait: time.Minute, Prompt: 20 * time.Second}

// TestConformanceOfMemory runs the suite on the memory of a plugin's process, which all nodes share.
func TestConformanceOfMemory(t *testing.T) {
	t.Parallel()
	conform(t, start(t, "memory"), transports.Settings{}, "")
}

// TestConformanceOfRedis runs it on a driver that has a store and links of its own. What happens to these is the same to a
// node whether the driver is linked in or not, and is tested below.
func TestConformanceOfRedis(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t, servers.RedisOptions{})
	conform(t, start(t, "redis"), transports.Settings{URL: server.URL()}, "")
}

// TestConformanceOfRPC runs it on a plugin that has an RPC of its own, which memory and Redis have not.
func TestConformanceOfRPC(t *testing.T) {
	t.Parallel()
	p := start(t, "rpc")
	require.NotNil(t, open(t, p).RPC())
	conform(t, p, transports.Settings{}, "rpc/")
}

// conform runs all cases that need no hook, and whose name begins with prefix.
func conform(t *testing.T, p *plugin.Program, s transports.Settings, prefix string) {
	t.Helper()
	harness := conformance.OfFunc(func(ctx context.Context, namespace string) (transports.Transport, error) {
		here := s
		here.Namespace = namespace
		return p.Open(ctx, here)
	})
	harness.Timing = busy
	without, _ := cases(prefix)

	report := conformance.Run(t.Context(), harness, conformance.Parallel(8), conformance.Match(without))

	report.Transport = t.Name()
	var text bytes.Buffer
	require.NoError(t, report.WriteText(&text))
	require.True(t, report.OK(), text.String())
	require.Zero(t, report.Count(conformance.NotExercised))
	t.Logf("%d passed, %d refused", report.Count(conformance.Pass), report.Count(conformance.Refused))
}

// TestConformanceOfRedisUnderFaults runs the cases that do something to the store or to a node's link, which is a proxy
// between the plugin and the server.
func TestConformanceOfRedisUnderFaults(t *testing.T) {
	t.Parallel()
	clock := testserver.Clock(t)
	server := testserver.Redis(t, servers.RedisOptions{Persist: true, Clock: clock})
	p := start(t, "redis")
	_, with := cases("")

	conformance.Test(t, conformance.Harness{
		New: func(t conformance.T) conformance.Cluster {
			t.Cleanup(func() { require.NoError(t, clock.Reset()) })
			return &faulty{plugin: p, server: server, clock: clock}
		},
		Timing: conformance.Timing{Case: 2 * time.Minute, Wait: 30 * time.Second, Prompt: 5 * time.Second}, // for busy machines
	}, conformance.Match(with), conformance.RequireHooks())
}

// cases are the names with a prefix of those that need no hook, and of those that do, as conformance.Match takes them.
func cases(prefix string) (without, with string) {
	var all [2][]string
	for _, c := range conformance.All() {
		if !strings.HasPrefix(c.Name, prefix) {
			continue
		}
		i := min(len(c.Hooks), 1)
		all[i] = append(all[i], c.Name)
	}
	return strings.Join(all[0], ","), strings.Join(all[1], ",")
}

// faulty is a cluster whose server and links can be made to fail.
type faulty struct {
	plugin *plugin.Program
	server *servers.Redis
	clock  *servers.Clock

	mu    sync.Mutex
	links []*servers.Proxy // by node
}

func (f *faulty) Open(t conformance.T, namespace string) transports.Transport {
	link, err := servers.StartProxy(f.server.Addr())
	require.NoError(t, err)
	t.Cleanup(link.Close)
	f.mu.Lock()
	f.links = append(f.links, link)
	f.mu.Unlock()

	address, err := url.Parse(f.server.URL())
	require.NoError(t, err)
	address.Host = link.Addr()
	node, err := f.plugin.Open(t.Context(), transports.Settings{Namespace: namespace, URL: address.String()})
	require.NoError(t, err)
	return node
}

func (f *faulty) link(node int) *servers.Proxy {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.links[node]
}

func (f *faulty) Restart(ctx context.Context) error {
	f.server.Kill() // without a goodbye: what it has acknowledged is on the disk
	return f.server.Restart(ctx)
}

func (f *faulty) Partition(_ context.Context, node int) (heal func(), err error) {
	link := f.link(node)
	link.Swallow(true)
	return func() { link.Swallow(false) }, nil
}

func (f *faulty) Cut(_ context.Context, node int) error {
	f.link(node).Cut()
	return nil
}

func (f *faulty) Crash(_ context.Context, node int) error {
	link := f.link(node)
	link.Refuse(true)
	link.Cut()
	return nil
}

func (f *faulty) Pause(context.Context) (resume func(), err error) {
	if err := f.server.Pause(); err != nil {
		return nil, err
	}
	return func() { _ = f.server.Resume() }, nil
}

func (f *faulty) AdvanceClock(d time.Duration) {
	if err := f.clock.Advance(d); err != nil {
		panic(err)
	}
}
