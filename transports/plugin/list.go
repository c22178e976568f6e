package plugin

import (
	"context"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// listDriver is a plugin's lists.
type listDriver cacheDriver

var pushLists = batch[cache.Push, cache.Length, pb.Push, pb.Length]{
	lane: cacheLane, op: "cache: push", to: translate.ToPush, from: translate.FromLength,
	ask:     func(m []*pb.Push, r *pb.Request) { r.Call = &pb.Request_PushLists{PushLists: &pb.PushLists{Pushes: m}} },
	answers: func(a *pb.Answer) []*pb.Length { return a.GetPushLists().GetResults() },
	errOf:   func(l *cache.Length) *error { return &l.Err },
}

func (d *listDriver) Push(ctx context.Context, pushes []cache.Push) ([]cache.Length, error) {
	if err := d.batch(ctx, pushLists.op, len(pushes)); err != nil {
		return nil, err
	}
	return pushLists.call(ctx, d.node, pushes, func(p *cache.Push) error { return d.check.Push(*p) }, how{})
}

var popLists = batch[cache.Pop, cache.Popped, pb.Pop, pb.Popped]{
	lane: cacheLane, op: "cache: pop", to: translate.ToPop, from: translate.FromPopped,
	ask:     func(m []*pb.Pop, r *pb.Request) { r.Call = &pb.Request_PopLists{PopLists: &pb.PopLists{Pops: m}} },
	answers: func(a *pb.Answer) []*pb.Popped { return a.GetPopLists().GetResults() },
	errOf:   func(p *cache.Popped) *error { return &p.Err },
}

func (d *listDriver) Pop(ctx context.Context, pops []cache.Pop) ([]cache.Popped, error) {
	if err := d.batch(ctx, popLists.op, len(pops)); err != nil {
		return nil, err
	}
	return popLists.call(ctx, d.node, pops, func(p *cache.Pop) error { return d.check.Pop(*p) }, how{})
}

var rangeLists = batch[cache.Range, cache.Popped, pb.Range, pb.Popped]{
	lane: cacheLane, op: "cache: range", harmless: true, to: translate.ToRange, from: translate.FromPopped,
	ask: func(m []*pb.Range, r *pb.Request) {
		r.Call = &pb.Request_RangeLists{RangeLists: &pb.RangeLists{Ranges: m}}
	},
	answers: func(a *pb.Answer) []*pb.Popped { return a.GetRangeLists().GetResults() },
	errOf:   func(p *cache.Popped) *error { return &p.Err },
}

func (d *listDriver) Range(ctx context.Context, ranges []cache.Range) ([]cache.Popped, error) {
	if err := d.batch(ctx, rangeLists.op, len(ranges)); err != nil {
		return nil, err
	}
	return rangeLists.call(ctx, d.node, ranges, func(r *cache.Range) error { return d.check.Range(*r) }, how{})
}

var countLists = batch[cache.Read, cache.Length, pb.Read, pb.Length]{
	lane: cacheLane, op: "cache: length", harmless: true, to: translate.ToRead, from: translate.FromLength,
	ask: func(m []*pb.Read, r *pb.Request) {
		r.Call = &pb.Request_CountLists{CountLists: &pb.CountLists{Reads: m}}
	},
	answers: func(a *pb.Answer) []*pb.Length { return a.GetCountLists().GetResults() },
	errOf:   func(l *cache.Length) *error { return &l.Err },
}

func (d *listDriver) Length(ctx context.Context, reads []cache.Read) ([]cache.Length, error) {
	if err := d.batch(ctx, countLists.op, len(reads)); err != nil {
		return nil, err
	}
	return countLists.call(ctx, d.node, reads, func(r *cache.Read) error { return d.check.Read(countLists.op, *r) }, how{})
}

var dropLists = batch[cache.Removal, cache.Removed, pb.Removal, pb.Removed]{
	lane: cacheLane, op: "cache: drop", to: translate.ToRemoval, from: translate.FromRemoved,
	ask: func(m []*pb.Removal, r *pb.Request) {
		r.Call = &pb.Request_DropLists{DropLists: &pb.DropLists{Removals: m}}
	},
	answers: func(a *pb.Answer) []*pb.Removed { return a.GetDropLists().GetResults() },
	errOf:   func(r *cache.Removed) *error { return &r.Err },
}

func (d *listDriver) Drop(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	if err := d.batch(ctx, dropLists.op, len(removals)); err != nil {
		return nil, err
	}
	return dropLists.call(ctx, d.node, removals, func(r *cache.Removal) error { return d.check.Drop(*r) }, how{})
}

func (d *listDriver) Names(ctx context.Context, p cache.Page) (cache.Keys, error) {
	const op = "cache: lists"
	r := &pb.Request{Call: &pb.Request_ListLists{ListLists: &pb.ListLists{Page: translate.ToPage(p)}}}
	answer, err := (*cacheDriver)(d).listing(ctx, op, p, r)
	if err != nil {
		return cache.Keys{}, err
	}
	m := answer.GetListLists()
	if m == nil {
		return cache.Keys{}, d.node.garbled(errNoResult, op)
	}
	return cache.Keys{Keys: translate.Texts[string](m.GetNames()), Next: translate.Text[string](m.GetNext())}, nil
}

func (d *listDriver) batch(ctx context.Context, op string, elements int) error {
	return (*cacheDriver)(d).batch(ctx, op, elements)
}
