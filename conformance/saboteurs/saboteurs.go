// Package saboteurs holds transports that each break one promise, to test the conformance suite with: a suite that
// passes one of them is no suite.
//
//	for _, s := range saboteurs.All() {
//		report := conformance.Run(ctx, s.Harness(honest))
//		// s.Case must have failed, and besides it nothing that s.MayFail does not allow
//	}
//
// A saboteur is a decorator over an honest transport, and breaks as little else as it can. What it cannot help but break
// with its one promise is its collateral.
package saboteurs

import (
	"context"
	"slices"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// Saboteur breaks one promise of an honest transport.
type Saboteur struct {
	// Name says what it does: lock-is-check-then-set.
	Name string
	// Case is the name of the case that must catch it.
	Case string
	// Collateral are patterns, as for conformance.Match, of the cases that may fail with it.
	Collateral []string

	sabotage func(s *sabotaged)
}

// All lists every saboteur.
func All() []Saboteur {
	return slices.Concat(
		transportSaboteurs(), cacheSaboteurs(), guardSaboteurs(), listSaboteurs(), lockSaboteurs(), historySaboteurs(),
		queueSaboteurs(), pubsubSaboteurs(), rpcSaboteurs(),
	)
}

// MayFail reports whether the case may fail because of the saboteur.
func (s Saboteur) MayFail(name string) bool {
	return name == s.Case || slices.ContainsFunc(s.Collateral, func(pattern string) bool {
		return conformance.MatchName(pattern, name)
	})
}

// Patterns are those of all cases that may fail because of it.
func (s Saboteur) Patterns() []string { return append([]string{s.Case}, s.Collateral...) }

// Harness is an honest harness whose nodes the saboteur has got at. What it needs to know of other nodes it remembers
// for each cluster.
func (s Saboteur) Harness(honest conformance.Harness) conformance.Harness {
	open := honest.New
	honest.New = func(t conformance.T) conformance.Cluster {
		c := &sabotaged{Cluster: open(t)}
		s.sabotage(c)
		return c
	}
	return honest
}

// sabotaged is a cluster with whatever a saboteur replaces; nil is left as it is.
type sabotaged struct {
	conformance.Cluster

	namespace func(string) string
	closing   func(transports.Transport) error
	healthy   bool // whatever is the matter
	cache     func(*cache.Backend)
	queue     func(*queue.Backend)
	pubsub    func(*pubsub.Backend)
	rpc       func(*rpc.Backend)
}

// Open opens an honest node and replaces copies of its backends.
func (s *sabotaged) Open(t conformance.T, namespace string) transports.Transport {
	if s.namespace != nil {
		namespace = s.namespace(namespace)
	}
	honest := s.Cluster.Open(t, namespace)
	n := &node{
		Transport: honest, closing: s.closing, healthy: s.healthy,
		cache: tamper(honest.Cache(), s.cache), queue: tamper(honest.Queue(), s.queue),
		pubsub: tamper(honest.PubSub(), s.pubsub),
	}
	n.rpc = honest.RPC()
	if s.pubsub != nil {
		n.rpc = transports.RPCOf(honest) // not made from what is broken
	}
	if s.rpc != nil {
		n.rpc = tamper(transports.RPCOf(n), s.rpc)
	}
	return n
}

// tamper is a copy of a backend after with has been at it.
func tamper[B any](backend *B, with func(*B)) *B {
	if backend == nil || with == nil {
		return backend
	}
	replaced := *backend
	with(&replaced)
	return &replaced
}

// node is a transport with other backends.
type node struct {
	transports.Transport
	closing func(transports.Transport) error
	healthy bool
	cache   *cache.Backend
	queue   *queue.Backend
	pubsub  *pubsub.Backend
	rpc     *rpc.Backend
}

func (n *node) Cache() *cache.Backend   { return n.cache }
func (n *node) Queue() *queue.Backend   { return n.queue }
func (n *node) PubSub() *pubsub.Backend { return n.pubsub }
func (n *node) RPC() *rpc.Backend       { return n.rpc }

func (n *node) Health(ctx context.Context) error {
	if n.healthy {
		return nil
	}
	return n.Transport.Health(ctx)
}

func (n *node) Close() error {
	if n.closing != nil {
		return n.closing(n.Transport)
	}
	return n.Transport.Close()
}
