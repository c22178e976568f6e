package nats_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// routes knows when what one server of a cluster was told has come to the others. The suite mostly publishes through one
// server what was subscribed at another, at once, which a cluster of NATS servers does not promise (ClusterWide is false).
// A server tells the others of a subscription before it passes on what comes later, and on the same connection; so an
// answer from another server, asked after the subscription, proves that it knows.
type routes struct {
	conns []*natsgo.Conn // by server
}

func newRoutes(t conformance.T, all []*servers.NATS) *routes {
	r := &routes{}
	for i, s := range all {
		nc, err := natsgo.Connect(s.URL(), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(20*time.Millisecond), natsgo.IgnoreDiscoveredServers())
		if err != nil {
			t.Errorf("connect to server %d: %v", i, err)
			t.FailNow()
		}
		t.Cleanup(nc.Close)
		r.conns = append(r.conns, nc)
		if _, err := nc.Subscribe(fmt.Sprint("settle.", i), func(m *natsgo.Msg) { _ = m.Respond(nil) }); err != nil {
			t.Errorf("listen at server %d: %v", i, err)
			t.FailNow()
		}
	}
	return r
}

// settle returns when all servers know what the one knew when it was called.
func (r *routes) settle(ctx context.Context, at int) error {
	for to := range r.conns {
		for to != at {
			once, cancel := context.WithTimeout(ctx, time.Second)
			_, err := r.conns[at].RequestWithContext(once, fmt.Sprint("settle.", to), nil)
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, natsgo.ErrNoResponders) || errors.Is(err, natsgo.ErrReconnectBufExceeded) {
				time.Sleep(5 * time.Millisecond) // a server was restarted, and is not told of everything yet
			}
		}
	}
	return nil
}

// settled is a node whose subscriptions are known to all servers when they are confirmed.
type settled struct {
	transports.Transport
	routes *routes
	at     int
}

func (s *settled) PubSub() *pubsub.Backend {
	b := *s.Transport.PubSub()
	b.Driver = settledBus{b.Driver, s}
	return &b
}

func (s *settled) RPC() *rpc.Backend {
	b := *s.Transport.RPC()
	b.Driver = settledFrames{b.Driver, s}
	return &b
}

type settledBus struct {
	pubsub.Driver
	node *settled
}

func (b settledBus) Subscribe(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	s, err := b.Driver.Subscribe(ctx, f, deliver)
	if err == nil {
		if err = b.node.routes.settle(ctx, b.node.at); err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	return s, err
}

type settledFrames struct {
	rpc.Driver
	node *settled
}

func (f settledFrames) Listen(ctx context.Context, address rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
	l, err := f.Driver.Listen(ctx, address, deliver)
	if err == nil {
		if err = f.node.routes.settle(ctx, f.node.at); err != nil {
			_ = l.Close()
			return nil, err
		}
	}
	return l, err
}
