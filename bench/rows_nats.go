package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// natsRows are those over NATS.
var natsRows = []row{
	natsPublishRow("nats: publish 128 B, 1 goroutine", 0.8, 1),
	natsPublishRow("nats: publish 128 B, 64 goroutines", 0.8, 64),
	natsDeliverRow("nats: deliver 128 B to 1 subscriber", 0.8, 1),
	natsDeliverRow("nats: deliver 128 B to 8 subscribers", 0.8, 8),
	{name: "nats: rpc to one node, 1 caller, p50", peer: "nats.go request", unit: "µs", less: true, bar: 0.8, pinned: true, nats: true, setup: natsCallOne},
	{name: "nats: rpc to one node, 64 callers", peer: "nats.go request", unit: "/s", bar: 0.85, nats: true, setup: natsCallMany(rawEcho)},
	{name: "nats: rpc to one node, 64 callers", peer: "nats.go/micro", unit: "/s", bar: 0.85, nats: true, setup: natsCallMany(microEcho)},
	{name: "nats: ask all of 20 nodes", peer: "20 nats.go requests", unit: "µs", less: true, bar: 5, nats: true, setup: natsGather},
}

// Budget: what a publish of nats.go costs, and a number, a frame and a place in a line. Nobody listens, on either side.
func natsPublishRow(name string, bar float64, goroutines int) row {
	return row{name: name, peer: "nats.go publish", unit: "/s", bar: bar, pinned: goroutines == 1, nats: true, setup: func(e *env) (side, side, error) {
		t, err := e.openNATS()
		if err != nil {
			return nil, nil, err
		}
		bus := pubsub.New(t.PubSub(), pubsub.Options{})
		e.cleanup(func() { bus.Close() })
		raw, err := e.rawNATS()
		if err != nil {
			return nil, nil, err
		}
		ours := func(ctx context.Context, g, i int) error {
			_, err := bus.Publish(ctx, "bench.subject", payload128)
			return err
		}
		theirs := func(ctx context.Context, g, i int) error { return raw.Publish("bench.subject", payload128) }
		return perSecond(goroutines, ours), perSecond(goroutines, theirs), nil
	}}
}

// natsDeliverRow has one publisher, and subscribers on one other connection that handle each message.
func natsDeliverRow(name string, bar float64, subscribers int) row {
	return row{name: name, peer: "nats.go subscriptions", unit: "/s", bar: bar, nats: true, setup: func(e *env) (side, side, error) {
		ours, err := deliverOurs(e, subscribers)
		if err != nil {
			return nil, nil, err
		}
		theirs, err := deliverTheirs(e, subscribers)
		return ours, theirs, err
	}}
}

func deliverOurs(e *env, subscribers int) (side, error) {
	var buses [2]*pubsub.PubSub
	for i := range buses {
		t, err := e.openNATS()
		if err != nil {
			return nil, err
		}
		buses[i] = pubsub.New(t.PubSub(), pubsub.Options{})
		e.cleanup(func() { buses[i].Close() })
	}
	var heard atomic.Int64
	for range subscribers {
		_, err := buses[1].SubscribeFunc(e.ctx, "bench.subject", func(_ context.Context, event pubsub.Event) {
			if event.Message != nil {
				heard.Add(1)
			}
		}, pubsub.Buffer(4*inFlight))
		if err != nil {
			return nil, err
		}
	}
	return delivered(&heard, subscribers, func(ctx context.Context) error {
		_, err := buses[0].Publish(ctx, "bench.subject", payload128)
		return err
	}), nil
}

func deliverTheirs(e *env, subscribers int) (side, error) {
	publisher, err := e.rawNATS()
	if err != nil {
		return nil, err
	}
	listener, err := e.rawNATS()
	if err != nil {
		return nil, err
	}
	var heard atomic.Int64
	for range subscribers {
		if _, err := listener.Subscribe("bench.subject", func(*nats.Msg) { heard.Add(1) }); err != nil {
			return nil, err
		}
	}
	if err := listener.Flush(); err != nil {
		return nil, err
	}
	return delivered(&heard, subscribers, func(context.Context) error { return publisher.Publish("bench.subject", payload128) }), nil
}

// inFlight is how many messages may be under way: without a bound both sides would fill the memory instead.
const inFlight = 16 << 10

// delivered publishes for a window, and answers the messages handled a second.
func delivered(heard *atomic.Int64, subscribers int, publish func(context.Context) error) side {
	return func(ctx context.Context) (float64, error) {
		heard.Store(0)
		start := time.Now()
		var sent int64
		wait := func(until int64) error {
			for limit := time.Now().Add(10 * time.Second); heard.Load() < until*int64(subscribers); time.Sleep(20 * time.Microsecond) {
				if time.Now().After(limit) {
					return fmt.Errorf("of %d messages to %d subscribers %d came", sent, subscribers, heard.Load())
				}
			}
			return nil
		}
		for time.Since(start) < window {
			for range inFlight / 4 {
				if err := publish(ctx); err != nil {
					return 0, err
				}
				sent++
			}
			if err := wait(sent - inFlight); err != nil {
				return 0, err
			}
		}
		err := wait(sent)
		return float64(heard.Load()) / time.Since(start).Seconds(), err
	}
}

