// Package transports is where stores and buses plug in: what a transport is, and the registry that opens one by kind.
//
// A transport registers itself when its package is imported, as database/sql drivers do, so that a program compiles
// only those that it names:
//
//	import _ "github.com/gobackplane/backplane/transports/redis"
//
//	t, err := transports.OpenURL(ctx, "redis://127.0.0.1:6379", transports.Settings{Namespace: "shop"})
package transports

import (
	"context"
	"log/slog"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
)

// Transport is one node's connection to a store or bus. It offers some of the four concerns; a nil backend is one that
// it does not offer.
//
// Two transports opened with the same target and namespace, in one process or in two, are two nodes on the same store.
// Those with different namespaces never see each other.
type Transport interface {
	// Kind is the name under which it is registered: "redis".
	Kind() string

	Cache() *cache.Backend
	Queue() *queue.Backend
	PubSub() *pubsub.Backend
	// RPC is nil unless the transport does better than rpc.FromPubSub would with its PubSub.
	RPC() *rpc.Backend

	// Health asks the store now: nil when it answers, and otherwise what is wrong (Unavailable, Unauthenticated, …).
	Health(ctx context.Context) error

	// Close ends everything that this node has open here and waits for it, at most a few seconds: subscriptions,
	// watches, waiting claims. What the store keeps stays. It may be called twice; every other call after it answers
	// Closed.
	Close() error
}

// InProcess is implemented by transports whose nodes all live in one process, where frames need no authentication.
type InProcess interface {
	InProcess() bool
}

// Eraser is implemented by transports that can remove what they keep in a store. It is for tests and tools, which make
// namespaces of their own.
type Eraser interface {
	// Erase removes all that the namespace keeps in the store, for good and whatever it is: entries, locks with their
	// fences, tasks. No other node of the namespace should be open: what one still writes stays.
	Erase(ctx context.Context) error
}

// Capabilities of the four concerns side by side; nil where not offered.
type Capabilities struct {
	Cache  *cache.Capabilities
	Queue  *queue.Capabilities
	PubSub *pubsub.Capabilities
	RPC    *rpc.Capabilities
}

// CapabilitiesOf reads what a transport says of itself.
func CapabilitiesOf(t Transport) Capabilities {
	var all Capabilities
	if b := t.Cache(); b != nil {
		all.Cache = &b.Capabilities
	}
	if b := t.Queue(); b != nil {
		all.Queue = &b.Capabilities
	}
	if b := t.PubSub(); b != nil {
		all.PubSub = &b.Capabilities
	}
	if b := RPCOf(t); b != nil {
		all.RPC = &b.Capabilities
	}
	return all
}

// RPCOf is the transport's own RPC, or one made from its PubSub, or nil.
func RPCOf(t Transport) *rpc.Backend {
	if b := t.RPC(); b != nil {
		return b
	}
	if b := t.PubSub(); b != nil {
		return rpc.FromPubSub(b)
	}
	return nil
}

// Settings say what to open. Only Kind (or a URL, with OpenURL) and Namespace are needed.
type Settings struct {
	Kind      string
	URL       string         // where: its scheme may imply the kind
	Namespace string         // the cluster's name: 1 to 64 of a-z A-Z 0-9 _ -
	Options   map[string]any // what the kind understands beside the URL, as read from the config; an unknown one is Invalid
	Logger    *slog.Logger   // nil: slog.Default()
	Clock     Clock          // nil: the machine's. Only memory takes its store's time from it
}

// Clock is the time as tests can move it.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d, unless the stop it returns is called before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}
