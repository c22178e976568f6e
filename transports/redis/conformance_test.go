package redis_test

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
)

// TestConformance runs the suite on servers that keep their data, one for each case at a time, with every node behind a
// proxy of its own.
func TestConformance(t *testing.T) {
	t.Parallel()
	pool := testserver.NewPool(func() store {
		clock := testserver.Clock(t)
		return store{server: testserver.Redis(t, servers.RedisOptions{Persist: true, Clock: clock}), clock: clock}
	})

	conformance.Test(t, conformance.Harness{
		New: func(t conformance.T) conformance.Cluster {
			lent := pool.Lend(t)
			t.Cleanup(func() { require.NoError(t, lent.clock.Reset()) })
			return &faulty{store: lent}
		},
		Isolated: true,
		Timing:   conformance.Timing{Case: 2 * time.Minute, Wait: 30 * time.Second, Prompt: 5 * time.Second}, // for busy machines
	}, conformance.Parallel(2))
}

type store struct {
	server *servers.Redis
	clock  *servers.Clock
}

// faulty is a cluster whose server and links can be made to fail.
type faulty struct {
	store

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
	node, err := transports.OpenURL(t.Context(), address.String(), transports.Settings{Namespace: namespace})
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

// Crash takes the node off the store for good, which to the store and to all others is the same as its end.
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
