//go:build unix

// Package pgsuite runs the conformance suite on a PostgreSQL server with all of its hooks, for the transport that is linked in
// and for the one behind a plugin alike.
package pgsuite

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/examples/transports/postgres/internal/pgtest"
	"github.com/gobackplane/backplane/transports"
)

// Open opens a node.
type Open func(context.Context, transports.Settings) (transports.Transport, error)

// Run runs the suite with every node behind a link of its own. A nil clock cannot be moved.
func Run(t *testing.T, server *pgtest.Server, clock *pgtest.Clock, open Open) {
	t.Helper()
	conformance.Test(t, conformance.Harness{
		New: func(t conformance.T) conformance.Cluster {
			f := &faulty{server: server, open: open}
			if clock == nil {
				return f
			}
			t.Cleanup(func() { require.NoError(t, clock.Reset()) })
			return &movable{f, clock}
		},
		Timing: timing,
	}, conformance.Parallel(2))
}

// timing is for busy machines.
var timing = conformance.Timing{Case: 2 * time.Minute, Wait: 30 * time.Second, Prompt: 5 * time.Second}

// faulty is a cluster whose server and links can be made to fail.
type faulty struct {
	server *pgtest.Server
	open   Open

	mu    sync.Mutex
	links []*pgtest.Proxy // by node
}

func (f *faulty) Open(t conformance.T, namespace string) transports.Transport {
	link, err := pgtest.NewProxy(f.server.Addr())
	require.NoError(t, err)
	t.Cleanup(link.Close)
	f.mu.Lock()
	f.links = append(f.links, link)
	f.mu.Unlock()
	node, err := f.open(t.Context(), transports.Settings{URL: f.server.URLAt(link.Addr()), Namespace: namespace, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return node
}

func (f *faulty) link(node int) *pgtest.Proxy {
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
	return f.server.Resume, nil
}

// movable is one whose server's clock can be moved too.
type movable struct {
	*faulty
	clock *pgtest.Clock
}

func (m *movable) AdvanceClock(d time.Duration) {
	if err := m.clock.Advance(d); err != nil {
		panic(err)
	}
}
