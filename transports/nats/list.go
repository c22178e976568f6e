package nats

import (
	"context"
	"slices"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// lists keeps each list in one message. That makes every operation on it one step, whatever guards it; and it bounds a list
// to what one message holds.
type lists struct{ *entries }

// liveList reads a list, if there is one that has not ended.
func liveList(there stored, now moment) (values [][]byte, version record, ends time.Time, err error) {
	version, ends, ok, err := live(there, now)
	if err != nil || !ok {
		return nil, record{}, time.Time{}, err
	}
	values, err = readValues(version.value)
	return values, version, ends, err
}

// storeList is the write of a list that ends at a time, or has a new lifetime.
func storeList(values [][]byte, ends time.Time, ttl time.Duration, now moment) *put {
	if len(values) == 0 {
		return &put{ttl: tombstoneTTL}
	}
	version := newRecord(0, encodeValues(values), ttl)
	if ttl == 0 {
		version.keepEnd(ends)
	}
	return &put{data: version.encode(), ttl: version.left(now.at)}
}

// Push reads each list and writes it with the values. Exhausted when it would not fit into one message.
func (l lists) Push(ctx context.Context, pushes []cache.Push) ([]cache.Length, error) {
	answers := make([]cache.Length, len(pushes))
	err := l.perform(ctx, "cache: push", len(pushes), func(i int) (*edit, *error) {
		p, answer := &pushes[i], &answers[i]
		if answer.Err = l.limits.Push(*p); answer.Err != nil {
			return nil, &answer.Err
		}
		length := 0
		each := &edit{
			subject: l.store.subject(listKind, p.List), looks: true,
			decide: func(now moment, there stored) (*put, error) {
				values, _, ends, err := liveList(there, now)
				if err != nil {
					return nil, err
				}
				if p.Front {
					front := slices.Clone(p.Values)
					slices.Reverse(front)
					values = append(front, values...)
				} else {
					values = append(values, p.Values...)
				}
				if size, most := encodedSize(values), l.limits.MaxValue+listRoom; size > most {
					return nil, fault.New(fault.Exhausted,
						"the list would have %d bytes, and is kept in one message of at most %d; take values out, use several lists, or raise the server's max_payload", size, most)
				}
				length = len(values)
				return storeList(values, ends, p.TTL, now), nil
			},
			done: func(uint64) { answer.Length = length },
		}
		return l.guarded(each, p.List, p.Guard), &answer.Err
	}, func(i int) string { return pushes[i].List })
	return answers, err
}

// listRoom lets one value of the largest size be a list: its length is stored with it.
const listRoom = 16

// Pop reads each list and writes what is left.
func (l lists) Pop(ctx context.Context, pops []cache.Pop) ([]cache.Popped, error) {
	answers := make([]cache.Popped, len(pops))
	err := l.perform(ctx, "cache: pop", len(pops), func(i int) (*edit, *error) {
		p, answer := &pops[i], &answers[i]
		if answer.Err = l.limits.Pop(*p); answer.Err != nil {
			return nil, &answer.Err
		}
		var taken [][]byte
		each := &edit{
			subject: l.store.subject(listKind, p.List), looks: true,
			decide: func(now moment, there stored) (*put, error) {
				values, _, ends, err := liveList(there, now)
				if err != nil || len(values) == 0 {
					return nil, err
				}
				n := min(p.Max, len(values))
				if p.Back {
					taken, values = slices.Clone(values[len(values)-n:]), values[:len(values)-n]
					slices.Reverse(taken)
				} else {
					taken, values = values[:n], values[n:]
				}
				return storeList(values, ends, 0, now), nil
			},
			done: func(uint64) { answer.Values = taken },
		}
		return l.guarded(each, p.List, p.Guard), &answer.Err
	}, func(i int) string { return pops[i].List })
	return answers, err
}

// view reads lists.
func (l lists) view(ctx context.Context, op string, n int, plan func(i int) (*look, error), answer func(i int, values [][]byte, err error), name func(i int) string) error {
	if err := l.begin(ctx, op, n); err != nil {
		return err
	}
	looks := make([]*look, 0, n)
	places := make([]int, 0, n)
	for i := range n {
		planned, err := plan(i)
		if err != nil {
			answer(i, nil, err)
			continue
		}
		looks, places = append(looks, planned), append(places, i)
	}
	if err := l.store.read(ctx, looks); err != nil {
		return l.failed(ctx, err, op, n, name)
	}
	now := l.store.clock.moment(ctx)
	for at, each := range looks {
		i, err := places[at], each.err
		var values [][]byte
		if err == nil {
			values, _, _, err = liveList(each.there, now)
		}
		answer(i, values, l.store.core.fault(err, op, name(i)))
	}
	return nil
}

// Range is one read for each list.
func (l lists) Range(ctx context.Context, ranges []cache.Range) ([]cache.Popped, error) {
	answers := make([]cache.Popped, len(ranges))
	err := l.view(ctx, "cache: range", len(ranges),
		func(i int) (*look, error) {
			return l.lookAt(listKind, ranges[i].List, ranges[i].Guard), l.limits.Range(ranges[i])
		},
		func(i int, values [][]byte, err error) {
			start := min(ranges[i].Start, len(values))
			if answers[i].Err = err; err == nil && start < len(values) {
				answers[i].Values = values[start : start+min(ranges[i].Max, len(values)-start)]
			}
		},
		func(i int) string { return ranges[i].List })
	return answers, err
}

// Length is one read for each list.
func (l lists) Length(ctx context.Context, reads []cache.Read) ([]cache.Length, error) {
	const op = "cache: length"
	answers := make([]cache.Length, len(reads))
	err := l.view(ctx, op, len(reads),
		func(i int) (*look, error) {
			return l.lookAt(listKind, reads[i].Key, reads[i].Guard), l.limits.Read(op, reads[i])
		},
		func(i int, values [][]byte, err error) { answers[i] = cache.Length{Length: len(values), Err: err} },
		func(i int) string { return reads[i].Key })
	return answers, err
}

// Drop reads each list, since it is to say whether there was one, and writes that it is gone.
func (l lists) Drop(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	return l.remove(ctx, "cache: drop", listKind, removals, l.limits.Drop)
}

// Names walks over the lists of the stream, in pages. The values are read with them.
func (l lists) Names(ctx context.Context, p cache.Page) (cache.Keys, error) {
	return l.names(ctx, "cache: names", listKind, p)
}
