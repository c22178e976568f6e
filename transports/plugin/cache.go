package plugin

import (
	"context"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// cacheDriver is a plugin's cache. What its capabilities do not allow is refused here, in the words that all transports
// use, and does not cross.
type cacheDriver struct {
	node  *node
	check limits.Cache
}

func (n *node) cacheBackend() *cache.Backend {
	if n.offer.Cache == nil {
		return nil
	}
	d := &cacheDriver{node: n, check: limits.Cache{Transport: Kind, Capabilities: *n.offer.Cache}}
	b := &cache.Backend{Driver: d, Capabilities: *n.offer.Cache}
	if n.offer.Watcher {
		b.Watcher = d
	}
	if n.offer.Lists {
		b.Lists = (*listDriver)(d)
	}
	if n.offer.Holders {
		b.Holders = d
	}
	return b
}

var getEntries = batch[cache.Read, cache.Got, pb.Read, pb.Got]{
	lane: cacheLane, op: "cache: get", harmless: true, to: translate.ToRead, from: translate.FromGot,
	ask: func(m []*pb.Read, r *pb.Request) {
		r.Call = &pb.Request_GetEntries{GetEntries: &pb.GetEntries{Reads: m}}
	},
	answers: func(a *pb.Answer) []*pb.Got { return a.GetGetEntries().GetResults() },
	errOf:   func(g *cache.Got) *error { return &g.Err },
}

func (d *cacheDriver) Get(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
	if err := d.batch(ctx, getEntries.op, len(reads)); err != nil {
		return nil, err
	}
	results, err := getEntries.call(ctx, d.node, reads, func(r *cache.Read) error { return d.check.Read(getEntries.op, *r) }, how{})
	for i := range results {
		if results[i].Found {
			results[i].Entry.Key = reads[i].Key
		}
	}
	return results, err
}

var setEntries = batch[cache.Write, cache.Written, pb.Write, pb.Written]{
	lane: cacheLane, op: "cache: set", to: translate.ToWrite, from: translate.FromWritten,
	ask: func(m []*pb.Write, r *pb.Request) {
		r.Call = &pb.Request_SetEntries{SetEntries: &pb.SetEntries{Writes: m}}
	},
	answers: func(a *pb.Answer) []*pb.Written { return a.GetSetEntries().GetResults() },
	errOf:   func(w *cache.Written) *error { return &w.Err },
}

func (d *cacheDriver) Set(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
	if err := d.batch(ctx, setEntries.op, len(writes)); err != nil {
		return nil, err
	}
	return setEntries.call(ctx, d.node, writes, func(w *cache.Write) error { return d.check.Write(*w) }, how{})
}

var deleteEntries = batch[cache.Removal, cache.Removed, pb.Removal, pb.Removed]{
	lane: cacheLane, op: "cache: delete", to: translate.ToRemoval, from: translate.FromRemoved,
	ask: func(m []*pb.Removal, r *pb.Request) {
		r.Call = &pb.Request_DeleteEntries{DeleteEntries: &pb.DeleteEntries{Removals: m}}
	},
	answers: func(a *pb.Answer) []*pb.Removed { return a.GetDeleteEntries().GetResults() },
	errOf:   func(r *cache.Removed) *error { return &r.Err },
}

func (d *cacheDriver) Delete(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	if err := d.batch(ctx, deleteEntries.op, len(removals)); err != nil {
		return nil, err
	}
	return deleteEntries.call(ctx, d.node, removals, func(r *cache.Removal) error { return d.check.Removal(*r) }, how{})
}

var touchEntries = batch[cache.Lifetime, cache.Touched, pb.Lifetime, pb.Done]{
	lane: cacheLane, op: "cache: touch", to: translate.ToLifetime, from: translate.FromTouched,
	ask: func(m []*pb.Lifetime, r *pb.Request) {
		r.Call = &pb.Request_TouchEntries{TouchEntries: &pb.TouchEntries{Lifetimes: m}}
	},
	answers: func(a *pb.Answer) []*pb.Done { return a.GetTouchEntries().GetResults() },
	errOf:   func(t *cache.Touched) *error { return &t.Err },
}

func (d *cacheDriver) Touch(ctx context.Context, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
	if err := d.batch(ctx, touchEntries.op, len(lifetimes)); err != nil {
		return nil, err
	}
	return touchEntries.call(ctx, d.node, lifetimes, func(l *cache.Lifetime) error { return d.check.Lifetime(*l) }, how{})
}

var addCounters = batch[cache.Increment, cache.Sum, pb.Increment, pb.Sum]{
	lane: cacheLane, op: "cache: add", to: translate.ToIncrement, from: translate.FromSum,
	ask: func(m []*pb.Increment, r *pb.Request) {
		r.Call = &pb.Request_AddCounters{AddCounters: &pb.AddCounters{Increments: m}}
	},
	answers: func(a *pb.Answer) []*pb.Sum { return a.GetAddCounters().GetResults() },
	errOf:   func(s *cache.Sum) *error { return &s.Err },
}

func (d *cacheDriver) Add(ctx context.Context, increments []cache.Increment) ([]cache.Sum, error) {
	if err := d.batch(ctx, addCounters.op, len(increments)); err != nil {
		return nil, err
	}
	return addCounters.call(ctx, d.node, increments, func(i *cache.Increment) error { return d.check.Increment(*i) }, how{})
}

func (d *cacheDriver) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	const op = "cache: keys"
	r := &pb.Request{Call: &pb.Request_ListKeys{ListKeys: &pb.ListKeys{Page: translate.ToPage(p)}}}
	answer, err := d.listing(ctx, op, p, r)
	if err != nil {
		return cache.Keys{}, err
	}
	m := answer.GetListKeys()
	if m == nil {
		return cache.Keys{}, d.node.garbled(errNoResult, op)
	}
	return cache.Keys{Keys: translate.Texts[string](m.GetKeys()), Next: translate.Text[string](m.GetNext())}, nil
}

