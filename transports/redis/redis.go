// Package redis is the transport over Redis (7.0 or later) and Valkey: cache and locks, task queue, and pub/sub, on
// which RPC runs. Importing it registers the kind "redis" for the URL schemes redis, rediss and unix:
//
//	import _ "github.com/gobackplane/backplane/transports/redis"
//
//	t, err := transports.OpenURL(ctx, "redis://user:secret@10.0.0.5:6379/0?pool_size=20",
//		transports.Settings{Namespace: "shop"})
//
// An application that has a *redis.Client already hands it in with [New].
//
// Every operation that a store must do atomically is one plain command or one script; both travel through the lane (see
// lane.go): written at once when nothing is under way, and in one pipeline with others while something is.
//
// # What Redis cannot keep
//
// Replication is asynchronous: a failover may lose the last writes, and with them a lock and its fence. A store without
// persistence forgets everything when it restarts; one with appendfsync everysec the last second. With a maxmemory-policy
// that evicts, live entries, locks and tasks may vanish: Open warns of it.
package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// Kind is the name under which the transport is registered.
const Kind = "redis"

func init() {
	transports.Register(Kind, Open, "redis", "rediss", "unix", "redis+unix")
}

// Transport is one node's connection to a Redis server. All methods may be called concurrently.
type Transport struct {
	client  *redis.Client
	solo    *solo  // nil when client is the application's own, which Close leaves open
	address string // for errors: never with a password
	ns      string
	log     *slog.Logger
	lane    *lane

	// life ends when Close begins; whatever waits, waits on it too.
	life context.Context
	end  context.CancelCauseFunc

	receiver *receiver
	cached   *cache.Backend
	queued   *queue.Backend
	pubsubs  *pubsub.Backend
	closers  []closer

	closing sync.Once
}

// closer is a part of the transport that has goroutines to end. close waits for them.
type closer interface{ close() }

var errClosed = fault.New(fault.Closed, "the transport is closed")

// assemble makes the transport around a client that answers.
func assemble(client *redis.Client, alone *solo, address string, s transports.Settings) *Transport {
	t := &Transport{client: client, solo: alone, address: address, ns: s.Namespace, log: s.Logger}
	if t.log == nil {
		t.log = slog.Default()
	}
	t.log = t.log.With("kind", Kind, "namespace", t.ns) // a node's logger has the name in its config as transport
	t.life, t.end = context.WithCancelCause(context.Background())
	t.lane = newLane(client)
	t.lane.solo = alone
	t.receiver = newReceiver(t)
	t.cached = newCache(t)
	t.pubsubs = newPubSub(t)
	var queueCloser closer
	if t.queued, queueCloser = newQueue(t); queueCloser != nil {
		t.closers = append(t.closers, queueCloser)
	}
	return t
}

// Kind is "redis".
func (t *Transport) Kind() string { return Kind }

// Cache offers entries, counters, lists, locks and the listing of locks.
func (t *Transport) Cache() *cache.Backend { return t.cached }

// Queue offers the task queue with its administration.
func (t *Transport) Queue() *queue.Backend { return t.queued }

// PubSub offers publish and subscribe.
func (t *Transport) PubSub() *pubsub.Backend { return t.pubsubs }

// RPC is nil: calls run over PubSub.
func (t *Transport) RPC() *rpc.Backend { return nil }

// Health sends a PING.
func (t *Transport) Health(ctx context.Context) error {
	ping := redis.NewStatusCmd(ctx, "ping")
	err := t.lane.do(ctx, ping)
	if err == nil {
		err = ping.Err()
	}
	return t.fault(err, "redis: health", "")
}

// Close ends everything that this node has open here, and the client too if Open made it. It waits for it, a few seconds
// at most, may be called twice, and returns nil.
func (t *Transport) Close() error {
	t.closing.Do(func() {
		t.end(errClosed)
		t.lane.shut()
		// First the connections: with a server that hangs, what is under way ends with them.
		if t.solo != nil {
			if err := errors.Join(t.solo.client.Close(), t.client.Close()); err != nil {
				t.log.Debug("a connection did not end cleanly; it is closed all the same", "error", err)
			}
		}
		for _, part := range t.closers {
			part.close()
		}
		t.receiver.close()
		if !t.lane.wait() {
			t.log.Warn("commands are still under way after Close; they end with the client's timeouts")
		}
	})
	return nil
}
