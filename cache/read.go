package cache

import (
	"context"
)

func reading(op string) call[Read, Got] {
	return call[Read, Got]{op: op, send: (*Backend).Get, repeatable: func(Read) bool { return true }}
}

// Get reads an entry; ErrNotFound when there is none, or only its cached absence.
//
// Options: WithExpiry, and guards: with one, the read fails while another holds the key's lock. While the store is
// unavailable it is asked three times within ctx.
func (c *Cache) Get(ctx context.Context, key string, options ...Option) (Entry, error) {
	const op = "cache: get"
	s, err := c.settle(op, key, expiryOption|guardOption, options)
	if err != nil {
		return Entry{}, err
	}
	got, err := one(ctx, c, reading(op), Read{Key: key, Guard: s.guard, Expiry: s.expiry}, s.wait)
	if err != nil {
		return Entry{}, err
	}
	if !got.Found || got.Entry.isAbsence() {
		return Entry{}, c.notFound(op, key)
	}
	return got.Entry, nil
}

// GetMany reads entries, in the order of the keys. What is not there has Found false and no Err. Each result has its
// own Err; the error beside them tells that a whole call failed, and is in the results concerned too.
//
// Options: as Get.
func (c *Cache) GetMany(ctx context.Context, keys []string, options ...Option) ([]Got, error) {
	const op = "cache: get"
	s, err := c.settle(op, "", expiryOption|guardOption, options)
	if err != nil {
		return nil, err
	}
	if err := s.checkKeys(c, op, keys); err != nil {
		return nil, err
	}
	reads := make([]Read, len(keys))
	for i, key := range keys {
		reads[i] = Read{Key: key, Guard: s.guard, Expiry: s.expiry}
	}
	all, err := many(ctx, c, reading(op), reads, s.wait)
	for i := range all {
		if all[i].Found && all[i].Entry.isAbsence() {
			all[i].Entry, all[i].Found = Entry{}, false
		}
	}
	return all, err
}

// lookup reads an entry with its cached absence, if it is one.
func (c *Cache) lookup(ctx context.Context, op, key string) (Got, error) {
	return one(ctx, c, reading(op), Read{Key: key}, 0)
}
