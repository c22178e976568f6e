// Package postgres is a Backplane transport on PostgreSQL 14 or later: cache and locks, task queue, and pub/sub, on which
// RPC runs. It imports nothing of Backplane but what is published, and stands for what a third party writes.
//
// Importing it registers the kind "postgres" for the URL schemes postgres and postgresql:
//
//	import _ "github.com/gobackplane/backplane/examples/transports/postgres"
//
//	t, err := transports.OpenURL(ctx, "postgres://shop:secret@10.0.0.5:5432/shop", transports.Settings{Namespace: "shop"})
//
// What must be atomic is one statement each, mostly a call of a function of sql/, so a batch is one round trip and one
// commit. Notifications arrive on one connection of their own (see link.go). The README beside this file tells how claims,
// fences, locks and notifications work, and what is lost when.
package postgres

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// Kind is the name under which the transport is registered.
const Kind = "postgres"

func init() {
	transports.Register(Kind, Open, "postgres", "postgresql")
}

// Transport is one node's connection to a PostgreSQL server. All methods may be called concurrently.
type Transport struct {
	store   *store
	ns      int32 // the namespace's number
	log     *slog.Logger
	address string

	// life ends when Close begins; whatever waits, waits on it too.
	life context.Context
	end  context.CancelFunc

	receiver *receiver
	wakes    *wakes
	bus      *bus

	cached  *cache.Backend
	queued  *queue.Backend
	pubsubs *pubsub.Backend

	calls   sync.WaitGroup // that wait
	mu      sync.Mutex     // guards calls against Close
	closing sync.Once
}

// Kind is "postgres".
func (t *Transport) Kind() string { return Kind }

// Cache offers entries, counters, lists, locks and the listing of locks.
func (t *Transport) Cache() *cache.Backend { return t.cached }

// Queue offers the task queue with its administration.
func (t *Transport) Queue() *queue.Backend { return t.queued }

// PubSub offers publish and subscribe.
func (t *Transport) PubSub() *pubsub.Backend { return t.pubsubs }

// RPC is nil: calls run over PubSub.
func (t *Transport) RPC() *rpc.Backend { return nil }

// Health asks the server for the time, with a statement of its own.
func (t *Transport) Health(ctx context.Context) error {
	const op = "postgres: health"
	if err := t.ready(ctx, op, ""); err != nil {
		return err
	}
	var at time.Time
	return t.fault(t.store.row(ctx, "SELECT clock_timestamp()", nil, &at), op, "")
}

// Erase removes all that the namespace keeps: entries, locks with their fences, lists, tasks. No other node of it should
// be open: what one still writes stays.
func (t *Transport) Erase(ctx context.Context) error {
	const op = "postgres: erase"
	if err := t.ready(ctx, op, ""); err != nil {
		return err
	}
	return t.fault(t.store.exec(ctx, "SELECT erase($1)", t.ns), op, "")
}

// ready refuses a call when the node is closed or the caller's context has ended.
func (t *Transport) ready(ctx context.Context, op, subject string) error {
	if t.life.Err() != nil {
		return t.fault(errClosed, op, subject)
	}
	return t.fault(ctx.Err(), op, subject)
}

// waiting announces a call that waits, so that Close can wait for it. It is false when the node is closed.
func (t *Transport) waiting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.life.Err() != nil {
		return false
	}
	t.calls.Add(1)
	return true
}

// closePatience is how long Close lets statements that are under way come to their end. Then their connections are closed.
const closePatience = time.Second

// Close ends everything that this node has open here and waits for it, a few seconds at most. It may be called twice, and
// returns nil.
func (t *Transport) Close() error {
	t.closing.Do(func() {
		t.mu.Lock()
		t.end()
		t.mu.Unlock()
		t.receiver.close()
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			t.calls.Wait()
		}()
		timer := time.NewTimer(closePatience)
		defer timer.Stop()
		select {
		case <-waited: // claims that were under way have given their tasks back
		case <-timer.C:
		}
		t.store.close()
		t.bus.close()
		<-waited
	})
	return nil
}
