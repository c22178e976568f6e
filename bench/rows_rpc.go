package main

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// Budget: two messages, signed and checked, and two goroutines woken. The peer is two bare hops, request and answer,
// each a PUBLISH to a channel of the other side.
func callOneNode(e *env) (side, side, error) {
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	peers := make([]*rpc.Peer, 2)
	for i, name := range []string{"caller", "server"} {
		t, err := e.open()
		if err != nil {
			return nil, nil, err
		}
		peers[i], err = rpc.New(transports.RPCOf(t), rpc.Options{Name: name, Keys: []string{key}})
		if err != nil {
			return nil, nil, err
		}
		e.cleanup(func() { peers[i].Close() })
	}
	if err := rpc.Handle(peers[1], "echo", func(_ context.Context, s string) (string, error) { return s, nil }); err != nil {
		return nil, nil, err
	}
	for _, p := range peers {
		if err := p.Start(e.ctx); err != nil {
			return nil, nil, err
		}
	}
	for _, p := range peers {
		if err := p.Ready(e.ctx); err != nil {
			return nil, nil, err
		}
	}
	to := rpc.Node(peers[1].Self().Incarnation)
	ours := microseconds(4000, func(ctx context.Context) error {
		_, err := rpc.Call[string](ctx, peers[0], to, "echo", "hello")
		return err
	})
	theirs, err := twoHops(e)
	return ours, theirs, err
}

func twoHops(e *env) (side, error) {
	caller, server := e.client(), e.client()
	requests, answers := server.Subscribe(e.ctx, "requests"), caller.Subscribe(e.ctx, "answers")
	for _, s := range []interface {
		Receive(context.Context) (any, error)
	}{requests, answers} {
		if _, err := s.Receive(e.ctx); err != nil {
			return nil, err
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, err := requests.ReceiveMessage(e.ctx)
			if err != nil {
				return
			}
			if server.Publish(e.ctx, "answers", m.Payload).Err() != nil {
				return
			}
		}
	}()
	e.cleanup(func() {
		requests.Close()
		answers.Close()
		<-ended
	})
	return microseconds(4000, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := caller.Publish(ctx, "requests", "hello").Err(); err != nil {
			return err
		}
		_, err := answers.ReceiveMessage(ctx)
		return err
	}), nil
}
