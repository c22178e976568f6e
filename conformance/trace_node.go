package conformance

import (
	"context"
	"io"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// node is a transport whose calls are traced. It offers what the transport offers, and no more.
type node struct {
	transports.Transport
	tracer
	cache  *cache.Backend
	queue  *queue.Backend
	pubsub *pubsub.Backend
	rpc    *rpc.Backend
}

// tracer notes calls of one node.
type tracer struct {
	*trace
	number int
}

// calls begins a call and gives what ends it.
func (t tracer) calls(ctx context.Context, method string, asked func() string) func(answered func() string, err error) {
	c := t.begin(t.number, method, about(ctx, asked))
	return func(answered func() string, err error) {
		if err != nil {
			answered = failing(err)
		}
		t.end(c, answered)
	}
}

// node gives a transport that notes its calls as those of node number n.
func (t *trace) node(inner transports.Transport, n int) transports.Transport {
	at := tracer{t, n}
	return &node{
		Transport: inner, tracer: at,
		cache: at.cacheOf(inner.Cache()), queue: at.queueOf(inner.Queue()), pubsub: at.pubsubOf(inner.PubSub()), rpc: at.rpcOf(inner.RPC()),
	}
}

func (n *node) Cache() *cache.Backend   { return n.cache }
func (n *node) Queue() *queue.Backend   { return n.queue }
func (n *node) PubSub() *pubsub.Backend { return n.pubsub }
func (n *node) RPC() *rpc.Backend       { return n.rpc }

func (n *node) Health(ctx context.Context) error {
	done := n.calls(ctx, "Health", nil)
	err := n.Transport.Health(ctx)
	done(fine, err)
	return err
}

func (n *node) Close() error {
	done := n.calls(context.Background(), "Close", nil)
	err := n.Transport.Close()
	done(fine, err)
	return err
}

// batch traces a call that takes elements and answers one result for each.
func batch[E, R any](
	t tracer, ctx context.Context, method string, elements []E, do func(context.Context, []E) ([]R, error),
) ([]R, error) {
	done := t.calls(ctx, method, listed(elements))
	results, err := do(ctx, elements)
	done(listed(results), err)
	return results, err
}

// single traces a call that takes one thing and answers one.
func single[A, R any](
	t tracer, ctx context.Context, method string, asked A, do func(context.Context, A) (R, error),
) (R, error) {
	done := t.calls(ctx, method, described(asked))
	result, err := do(ctx, asked)
	done(described(result), err)
	return result, err
}

// deliveries traces what a transport delivers, without its content: a transport that gives two subscribers one buffer
// must be caught by the case that is about that, and not by the race detector here. No function stays none, for the
// transport to refuse.
func deliveries[E any](t tracer, method string, deliver func([]E)) func([]E) {
	if deliver == nil {
		return nil
	}
	return func(elements []E) {
		t.event(t.number, method, headed(elements, withoutContent))
		deliver(elements)
	}
}

func (t tracer) cacheOf(b *cache.Backend) *cache.Backend {
	if b == nil {
		return nil
	}
	traced := *b
	traced.Driver = tracedCache{t, b.Driver}
	if b.Watcher != nil {
		traced.Watcher = tracedWatcher{t, b.Watcher}
	}
	if b.Lists != nil {
		traced.Lists = tracedLists{t, b.Lists}
	}
	if b.Holders != nil {
		traced.Holders = tracedHolders{t, b.Holders}
	}
	return &traced
}

type tracedCache struct {
	tracer
	inner cache.Driver
}

func (c tracedCache) Get(ctx context.Context, r []cache.Read) ([]cache.Got, error) {
	return batch(c.tracer, ctx, "cache.Get", r, c.inner.Get)
}

func (c tracedCache) Set(ctx context.Context, w []cache.Write) ([]cache.Written, error) {
	return batch(c.tracer, ctx, "cache.Set", w, c.inner.Set)
}

func (c tracedCache) Delete(ctx context.Context, r []cache.Removal) ([]cache.Removed, error) {
	return batch(c.tracer, ctx, "cache.Delete", r, c.inner.Delete)
}

func (c tracedCache) Touch(ctx context.Context, l []cache.Lifetime) ([]cache.Touched, error) {
	return batch(c.tracer, ctx, "cache.Touch", l, c.inner.Touch)
}

func (c tracedCache) Add(ctx context.Context, i []cache.Increment) ([]cache.Sum, error) {
	return batch(c.tracer, ctx, "cache.Add", i, c.inner.Add)
}

func (c tracedCache) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	return single(c.tracer, ctx, "cache.Keys", p, c.inner.Keys)
}

