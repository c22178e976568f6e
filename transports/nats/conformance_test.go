package nats_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
)

var patient = conformance.Timing{Case: 2 * time.Minute, Wait: 30 * time.Second, Prompt: 5 * time.Second} // for busy machines

// TestConformance runs the suite on servers in processes of their own that keep their data, one for each case at a time,
// with every node behind a proxy of its own.
func TestConformance(t *testing.T) {
	t.Parallel()
	pool := testserver.NewPool(func() *servers.NATS {
		return testserver.NATS(t, servers.NATSOptions{Process: true, SyncAlways: true})
	})

	conformance.Test(t, conformance.Harness{
		New:      func(t conformance.T) conformance.Cluster { return &faulty{servers: []*servers.NATS{pool.Lend(t)}} },
		Isolated: true,
		Timing:   patient,
	}, conformance.Parallel(2))
}

// TestConformanceOfACluster runs it on three servers that form a cluster, with the nodes spread over them.
func TestConformanceOfACluster(t *testing.T) {
	if !testserver.Required("nats-cluster") {
		t.Skip("skipped: it takes minutes; BACKPLANE_REQUIRE=nats-cluster (make cluster) runs it")
	}
	cluster := testserver.NATSCluster(t, servers.NATSOptions{Process: true})

	conformance.Test(t, conformance.Harness{
		New: func(t conformance.T) conformance.Cluster {
			return &faulty{
				servers: cluster.Nodes, options: map[string]any{"replicas": 3, "storage": "memory"},
				await: cluster.Await, routes: newRoutes(t, cluster.Nodes),
			}
		},
		Timing: patient,
	}, conformance.Parallel(2))
}

// faulty is a cluster whose servers and links can be made to fail. Node i is on server i modulo their number.
type faulty struct {
	servers []*servers.NATS
	options map[string]any
	await   func(context.Context) error // nil for a server alone
	routes  *routes                     // nil for a server alone

	mu    sync.Mutex
	links []*servers.Proxy // by node
}

func (f *faulty) Open(t conformance.T, namespace string) transports.Transport {
	f.mu.Lock()
	at := len(f.links) % len(f.servers)
	server := f.servers[at]
	link, err := servers.StartProxy(server.Addr())
	if err == nil {
		f.links = append(f.links, link)
	}
	f.mu.Unlock()
	require.NoError(t, err)
	t.Cleanup(link.Close)

	options := map[string]any{"discover": false} // past the proxy there is no fault
	for name, value := range f.options {
		options[name] = value
	}
	node, err := transports.OpenURL(t.Context(), server.URLAt(link.Addr()), transports.Settings{Namespace: namespace, Options: options})
	require.NoError(t, err)
	if f.routes != nil {
		return &settled{node, f.routes, at}
	}
	return node
}

func (f *faulty) link(node int) *servers.Proxy {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.links[node]
}

// Restart restarts every server, one after the other, without a goodbye.
func (f *faulty) Restart(ctx context.Context) error {
	for _, server := range f.servers {
		server.Kill()
		if err := server.Restart(ctx); err != nil {
			return err
		}
		if f.await != nil {
			if err := f.await(ctx); err != nil {
				return err
			}
		}
	}
	return nil
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

// Crash takes the node off the store for good, which to the store and to all others is the same as its end.
func (f *faulty) Crash(_ context.Context, node int) error {
	link := f.link(node)
	link.Refuse(true)
	link.Cut()
	return nil
}

func (f *faulty) Pause(context.Context) (resume func(), err error) {
	for _, server := range f.servers {
		if err := server.Pause(); err != nil {
			return nil, err
		}
	}
	return func() {
		for _, server := range f.servers {
			_ = server.Resume()
		}
	}, nil
}
