package postgres

import (
	"context"
	"math"
	"slices"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// lists is the cache.Lists of one node.
type lists struct{ *entries }

func checkPush(p *cache.Push) error {
	const op = "cache: push"
	at := check{op, p.List}
	if err := first(
		checkKey(op, p.List, p.Guard),
		at.batch(len(p.Values), cacheCapabilities.MaxBatch),
		at.lifetime(p.TTL, cacheCapabilities.MinTTL),
	); err != nil {
		return err
	}
	if len(p.Values) == 0 {
		return at.refuse(fault.Invalid, "there are no values to push; give at least one")
	}
	for _, value := range p.Values {
		if err := at.size("value", len(value), cacheCapabilities.MaxValue, smallerValue); err != nil {
			return err
		}
	}
	if size := pushSize(p); size > maxPush {
		return at.refuse(fault.TooLarge, "the values have %d bytes together, %d are allowed; push them in parts", size, maxPush)
	}
	return nil
}

// maxPush is the most that one push carries: all of its values travel in one statement.
const maxPush = 512 << 20

func pushSize(p *cache.Push) int {
	size := 64
	for _, value := range p.Values {
		size += len(value)
	}
	return size
}

// Push appends values.
func (l lists) Push(ctx context.Context, pushes []cache.Push) ([]cache.Length, error) {
	const op = "cache: push"
	if err := l.begin(ctx, op, len(pushes)); err != nil {
		return nil, err
	}
	lengths := make([]cache.Length, len(pushes))
	for i := range pushes {
		lengths[i].Err = checkPush(&pushes[i])
	}
	order := inOrder(len(pushes), func(i int) bool { return lengths[i].Err != nil }, func(i int) string { return pushes[i].List })
	var v verdict
	var length *int64
	c := call{op: op, sql: "SELECT * FROM list_push($1, $2, $3, $4, $5, $6, $7, $8)", size: func(i int) int { return pushSize(&pushes[i]) }, more: []any{&length}}
	c.args = func(part []int) []any {
		holders, fences := guards(part, func(i int) cache.Guard { return pushes[i].Guard })
		var values [][]byte
		for _, i := range part {
			for _, value := range pushes[i].Values {
				values = append(values, notNil(value))
			}
		}
		return []any{
			l.t.ns, pick(part, func(i int) []byte { return []byte(pushes[i].List) }), pick(part, func(i int) bool { return pushes[i].Front }),
			pick(part, func(i int) int64 { return micros(pushes[i].TTL) }), pick(part, func(i int) int32 { return int32(len(pushes[i].Values)) }),
			values, holders, fences,
		}
	}
	c.each = func(i int) error {
		if lengths[i].Err = v.fault(op, pushes[i].List); lengths[i].Err == nil {
			lengths[i].Length = int(*length)
		}
		return nil
	}
	if err := l.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return lengths, nil
}

// Pop takes values.
func (l lists) Pop(ctx context.Context, pops []cache.Pop) ([]cache.Popped, error) {
	const op = "cache: pop"
	return l.values(ctx, op, "SELECT * FROM list_pop($1, $2, $3, $4, $5, $6)", len(pops), func(i int) (string, cache.Guard, error) {
		p := pops[i]
		return p.List, p.Guard, check{op, p.List}.atLeast("Max", p.Max, 1)
	}, func(part []int) []any {
		return []any{pick(part, func(i int) int64 { return most(pops[i].Max) }), pick(part, func(i int) bool { return pops[i].Back })}
	})
}

// Range reads values.
func (l lists) Range(ctx context.Context, ranges []cache.Range) ([]cache.Popped, error) {
	const op = "cache: range"
	return l.values(ctx, op, "SELECT * FROM list_range($1, $2, $3, $4, $5, $6)", len(ranges), func(i int) (string, cache.Guard, error) {
		r := ranges[i]
		at := check{op, r.List}
		return r.List, r.Guard, first(at.atLeast("Start", r.Start, 0), at.atLeast("Max", r.Max, 1))
	}, func(part []int) []any {
		return []any{pick(part, func(i int) int64 { return most(ranges[i].Start) }), pick(part, func(i int) int64 { return most(ranges[i].Max) })}
	})
}

// most is a number of values, as great as any list.
func most(n int) int64 { return min(int64(n), math.MaxInt32) }

// values runs what answers a row for each value.
func (l lists) values(
	ctx context.Context, op, sql string, n int, element func(i int) (name string, guard cache.Guard, refused error), args func(part []int) []any,
) ([]cache.Popped, error) {
	if err := l.begin(ctx, op, n); err != nil {
		return nil, err
	}
	all := make([]cache.Popped, n)
	names := make([]string, n)
	guarded := make([]cache.Guard, n)
	for i := range all {
		var err error
		names[i], guarded[i], err = element(i)
		all[i].Err = first(checkKey(op, names[i], guarded[i]), err)
	}
	order := inOrder(n, func(i int) bool { return all[i].Err != nil }, func(i int) string { return names[i] })
	var v verdict
	var value []byte
	c := call{op: op, sql: sql, more: []any{&value}}
	c.args = func(part []int) []any {
		holders, fences := guards(part, func(i int) cache.Guard { return guarded[i] })
		return slices.Concat([]any{l.t.ns, pick(part, func(i int) []byte { return []byte(names[i]) })}, args(part), []any{holders, fences})
	}
	c.each = func(i int) error {
		if all[i].Err = v.fault(op, names[i]); all[i].Err == nil {
			all[i].Values = append(all[i].Values, notNil(value))
		}
		return nil
	}
	if err := l.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return all, nil
}

// Length counts the values of lists.
func (l lists) Length(ctx context.Context, reads []cache.Read) ([]cache.Length, error) {
	const op = "cache: length"
	if err := l.begin(ctx, op, len(reads)); err != nil {
		return nil, err
	}
	lengths := make([]cache.Length, len(reads))
	for i, r := range reads {
		lengths[i].Err = checkKey(op, r.Key, r.Guard)
	}
	order := inOrder(len(reads), func(i int) bool { return lengths[i].Err != nil }, func(i int) string { return reads[i].Key })
	var v verdict
	var length *int64
	c := call{op: op, sql: "SELECT * FROM list_length($1, $2, $3, $4)", more: []any{&length}}
	c.args = func(part []int) []any {
		holders, fences := guards(part, func(i int) cache.Guard { return reads[i].Guard })
		return []any{l.t.ns, pick(part, func(i int) []byte { return []byte(reads[i].Key) }), holders, fences}
	}
	c.each = func(i int) error {
		if lengths[i].Err = v.fault(op, reads[i].Key); lengths[i].Err == nil {
			lengths[i].Length = int(*length)
		}
		return nil
	}
	if err := l.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return lengths, nil
}

// Drop removes whole lists.
func (l lists) Drop(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	const op = "cache: drop"
	if err := l.begin(ctx, op, len(removals)); err != nil {
		return nil, err
	}
	removed := make([]cache.Removed, len(removals))
	for i, r := range removals {
		removed[i].Err = checkKey(op, r.Key, r.Guard)
		if removed[i].Err == nil && !r.If.IsAlways() {
			removed[i].Err = check{op, r.Key}.refuse(fault.Invalid, "a list has no revision to compare; drop it with the condition Always")
		}
	}
	order := inOrder(len(removals), func(i int) bool { return removed[i].Err != nil }, func(i int) string { return removals[i].Key })
	var v verdict
	c := call{op: op, sql: "SELECT * FROM list_drop($1, $2, $3, $4)"}
	c.args = func(part []int) []any {
		holders, fences := guards(part, func(i int) cache.Guard { return removals[i].Guard })
		return []any{l.t.ns, pick(part, func(i int) []byte { return []byte(removals[i].Key) }), holders, fences}
	}
	c.each = func(i int) error {
		removed[i] = cache.Removed{Existed: v.code == codeDone, Err: v.fault(op, removals[i].Key)}
		return nil
	}
	if err := l.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return removed, nil
}

// Names lists the names of lists.
func (l lists) Names(ctx context.Context, p cache.Page) (cache.Keys, error) {
	return l.names(ctx, "cache: names", listNames, p)
}
