package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/gobackplane/backplane/cache"
)

// Get of entries without guards is one SELECT.
func (e *entries) Get(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
	const op = "cache: get"
	if err := e.begin(ctx, op, len(reads)); err != nil {
		return nil, err
	}
	got := make([]cache.Got, len(reads))
	guarded := false
	for i, r := range reads {
		got[i].Err = checkKey(op, r.Key, r.Guard)
		guarded = guarded || r.Guard != (cache.Guard{})
	}
	order := inOrder(len(reads), func(i int) bool { return got[i].Err != nil }, func(i int) string { return reads[i].Key })

	var v verdict
	var value, revision []byte
	var flags *int16
	var created *int64
	var expires *time.Time
	sql := plainGet
	args := func(part []int) []any {
		return []any{e.t.ns, pick(part, func(i int) []byte { return []byte(reads[i].Key) })}
	}
	switch {
	case guarded:
		sql = "SELECT * FROM cache_get($1, $2, $3, $4)"
		plain := args
		args = func(part []int) []any {
			holders, fences := guards(part, func(i int) cache.Guard { return reads[i].Guard })
			return append(plain(part), holders, fences)
		}
	case len(order) == 1:
		sql = singleGet
		args = func(part []int) []any { return []any{e.t.ns, []byte(reads[part[0]].Key)} }
	}
	c := call{op: op, sql: sql, args: args, more: []any{&value, &flags, &revision, &created, &expires}}
	c.each = func(i int) error {
		if got[i].Err = v.fault(op, reads[i].Key); got[i].Err != nil {
			return nil
		}
		got[i].Found = true
		got[i].Entry = cache.Entry{
			Key: reads[i].Key, Value: notNil(value), Flags: uint8(*flags), Revision: cache.Revision(revision), Created: time.Unix(0, *created),
		}
		if reads[i].Expiry && expires != nil {
			got[i].Entry.Expires = *expires
		}
		return nil
	}
	if err := e.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return got, nil
}

// singleGet is plainGet of one key, which is most of them, without taking an array apart.
const singleGet = `SELECT 1, 0, NULL::bytea, NULL::bigint, NULL::timestamptz, value, flags, revision, created, expires
FROM entry WHERE ns = $1 AND key = $2 AND (expires IS NULL OR expires > clock_timestamp())`

// The lateral query with its OFFSET is one probe of the index for each key, whatever the planner believes of the table.
const plainGet = `SELECT u.n::int, 0, NULL::bytea, NULL::bigint, NULL::timestamptz, e.value, e.flags, e.revision, e.created, e.expires
FROM unnest($2::bytea[]) WITH ORDINALITY AS u(key, n), LATERAL (
  SELECT value, flags, revision, created, expires FROM entry
  WHERE ns = $1 AND key = u.key AND (expires IS NULL OR expires > clock_timestamp()) OFFSET 0) e`

func checkWrite(w *cache.Write) error {
	const op = "cache: set"
	at := check{op, w.Key}
	return first(
		checkKey(op, w.Key, w.Guard),
		at.size("value", len(w.Value), cacheCapabilities.MaxValue, smallerValue),
		at.lifetime(w.TTL, cacheCapabilities.MinTTL),
	)
}

// Set of entries without conditions and guards is one INSERT … ON CONFLICT.
func (e *entries) Set(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
	const op = "cache: set"
	if err := e.begin(ctx, op, len(writes)); err != nil {
		return nil, err
	}
	written := make([]cache.Written, len(writes))
	drawn := random(12 * len(writes))
	plain := true
	for i := range writes {
		written[i].Err = checkWrite(&writes[i])
		plain = plain && writes[i].If.IsAlways() && writes[i].Guard == (cache.Guard{})
		if written[i].Err == nil {
			written[i].Revision = cache.Revision(drawn[12*i : 12*i+12])
		}
	}
	order := inOrder(len(writes), func(i int) bool { return written[i].Err != nil }, func(i int) string { return writes[i].Key })
	size := func(i int) int { return len(writes[i].Key) + len(writes[i].Value) + 64 }
	now := time.Now().UnixNano()
	args := func(part []int) []any {
		return []any{
			e.t.ns, now,
			pick(part, func(i int) []byte { return []byte(writes[i].Key) }),
			pick(part, func(i int) []byte { return notNil(writes[i].Value) }),
			pick(part, func(i int) int16 { return int16(writes[i].Flags) }),
			pick(part, func(i int) int64 { return micros(writes[i].TTL) }),
			pick(part, func(i int) []byte { return []byte(written[i].Revision) }),
		}
	}
	if plain {
		for part := range parts(lastOfEach(order, func(i int) string { return writes[i].Key }), size) {
			sql := plainSet
			if slices.ContainsFunc(part, func(i int) bool { return writes[i].TTL > 0 }) {
				sql = "SELECT cache_put($1, $2, $3, $4, $5, $6, $7)" // which sweeps, too
			}
			if err := e.t.store.exec(ctx, sql, args(part)...); err != nil {
				return nil, e.t.fault(err, op, "")
			}
		}
		return written, nil
	}
	var v verdict
	var there []byte
	c := call{op: op, sql: "SELECT * FROM cache_set($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", size: size, more: []any{&there}}
	c.args = func(part []int) []any {
		holders, fences := guards(part, func(i int) cache.Guard { return writes[i].Guard })
		conditions, wants := conditionsOf(part, func(i int) cache.Condition { return writes[i].If })
		return append(args(part), conditions, wants, holders, fences)
	}
	c.each = func(i int) error {
		written[i] = cache.Written{Revision: cache.Revision(there), Err: v.fault(op, writes[i].Key)}
		return nil
	}
	if err := e.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return written, nil
}

