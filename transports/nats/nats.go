// Package nats is the transport over NATS: pub/sub and RPC on any server of version 2.10 or later, and, where JetStream
// is enabled (2.12 or later), cache, locks and task queue. Importing it registers the kind "nats" for the URL schemes
// nats, tls, ws and wss:
//
//	import _ "github.com/gobackplane/backplane/transports/nats"
//
//	t, err := transports.OpenURL(ctx, "nats://user:secret@10.0.0.5:4222",
//		transports.Settings{Namespace: "shop"})
//
// An application that has a *nats.Conn already hands it in with [New]. A program that wants the server inside its own
// process imports transports/nats/embedded.
//
// # What NATS cannot keep
//
// Core NATS delivers at most once, to those who are connected: what is published while a subscriber's link is down is
// lost to it, and a gap says so. In a cluster of servers a subscription is confirmed by the server it was made at; the
// others hear of it a moment later, so a message published through one of them at once may be missed.
package nats

import (
	"context"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// Kind is the name under which the transport is registered.
const Kind = "nats"

func init() {
	transports.Register(Kind, Open, "nats", "tls", "ws", "wss")
}

// Transport is one node's connection to NATS. All methods may be called concurrently.
type Transport struct {
	core *core
	own  bool // the connection is ours, and Close closes it
	end  context.CancelCauseFunc

	cached  *cache.Backend
	queued  *queue.Backend
	pubsubs *pubsub.Backend
	rpcs    *rpc.Backend
	closers []closer // in the order in which they are closed

	closing sync.Once
}

// closer is a part of the transport that has goroutines to end. close waits for them.
type closer interface{ close() }

// assemble makes the transport's parts, on a connection that stands. What they have open is closed in the same order.
func (t *Transport) assemble(ctx context.Context) error {
	c := t.core
	for _, make := range []func() (closer, error){
		func() (part closer, err error) { t.cached, part, err = newCache(ctx, c); return part, err },
		func() (part closer, err error) { t.queued, part, err = newQueue(ctx, c); return part, err },
		func() (part closer, err error) { t.rpcs, part, err = newRPC(c); return part, err },
		func() (part closer, err error) { t.pubsubs, part, err = newPubSub(c); return part, err },
	} {
		part, err := make()
		if err != nil {
			return c.fault(err, "", "")
		}
		if part != nil {
			t.closers = append(t.closers, part)
		}
	}
	return nil
}

// Kind is "nats".
func (t *Transport) Kind() string { return Kind }

// Cache is nil where the server has no JetStream.
func (t *Transport) Cache() *cache.Backend { return t.cached }

// Queue is nil where the server has no JetStream.
func (t *Transport) Queue() *queue.Backend { return t.queued }

// PubSub offers publish and subscribe.
func (t *Transport) PubSub() *pubsub.Backend { return t.pubsubs }

// RPC offers calls over subjects of its own.
func (t *Transport) RPC() *rpc.Backend { return t.rpcs }

// Health sends a PING.
func (t *Transport) Health(ctx context.Context) error {
	const op = "nats: health"
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	if err := t.core.round(ctx); err != nil {
		return t.core.fault(err, op, "")
	}
	return nil
}

// Close ends everything that this node has open here, and the connection too if Open made it. It waits for it, a few
// seconds at most, may be called twice, and returns nil.
func (t *Transport) Close() error {
	t.closing.Do(func() {
		t.end(errClosed)
		for _, part := range t.closers {
			part.close()
		}
		if t.own {
			t.core.nc.Close()
		}
	})
	return nil
}

func loggerOf(s transports.Settings) *slog.Logger {
	log := s.Logger
	if log == nil {
		log = slog.Default()
	}
	return log.With("transport", Kind, "namespace", s.Namespace)
}

// round waits until the server has answered everything that was sent before.
func (c *core) round(ctx context.Context) error {
	if c.life.Err() != nil {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !c.nc.IsConnected() {
		if c.nc.IsClosed() {
			return nats.ErrConnectionClosed
		}
		return nats.ErrConnectionReconnecting
	}
	return c.nc.FlushWithContext(ctx)
}