// natsPeers starts so many nodes that serve echo, and waits until they know each other.
func natsPeers(e *env, n int) ([]*rpc.Peer, error) {
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	peers := make([]*rpc.Peer, n)
	for i := range peers {
		t, err := e.openNATS()
		if err != nil {
			return nil, err
		}
		if peers[i], err = rpc.New(transports.RPCOf(t), rpc.Options{Name: fmt.Sprint("node-", i), Keys: []string{key}}); err != nil {
			return nil, err
		}
		e.cleanup(func() { peers[i].Close() })
		if err := rpc.Handle(peers[i], "echo", func(_ context.Context, s string) (string, error) { return s, nil }); err != nil {
			return nil, err
		}
		if err := peers[i].Start(e.ctx); err != nil {
			return nil, err
		}
	}
	for _, p := range peers {
		if err := p.Ready(e.ctx); err != nil {
			return nil, err
		}
	}
	return peers, nil
}

func rawEcho(e *env) error {
	nc, err := e.rawNATS()
	if err != nil {
		return err
	}
	if _, err := nc.Subscribe("bench.echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		return err
	}
	return nc.Flush()
}

func microEcho(e *env) error {
	nc, err := e.rawNATS()
	if err != nil {
		return err
	}
	service, err := micro.AddService(nc, micro.Config{Name: "echo", Version: "1.0.0"})
	if err != nil {
		return err
	}
	e.cleanup(func() { service.Stop() })
	if err := service.AddEndpoint("echo", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(r.Data()) }), micro.WithEndpointSubject("bench.echo")); err != nil {
		return err
	}
	return nc.Flush()
}

// Budget: two messages, as the raw request has, signed and checked, JSON both ways.
func natsCallOne(e *env) (side, side, error) {
	peers, err := natsPeers(e, 2)
	if err != nil {
		return nil, nil, err
	}
	if err := rawEcho(e); err != nil {
		return nil, nil, err
	}
	raw, err := e.rawNATS()
	if err != nil {
		return nil, nil, err
	}
	to := rpc.Node(peers[1].Self().Incarnation)
	ours := func(ctx context.Context) error {
		_, err := rpc.Call[string](ctx, peers[0], to, "echo", "hello")
		return err
	}
	theirs := func(ctx context.Context) error {
		_, err := raw.Request("bench.echo", []byte(`"hello"`), 10*time.Second)
		return err
	}
	return microseconds(4000, ours), microseconds(4000, theirs), nil
}

func natsCallMany(echo func(*env) error) func(*env) (side, side, error) {
	return func(e *env) (side, side, error) {
		peers, err := natsPeers(e, 2)
		if err != nil {
			return nil, nil, err
		}
		if err := echo(e); err != nil {
			return nil, nil, err
		}
		raw, err := e.rawNATS()
		if err != nil {
			return nil, nil, err
		}
		to := rpc.Node(peers[1].Self().Incarnation)
		ours := func(ctx context.Context, g, i int) error {
			_, err := rpc.Call[string](ctx, peers[0], to, "echo", "hello")
			return err
		}
		theirs := func(ctx context.Context, g, i int) error {
			_, err := raw.Request("bench.echo", []byte(`"hello"`), 10*time.Second)
			return err
		}
		return perSecond(64, ours), perSecond(64, theirs), nil
	}
}

// natsGather asks 20 other nodes at once; the peer asks 20 connections one after the other, and knows them by heart.
func natsGather(e *env) (side, side, error) {
	const nodes = 20
	peers, err := natsPeers(e, nodes+1)
	if err != nil {
		return nil, nil, err
	}
	for i := range nodes {
		nc, err := e.rawNATS()
		if err != nil {
			return nil, nil, err
		}
		if _, err := nc.Subscribe(fmt.Sprint("bench.echo.", i), func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
			return nil, nil, err
		}
		if err := nc.Flush(); err != nil {
			return nil, nil, err
		}
	}
	raw, err := e.rawNATS()
	if err != nil {
		return nil, nil, err
	}
	ours := func(ctx context.Context) error {
		replies, err := peers[0].Gather(ctx, rpc.All(), "echo", []byte(`"hello"`))
		if err == nil && len(replies) != nodes+1 {
			err = fmt.Errorf("%d of %d nodes answered", len(replies), nodes+1)
		}
		return err
	}
	theirs := func(ctx context.Context) error {
		for i := range nodes {
			if _, err := raw.Request(fmt.Sprint("bench.echo.", i), []byte(`"hello"`), 10*time.Second); err != nil {
				return err
			}
		}
		return nil
	}
	return microseconds(500, ours), microseconds(500, theirs), nil
}