func (c tracedCache) Acquire(ctx context.Context, all []cache.Claim) ([]cache.Lease, error) {
	return batch(c.tracer, ctx, "cache.Acquire", all, c.inner.Acquire)
}

func (c tracedCache) Renew(ctx context.Context, l []cache.Lease) ([]cache.Lease, error) {
	return batch(c.tracer, ctx, "cache.Renew", l, c.inner.Renew)
}

func (c tracedCache) Release(ctx context.Context, l []cache.Lease) ([]error, error) {
	return batch(c.tracer, ctx, "cache.Release", l, c.inner.Release)
}

type tracedWatcher struct {
	tracer
	inner cache.Watcher
}

func (w tracedWatcher) Watch(ctx context.Context, prefix string, deliver func([]cache.Change)) (cache.Watch, error) {
	return single(w.tracer, ctx, "cache.Watch", prefix, func(ctx context.Context, prefix string) (cache.Watch, error) {
		return w.inner.Watch(ctx, prefix, deliveries(w.tracer, "cache.Watch delivers", deliver))
	})
}

type tracedLists struct {
	tracer
	inner cache.Lists
}

func (l tracedLists) Push(ctx context.Context, p []cache.Push) ([]cache.Length, error) {
	return batch(l.tracer, ctx, "cache.Push", p, l.inner.Push)
}

func (l tracedLists) Pop(ctx context.Context, p []cache.Pop) ([]cache.Popped, error) {
	return batch(l.tracer, ctx, "cache.Pop", p, l.inner.Pop)
}

func (l tracedLists) Range(ctx context.Context, r []cache.Range) ([]cache.Popped, error) {
	return batch(l.tracer, ctx, "cache.Range", r, l.inner.Range)
}

func (l tracedLists) Length(ctx context.Context, r []cache.Read) ([]cache.Length, error) {
	return batch(l.tracer, ctx, "cache.Length", r, l.inner.Length)
}

func (l tracedLists) Drop(ctx context.Context, r []cache.Removal) ([]cache.Removed, error) {
	return batch(l.tracer, ctx, "cache.Drop", r, l.inner.Drop)
}

func (l tracedLists) Names(ctx context.Context, p cache.Page) (cache.Keys, error) {
	return single(l.tracer, ctx, "cache.Names", p, l.inner.Names)
}

type tracedHolders struct {
	tracer
	inner cache.Holders
}

func (h tracedHolders) Held(ctx context.Context, p cache.Page) (cache.Leases, error) {
	return single(h.tracer, ctx, "cache.Held", p, h.inner.Held)
}

func (t tracer) pubsubOf(b *pubsub.Backend) *pubsub.Backend {
	if b == nil {
		return nil
	}
	traced := *b
	traced.Driver = tracedPubSub{t, b.Driver}
	if b.Hand != nil {
		traced.Hand = t.handOf(b.Hand)
	}
	return &traced
}

// handOf traces messages that are handed over one by one.
func (t tracer) handOf(make func() func(*pubsub.Message) error) func() func(*pubsub.Message) error {
	return func() func(*pubsub.Message) error {
		hand := make()
		return func(m *pubsub.Message) error {
			done := t.calls(context.Background(), "pubsub.Hand", described(*m))
			err := hand(m)
			done(fine, err)
			return err
		}
	}
}

type tracedPubSub struct {
	tracer
	inner pubsub.Driver
}

func (p tracedPubSub) Publish(ctx context.Context, m []pubsub.Message) ([]pubsub.Receipt, error) {
	return batch(p.tracer, ctx, "pubsub.Publish", m, p.inner.Publish)
}

func (p tracedPubSub) Subscribe(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	return single(p.tracer, ctx, "pubsub.Subscribe", f, func(ctx context.Context, f pubsub.Filter) (pubsub.Subscription, error) {
		return p.inner.Subscribe(ctx, f, deliveries(p.tracer, "pubsub delivers", deliver))
	})
}

func (t tracer) rpcOf(b *rpc.Backend) *rpc.Backend {
	if b == nil {
		return nil
	}
	traced := *b
	traced.Driver = tracedRPC{t, b.Driver}
	return &traced
}

type tracedRPC struct {
	tracer
	inner rpc.Driver
}

func (r tracedRPC) Listen(ctx context.Context, a rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
	return single(r.tracer, ctx, "rpc.Listen", a, func(ctx context.Context, a rpc.Address) (io.Closer, error) {
		return r.inner.Listen(ctx, a, deliveries(r.tracer, "rpc delivers", deliver))
	})
}

func (r tracedRPC) Send(ctx context.Context, f []rpc.Frame) ([]error, error) {
	return batch(r.tracer, ctx, "rpc.Send", f, r.inner.Send)
}
