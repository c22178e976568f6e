package memory

import (
	"bytes"
	"context"
	"math"
	"strconv"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
)

var cacheCapabilities = cache.Capabilities{
	MaxKey:      1 << 10,
	MaxValue:    8 << 20,
	MaxBatch:    10_000,
	MinTTL:      time.Millisecond,
	Granularity: time.Nanosecond,
	FenceMemory: fenceMemory,
}

// pageLimit is how many names a page of a listing looks at, unless the caller wants fewer.
const pageLimit = 1000

func (t *Transport) cacheBackend() *cache.Backend {
	d := &cacheDriver{
		node: t, entries: t.space.entries,
		check: limits.Cache{Transport: Kind, Capabilities: cacheCapabilities},
	}
	return &cache.Backend{
		Driver: d, Lists: lists{d}, Holders: d, Watcher: d,
		Capabilities: cacheCapabilities,
	}
}

// cacheDriver is one node's cache.Driver.
type cacheDriver struct {
	node    *Transport
	entries *entries
	check   limits.Cache
}

// begin refuses a call as a whole.
func (d *cacheDriver) begin(ctx context.Context, op string, n int) error {
	if err := d.node.ready(ctx, op, ""); err != nil {
		return err
	}
	return d.check.Batch(op, n)
}

func (d *cacheDriver) Get(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
	const op = "cache: get"
	if err := d.begin(ctx, op, len(reads)); err != nil {
		return nil, err
	}
	got := make([]cache.Got, len(reads))
	now := d.entries.begin(0)
	for i, r := range reads {
		got[i] = d.get(op, r, now)
	}
	d.entries.mu.Unlock()
	for i := range got {
		// Outside the lock: a stored value is never changed.
		got[i].Entry.Value = clone(got[i].Entry.Value, got[i].Found)
	}
	return got, nil
}

func (d *cacheDriver) get(op string, r cache.Read, now instant) cache.Got {
	if err := d.check.Read(op, r); err != nil {
		return cache.Got{Err: err}
	}
	if err := d.entries.admits(r.Guard, op, r.Key, now); err != nil {
		return cache.Got{Err: err}
	}
	found := d.entries.values.get(r.Key, now)
	if found == nil {
		return cache.Got{}
	}
	e := cache.Entry{
		Key: r.Key, Value: found.value.value, Flags: found.value.flags,
		Revision: found.value.revision, Created: found.value.created.time(),
	}
	if r.Expiry {
		e.Expires = found.ends.time()
	}
	return cache.Got{Entry: e, Found: true}
}

// clone copies a value; one that exists is not nil.
func clone(value []byte, exists bool) []byte {
	if exists && len(value) == 0 {
		return []byte{}
	}
	return bytes.Clone(value)
}

func (d *cacheDriver) Set(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
	if err := d.begin(ctx, "cache: set", len(writes)); err != nil {
		return nil, err
	}
	written := make([]cache.Written, len(writes))
	values := make([][]byte, len(writes))
	for i, w := range writes {
		if written[i].Err = d.check.Write(w); written[i].Err == nil {
			values[i] = clone(w.Value, true)
		}
	}
	now := d.entries.begin(len(writes))
	defer d.entries.mu.Unlock()
	for i, w := range writes {
		if written[i].Err == nil {
			written[i] = d.entries.set(w, values[i], now)
		}
	}
	return written, nil
}

func (e *entries) set(w cache.Write, value []byte, now instant) cache.Written {
	const op = "cache: set"
	if err := e.admits(w.Guard, op, w.Key, now); err != nil {
		return cache.Written{Err: err}
	}
	found := e.values.get(w.Key, now)
	if err := holds(w.If, found, op, w.Key); err != nil {
		return cache.Written{Revision: revisionOf(found), Err: err}
	}
	next := entry{value: value, flags: w.Flags, revision: e.revision(), created: now}
	e.values.put(w.Key, next, now.lifetime(w.TTL))
	e.changed(cache.Change{Key: w.Key})
	return cache.Written{Revision: next.revision}
}

func (e *entries) revision() cache.Revision { return cache.Revision(e.random.draw()) }

func revisionOf(found *item[entry]) cache.Revision {
	if found == nil {
		return ""
	}
	return found.value.revision
}

// holds reports why a condition does not hold for what was found, or nil.
func holds(c cache.Condition, found *item[entry], op, key string) error {
	wanted, exact := c.WantsRevision()
	switch {
	case c.WantsAbsent() && found != nil:
		return conflict(op, key, "the key is there already")
	case c.WantsPresent() && found == nil, exact && found == nil:
		return conflict(op, key, "the key is not there")
	case exact && found.value.revision != wanted:
		return conflict(op, key, "the entry has changed: it is at another revision")
	}
	return nil
}

