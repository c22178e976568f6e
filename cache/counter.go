package cache

import (
	"context"
	"strconv"

	"github.com/gobackplane/backplane/fault"
)

// Adding again after a lost answer would count twice, so it is never repeated.
var adding = call[Increment, Sum]{op: "cache: add", send: (*Backend).Add}

// Add adds delta to a counter and answers the sum. A counter is an entry whose value is decimal text: Get reads it, Set
// writes it, Delete removes it. An absent one counts as 0. Invalid when the entry is anything else, Exhausted when the
// sum would not fit in 64 bits; both change nothing. Unavailable leaves open whether it was added.
//
// Options: TTL and Jitter, applied when Add creates the counter; guards.
func (c *Cache) Add(ctx context.Context, key string, delta int64, options ...Option) (int64, error) {
	s, err := c.settle(adding.op, key, lifetimeOption|guardOption, options)
	if err != nil {
		return 0, err
	}
	sum, err := one(ctx, c, adding, Increment{Key: key, Delta: delta, TTL: s.ttl, Guard: s.guard}, s.wait)
	return sum.Value, err
}

// AddMany adds to counters. Lifetimes and guards of each are its own; the guards among the options are for those that
// have none. Each result has its own Err; the error beside them tells that a whole call failed, and is in the results
// concerned too.
//
// Options: guards.
func (c *Cache) AddMany(ctx context.Context, increments []Increment, options ...Option) ([]Sum, error) {
	s, err := c.settle(adding.op, "", guardOption, options)
	if err != nil {
		return nil, err
	}
	own := make([]Increment, len(increments))
	for i, increment := range increments {
		if err := s.checkKey(c, adding.op, increment.Key); err != nil {
			return nil, err
		}
		if increment.Guard == (Guard{}) {
			increment.Guard = s.guard
		}
		own[i] = increment
	}
	return many(ctx, c, adding, own, s.wait)
}

// Count reads a counter: 0 when there is none, Corrupt when the entry is not one.
//
// Options: as Get.
func (c *Cache) Count(ctx context.Context, key string, options ...Option) (int64, error) {
	const op = "cache: count"
	s, err := c.settle(op, key, expiryOption|guardOption, options)
	if err != nil {
		return 0, err
	}
	got, err := one(ctx, c, reading(op), Read{Key: key, Guard: s.guard}, s.wait)
	if err != nil || !got.Found || got.Entry.isAbsence() {
		return 0, err
	}
	n, err := strconv.ParseInt(string(got.Entry.Value), 10, 64)
	if err != nil {
		return 0, c.fault(fault.Corrupt, op, key, "the entry is no counter: %w", err)
	}
	return n, nil
}