// plainSet is what cache_put does, without the sweep.
const plainSet = `INSERT INTO entry (ns, key, value, flags, revision, created, expires)
SELECT $1, u.key, u.value, u.flags, u.revision, $2, ends_in(u.ttl)
FROM unnest($3::bytea[], $4::bytea[], $5::smallint[], $6::bigint[], $7::bytea[]) AS u(key, value, flags, ttl, revision)
ON CONFLICT (ns, key) DO UPDATE SET value = excluded.value, flags = excluded.flags, revision = excluded.revision,
  created = excluded.created, expires = excluded.expires`

// lastOfEach leaves, of neighbours with the same name, the last one: it would replace the others at once.
func lastOfEach(order []int, name func(i int) string) []int {
	kept := order[:0]
	for n, i := range order {
		if n+1 == len(order) || name(order[n+1]) != name(i) {
			kept = append(kept, i)
		}
	}
	return kept
}

// conditionsOf are the two arrays that conditions travel in.
func conditionsOf(part []int, of func(i int) cache.Condition) (kinds []int16, wants [][]byte) {
	kinds, wants = make([]int16, len(part)), make([][]byte, len(part))
	for n, i := range part {
		c := of(i)
		revision, exact := c.WantsRevision()
		switch {
		case c.WantsAbsent():
			kinds[n] = 1
		case c.WantsPresent():
			kinds[n] = 2
		case exact:
			kinds[n], wants[n] = 3, []byte(revision)
		}
	}
	return kinds, wants
}

// Delete removes entries.
func (e *entries) Delete(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	const op = "cache: delete"
	if err := e.begin(ctx, op, len(removals)); err != nil {
		return nil, err
	}
	removed := make([]cache.Removed, len(removals))
	for i, r := range removals {
		removed[i].Err = checkKey(op, r.Key, r.Guard)
	}
	order := inOrder(len(removals), func(i int) bool { return removed[i].Err != nil }, func(i int) string { return removals[i].Key })
	var v verdict
	c := call{op: op, sql: "SELECT * FROM cache_delete($1, $2, $3, $4, $5, $6)"}
	c.args = func(part []int) []any {
		holders, fences := guards(part, func(i int) cache.Guard { return removals[i].Guard })
		conditions, wants := conditionsOf(part, func(i int) cache.Condition { return removals[i].If })
		return []any{e.t.ns, pick(part, func(i int) []byte { return []byte(removals[i].Key) }), conditions, wants, holders, fences}
	}
	c.each = func(i int) error {
		removed[i] = cache.Removed{Existed: v.code == codeDone, Err: v.fault(op, removals[i].Key)}
		return nil
	}
	if err := e.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return removed, nil
}

// Touch gives entries a new lifetime.
func (e *entries) Touch(ctx context.Context, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
	const op = "cache: touch"
	if err := e.begin(ctx, op, len(lifetimes)); err != nil {
		return nil, err
	}
	touched := make([]cache.Touched, len(lifetimes))
	for i, l := range lifetimes {
		touched[i].Err = first(checkKey(op, l.Key, l.Guard), check{op, l.Key}.lifetime(l.TTL, cacheCapabilities.MinTTL))
	}
	order := inOrder(len(lifetimes), func(i int) bool { return touched[i].Err != nil }, func(i int) string { return lifetimes[i].Key })
	var v verdict
	c := call{op: op, sql: "SELECT * FROM cache_touch($1, $2, $3, $4, $5)"}
	c.args = func(part []int) []any {
		holders, fences := guards(part, func(i int) cache.Guard { return lifetimes[i].Guard })
		return []any{
			e.t.ns, pick(part, func(i int) []byte { return []byte(lifetimes[i].Key) }),
			pick(part, func(i int) int64 { return micros(lifetimes[i].TTL) }), holders, fences,
		}
	}
	c.each = func(i int) error {
		touched[i].Err = v.fault(op, lifetimes[i].Key)
		return nil
	}
	if err := e.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return touched, nil
}

// Add adds to counters.
func (e *entries) Add(ctx context.Context, increments []cache.Increment) ([]cache.Sum, error) {
	const op = "cache: add"
	if err := e.begin(ctx, op, len(increments)); err != nil {
		return nil, err
	}
	sums := make([]cache.Sum, len(increments))
	drawn := random(12 * len(increments))
	for i, n := range increments {
		sums[i].Err = first(checkKey(op, n.Key, n.Guard), check{op, n.Key}.lifetime(n.TTL, cacheCapabilities.MinTTL))
	}
	order := inOrder(len(increments), func(i int) bool { return sums[i].Err != nil }, func(i int) string { return increments[i].Key })
	var v verdict
	var sum *int64
	now := time.Now().UnixNano()
	c := call{op: op, sql: "SELECT * FROM cache_add($1, $2, $3, $4, $5, $6, $7, $8)", more: []any{&sum}}
	c.args = func(part []int) []any {
		holders, fences := guards(part, func(i int) cache.Guard { return increments[i].Guard })
		return []any{
			e.t.ns, now,
			pick(part, func(i int) []byte { return []byte(increments[i].Key) }),
			pick(part, func(i int) int64 { return increments[i].Delta }),
			pick(part, func(i int) int64 { return micros(increments[i].TTL) }),
			pick(part, func(i int) []byte { return drawn[12*i : 12*i+12] }),
			holders, fences,
		}
	}
	c.each = func(i int) error {
		if sums[i].Err = v.fault(op, increments[i].Key); sums[i].Err == nil {
			sums[i] = cache.Sum{Value: *sum, Revision: cache.Revision(drawn[12*i : 12*i+12])}
		}
		return nil
	}
	if err := e.run(ctx, order, c, &v); err != nil {
		return nil, err
	}
	return sums, nil
}
