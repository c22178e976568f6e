// Package memory is the transport for one process, and the reference for all others: cache and locks, queue and pub/sub
// in plain Go data, with no network, no goroutine per entry and nothing left to chance.
//
// Nodes that open the same name share a store, under the same namespace they see each other. It is what a program with
// one instance and most tests want, and it needs nothing to be installed:
//
//	import _ "github.com/gobackplane/backplane/transports/memory"
//
//	a, err := transports.OpenURL(ctx, "memory:", transports.Settings{Namespace: "shop"})
//	b, err := transports.OpenURL(ctx, "memory:", transports.Settings{Namespace: "shop"}) // another node
//
// "memory:" is the default store of the process and "memory:NAME" another one. What they hold lives until the last node
// with that name and namespace has closed; nothing is written to disk. A [Store] is a store of one's own, without a name.
//
// Nothing is ever evicted. A subscription holds up to 8,192 messages and 64 MiB for a receiver that is slow, a watch
// 4,096 changes; what does not fit is refused and told of (a Gap, a Resync), and no publisher or writer ever waits.
//
// Time is the machine's, or that of Settings.Clock of the node which opened the store first; inside a testing/synctest
// bubble it is the bubble's. As with any store whose clock is a wall clock, setting it ends lifetimes early or late.
package memory

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// Kind is the name under which this transport is registered, and its URL scheme.
const Kind = "memory"

func init() {
	transports.Register(Kind, func(ctx context.Context, s transports.Settings) (transports.Transport, error) {
		t, err := Open(ctx, s)
		if err != nil {
			return nil, err // not t: a nil *Transport is not a nil Transport
		}
		return t, nil
	})
}

// named are the stores that nodes of this process share by name, as long as a node has one open.
var named struct {
	sync.Mutex
	stores map[string]*Store
}

// Open opens a node on the store that s.URL names: "memory:" or "memory:NAME"; no URL is the default store. There are
// no options. transports.Open comes here for the kind "memory".
func Open(ctx context.Context, s transports.Settings) (*Transport, error) {
	const op = "memory: open"
	if err := fault.FromContext(ctx); err != nil {
		return nil, fault.In(err, op, s.URL)
	}
	name, err := storeName(s)
	if err != nil {
		return nil, fault.In(err, op, s.URL)
	}
	named.Lock()
	defer named.Unlock()
	store := named.stores[name]
	if store == nil {
		store = &Store{Clock: s.Clock}
	}
	t, err := store.Open(s.Namespace)
	if err != nil {
		return nil, err
	}
	if named.stores == nil {
		named.stores = map[string]*Store{}
	}
	named.stores[name] = store
	t.forget = func() { forget(name, store) }
	return t, nil
}

// forget drops a named store when its last node has closed.
func forget(name string, s *Store) {
	named.Lock()
	defer named.Unlock()
	if named.stores[name] == s && s.unused() {
		delete(named.stores, name)
	}
}

func storeName(s transports.Settings) (string, error) {
	if len(s.Options) > 0 {
		return "", unknownOptions(slices.Sorted(maps.Keys(s.Options)))
	}
	if s.URL == "" {
		return "", nil
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return "", fault.New(fault.Invalid, `not a URL; write "memory:" or "memory:NAME"`)
	}
	if query := u.Query(); len(query) > 0 {
		return "", unknownOptions(slices.Sorted(maps.Keys(query)))
	}
	if !strings.EqualFold(u.Scheme, Kind) || u.User != nil || u.Fragment != "" {
		return "", fault.New(fault.Invalid, `not the URL of a memory store; write "memory:" or "memory:NAME"`)
	}
	return u.Opaque + u.Host + u.Path, nil
}

func unknownOptions(names []string) error {
	return fault.New(fault.Invalid, "unknown option %s; the memory transport has none", strings.Join(names, ", "))
}

// Kind is "memory".
func (t *Transport) Kind() string { return Kind }

// InProcess says that all nodes live in this process, so that their frames need no authentication.
func (t *Transport) InProcess() bool { return true }

// Cache offers cache and locks with everything that is optional.
func (t *Transport) Cache() *cache.Backend { return t.cache }

// Queue offers the task queue.
func (t *Transport) Queue() *queue.Backend { return t.queue }

// PubSub offers pub/sub.
func (t *Transport) PubSub() *pubsub.Backend { return t.pubsub }

// RPC is nil: calls go over PubSub.
func (t *Transport) RPC() *rpc.Backend { return nil }

var (
	_ transports.Transport = (*Transport)(nil)
	_ transports.InProcess = (*Transport)(nil)
)