// Held lists locks.
func (d *cacheDriver) Held(ctx context.Context, p cache.Page) (cache.Leases, error) {
	const op = "cache: held"
	r := &pb.Request{Call: &pb.Request_ListLocks{ListLocks: &pb.ListLocks{Page: translate.ToPage(p)}}}
	answer, err := d.listing(ctx, op, p, r)
	if err != nil {
		return cache.Leases{}, err
	}
	m := answer.GetListLocks()
	if m == nil {
		return cache.Leases{}, d.node.garbled(errNoResult, op)
	}
	leases, err := translate.Unpack(m.GetLeases(), translate.FromLockLease)
	return cache.Leases{Leases: leases, Next: translate.Text[string](m.GetNext())}, err
}

// listing asks for one page.
func (d *cacheDriver) listing(ctx context.Context, op string, p cache.Page, r *pb.Request) (*pb.Answer, error) {
	if _, err := d.node.ready(ctx, op, p.Prefix); err != nil {
		return nil, err
	}
	if err := d.check.Page(op, p); err != nil {
		return nil, err
	}
	return d.node.call(ctx, cacheLane, r, about{op: op, subject: p.Prefix, harmless: true})
}

// Watch follows the entries under a prefix.
func (d *cacheDriver) Watch(ctx context.Context, prefix string, deliver func([]cache.Change)) (cache.Watch, error) {
	const op = "cache: watch"
	if _, err := d.node.ready(ctx, op, prefix); err != nil {
		return nil, err
	}
	if err := d.check.Watch(prefix, deliver); err != nil {
		return nil, err
	}
	w := newWatch(d.node, prefix, deliver)
	if err := w.open(ctx, op, prefix); err != nil {
		return nil, err
	}
	return w, nil
}

// batch refuses a call of too many elements, after what comes before that.
func (d *cacheDriver) batch(ctx context.Context, op string, elements int) error {
	if elements <= d.check.MaxBatch {
		return nil // the call itself finds out whether the node can be used
	}
	if _, err := d.node.ready(ctx, op, ""); err != nil {
		return err
	}
	return d.check.Batch(op, elements)
}