func (d *cacheDriver) Delete(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	if err := d.begin(ctx, "cache: delete", len(removals)); err != nil {
		return nil, err
	}
	removed := make([]cache.Removed, len(removals))
	now := d.entries.begin(len(removals))
	defer d.entries.mu.Unlock()
	for i, r := range removals {
		if removed[i].Err = d.check.Removal(r); removed[i].Err == nil {
			removed[i] = d.entries.delete(r, now)
		}
	}
	return removed, nil
}

func (e *entries) delete(r cache.Removal, now instant) cache.Removed {
	const op = "cache: delete"
	if err := e.admits(r.Guard, op, r.Key, now); err != nil {
		return cache.Removed{Err: err}
	}
	found := e.values.get(r.Key, now)
	if err := holds(r.If, found, op, r.Key); err != nil {
		return cache.Removed{Existed: found != nil, Err: err}
	}
	if found == nil {
		return cache.Removed{}
	}
	e.values.remove(found)
	e.changed(cache.Change{Key: r.Key, Deleted: true})
	return cache.Removed{Existed: true}
}

func (d *cacheDriver) Touch(ctx context.Context, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
	if err := d.begin(ctx, "cache: touch", len(lifetimes)); err != nil {
		return nil, err
	}
	touched := make([]cache.Touched, len(lifetimes))
	now := d.entries.begin(len(lifetimes))
	defer d.entries.mu.Unlock()
	for i, l := range lifetimes {
		if touched[i].Err = d.check.Lifetime(l); touched[i].Err == nil {
			touched[i].Err = d.entries.touch(l, now)
		}
	}
	return touched, nil
}

func (e *entries) touch(l cache.Lifetime, now instant) error {
	const op = "cache: touch"
	if err := e.admits(l.Guard, op, l.Key, now); err != nil {
		return err
	}
	found := e.values.get(l.Key, now)
	if found == nil {
		return absent(op, l.Key, "key")
	}
	e.values.move(found, now.lifetime(l.TTL))
	e.changed(cache.Change{Key: l.Key})
	return nil
}

func (d *cacheDriver) Add(ctx context.Context, increments []cache.Increment) ([]cache.Sum, error) {
	if err := d.begin(ctx, "cache: add", len(increments)); err != nil {
		return nil, err
	}
	sums := make([]cache.Sum, len(increments))
	now := d.entries.begin(len(increments))
	defer d.entries.mu.Unlock()
	for i, each := range increments {
		if sums[i].Err = d.check.Increment(each); sums[i].Err == nil {
			sums[i] = d.entries.add(each, now)
		}
	}
	return sums, nil
}

func (e *entries) add(i cache.Increment, now instant) cache.Sum {
	const op = "cache: add"
	if err := e.admits(i.Guard, op, i.Key, now); err != nil {
		return cache.Sum{Err: err}
	}
	next, ends, value := entry{created: now}, now.lifetime(i.TTL), int64(0)
	if found := e.values.get(i.Key, now); found != nil {
		var err error
		if value, err = integer(found.value.value); err != nil {
			return cache.Sum{Err: &fault.Error{Code: fault.Invalid, Op: op, Subject: i.Key, Transport: Kind, Message: err.Error()}}
		}
		ends, next.flags = found.ends, found.value.flags
	}
	if i.Delta > 0 && value > math.MaxInt64-i.Delta || i.Delta < 0 && value < math.MinInt64-i.Delta {
		return cache.Sum{Err: &fault.Error{
			Code: fault.Exhausted, Op: op, Subject: i.Key, Transport: Kind,
			Message: "the counter would leave the range of 64 bits; it is unchanged",
		}}
	}
	value += i.Delta
	next.value, next.revision = strconv.AppendInt(nil, value, 10), e.revision()
	e.values.put(i.Key, next, ends)
	e.changed(cache.Change{Key: i.Key})
	return cache.Sum{Value: value, Revision: next.revision}
}

// integer reads a counter: only the form that Add itself writes, so that every transport takes the same texts.
func integer(text []byte) (int64, error) {
	value, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || strconv.FormatInt(value, 10) != string(text) {
		return 0, errNoInteger
	}
	return value, nil
}

func (d *cacheDriver) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	const op = "cache: keys"
	if err := d.page(ctx, op, &p); err != nil {
		return cache.Keys{}, err
	}
	now := d.entries.begin(0)
	defer d.entries.mu.Unlock()
	var keys cache.Keys
	keys.Next = d.entries.values.page(p.Prefix, p.Cursor, p.Limit, now, func(i *item[entry]) {
		keys.Keys = append(keys.Keys, i.name)
	})
	return keys, nil
}

// page checks a listing, and chooses its limit.
func (d *cacheDriver) page(ctx context.Context, op string, p *cache.Page) error {
	if err := d.node.ready(ctx, op, p.Prefix); err != nil {
		return err
	}
	if p.Limit == 0 || p.Limit > pageLimit {
		p.Limit = pageLimit
	}
	return d.check.Page(op, *p)
}
