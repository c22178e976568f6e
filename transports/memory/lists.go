package memory

import (
	"context"

	"github.com/gobackplane/backplane/cache"
)

// lists is one node's cache.Lists.
type lists struct{ *cacheDriver }

func (d lists) Push(ctx context.Context, pushes []cache.Push) ([]cache.Length, error) {
	if err := d.begin(ctx, "cache: push", len(pushes)); err != nil {
		return nil, err
	}
	lengths := make([]cache.Length, len(pushes))
	now := d.entries.begin(len(pushes))
	defer d.entries.mu.Unlock()
	for i, p := range pushes {
		if lengths[i].Err = d.check.Push(p); lengths[i].Err == nil {
			lengths[i] = d.entries.push(p, now)
		}
	}
	return lengths, nil
}

func (e *entries) push(p cache.Push, now instant) cache.Length {
	if err := e.admits(p.Guard, "cache: push", p.List, now); err != nil {
		return cache.Length{Err: err}
	}
	found := e.lists.get(p.List, now)
	if found == nil {
		found = e.lists.put(p.List, &ring[[]byte]{}, never)
	}
	if p.TTL > 0 {
		e.lists.move(found, now.in(p.TTL))
	}
	for _, value := range p.Values {
		found.value.push(clone(value, true), p.Front)
	}
	return cache.Length{Length: found.value.size}
}

func (d lists) Pop(ctx context.Context, pops []cache.Pop) ([]cache.Popped, error) {
	if err := d.begin(ctx, "cache: pop", len(pops)); err != nil {
		return nil, err
	}
	popped := make([]cache.Popped, len(pops))
	now := d.entries.begin(len(pops))
	defer d.entries.mu.Unlock()
	for i, p := range pops {
		if popped[i].Err = d.check.Pop(p); popped[i].Err == nil {
			popped[i] = d.entries.pop(p, now)
		}
	}
	return popped, nil
}

func (e *entries) pop(p cache.Pop, now instant) cache.Popped {
	if err := e.admits(p.Guard, "cache: pop", p.List, now); err != nil {
		return cache.Popped{Err: err}
	}
	found := e.lists.get(p.List, now)
	if found == nil {
		return cache.Popped{}
	}
	values := make([][]byte, min(p.Max, found.value.size))
	for i := range values {
		values[i] = found.value.pop(p.Back) // nobody else has it now
	}
	if found.value.size == 0 {
		e.lists.remove(found)
	}
	return cache.Popped{Values: values}
}

func (d lists) Range(ctx context.Context, ranges []cache.Range) ([]cache.Popped, error) {
	if err := d.begin(ctx, "cache: range", len(ranges)); err != nil {
		return nil, err
	}
	read := make([]cache.Popped, len(ranges))
	now := d.entries.begin(0)
	defer d.entries.mu.Unlock()
	for i, r := range ranges {
		if read[i].Err = d.check.Range(r); read[i].Err == nil {
			read[i] = d.entries.read(r, now)
		}
	}
	return read, nil
}

func (e *entries) read(r cache.Range, now instant) cache.Popped {
	if err := e.admits(r.Guard, "cache: range", r.List, now); err != nil {
		return cache.Popped{Err: err}
	}
	found := e.lists.get(r.List, now)
	if found == nil || r.Start >= found.value.size {
		return cache.Popped{}
	}
	values := make([][]byte, min(r.Max, found.value.size-r.Start))
	for i := range values {
		values[i] = clone(found.value.at(r.Start+i), true)
	}
	return cache.Popped{Values: values}
}

func (d lists) Length(ctx context.Context, reads []cache.Read) ([]cache.Length, error) {
	const op = "cache: length"
	if err := d.begin(ctx, op, len(reads)); err != nil {
		return nil, err
	}
	lengths := make([]cache.Length, len(reads))
	now := d.entries.begin(0)
	defer d.entries.mu.Unlock()
	for i, r := range reads {
		err := d.check.Read(op, r)
		if err == nil {
			err = d.entries.admits(r.Guard, op, r.Key, now)
		}
		if err != nil {
			lengths[i].Err = err
		} else if found := d.entries.lists.get(r.Key, now); found != nil {
			lengths[i].Length = found.value.size
		}
	}
	return lengths, nil
}

func (d lists) Drop(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	const op = "cache: drop"
	if err := d.begin(ctx, op, len(removals)); err != nil {
		return nil, err
	}
	removed := make([]cache.Removed, len(removals))
	now := d.entries.begin(len(removals))
	defer d.entries.mu.Unlock()
	for i, r := range removals {
		err := d.check.Drop(r)
		if err == nil {
			err = d.entries.admits(r.Guard, op, r.Key, now)
		}
		if err != nil {
			removed[i].Err = err
		} else if found := d.entries.lists.get(r.Key, now); found != nil {
			d.entries.lists.remove(found)
			removed[i].Existed = true
		}
	}
	return removed, nil
}

func (d lists) Names(ctx context.Context, p cache.Page) (cache.Keys, error) {
	if err := d.page(ctx, "cache: names", &p); err != nil {
		return cache.Keys{}, err
	}
	now := d.entries.begin(0)
	defer d.entries.mu.Unlock()
	var names cache.Keys
	names.Next = d.entries.lists.page(p.Prefix, p.Cursor, p.Limit, now, func(i *item[*ring[[]byte]]) {
		names.Keys = append(names.Keys, i.name)
	})
	return names, nil
}
