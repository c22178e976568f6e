package cache

import (
	"context"
	"errors"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// An unconditional write leaves the same value however often it is sent. Under a condition a repeat would meet what the
// first had written.
var setting = call[Write, Written]{op: "cache: set", send: (*Backend).Set, repeatable: func(w Write) bool { return w.If.IsAlways() }}

// Set writes an entry and answers its new revision. It replaces value, flags and lifetime of an older one.
//
// Options: TTL and Jitter (without: no end); a condition (Conflict when it does not hold); guards. A cached absence
// counts as absent for IfAbsent.
func (c *Cache) Set(ctx context.Context, key string, value []byte, options ...Option) (Revision, error) {
	s, err := c.settle(setting.op, key, lifetimeOption|conditionOption|guardOption, options)
	if err != nil {
		return "", err
	}
	w := Write{Key: key, Value: value, TTL: s.ttl, If: s.condition, Guard: s.guard}
	written, err := one(ctx, c, setting, w, s.wait)
	if err == nil {
		return written.Revision, nil
	}
	if w.If.WantsAbsent() && errors.Is(err, ErrConflict) {
		return c.replaceAbsence(ctx, w, s.wait, err)
	}
	return "", err
}

// SetMany writes entries, in order of their slice. Conditions, lifetimes and guards of each are its own; the guards
// among the options are for those that have none. The bit AbsenceFlag in Flags is Invalid. Each result has its own Err; the
// error beside them tells that a whole call failed, and is in the results concerned too.
//
// Options: guards.
func (c *Cache) SetMany(ctx context.Context, writes []Write, options ...Option) ([]Written, error) {
	op := setting.op
	s, err := c.settle(op, "", guardOption, options)
	if err != nil {
		return nil, err
	}
	own := make([]Write, len(writes))
	for i, w := range writes {
		if w.Flags&AbsenceFlag != 0 {
			return nil, c.fault(fault.Invalid, op, w.Key, "flag %#x marks cached absence; use the other seven bits", AbsenceFlag)
		}
		if err := s.checkKey(c, op, w.Key); err != nil {
			return nil, err
		}
		if w.Guard == (Guard{}) {
			w.Guard = s.guard
		}
		own[i] = w
	}
	all, err := many(ctx, c, setting, own, s.wait)
	return c.replaceAbsences(ctx, own, all, s.wait), err
}

var removing = call[Removal, Removed]{op: "cache: delete", send: (*Backend).Delete}

// Delete removes an entry, and reports whether there was one. It is no error that there was none, unless a condition
// asks for one.
//
// Options: IfRevision or IfPresent (Conflict when it does not hold), and guards.
func (c *Cache) Delete(ctx context.Context, key string, options ...Option) (existed bool, err error) {
	s, err := c.settleRemoval(key, options)
	if err != nil {
		return false, err
	}
	removed, err := one(ctx, c, removing, Removal{Key: key, If: s.condition, Guard: s.guard}, s.wait)
	return removed.Existed, err
}

// DeleteMany removes entries, in the order of the keys. Each result has its own Err; the error beside them tells that a
// whole call failed, and is in the results concerned too.
//
// Options: as Delete, for each key.
func (c *Cache) DeleteMany(ctx context.Context, keys []string, options ...Option) ([]Removed, error) {
	s, err := c.settleRemoval("", options)
	if err != nil {
		return nil, err
	}
	if err := s.checkKeys(c, removing.op, keys); err != nil {
		return nil, err
	}
	removals := make([]Removal, len(keys))
	for i, key := range keys {
		removals[i] = Removal{Key: key, If: s.condition, Guard: s.guard}
	}
	return many(ctx, c, removing, removals, s.wait)
}

func (c *Cache) settleRemoval(key string, options []Option) (settings, error) {
	s, err := c.settle(removing.op, key, conditionOption|guardOption, options)
	if err == nil && s.condition.WantsAbsent() {
		err = c.fault(fault.Invalid, removing.op, key, "IfAbsent: there is nothing to delete then; use IfPresent or IfRevision")
	}
	return s, err
}

var touching = call[Lifetime, Touched]{op: "cache: touch", send: (*Backend).Touch, repeatable: func(Lifetime) bool { return true }}

// Touch gives an entry a new lifetime from now (0: no end), and leaves value and revision alone. ErrNotFound when there
// is none.
//
// Options: guards.
func (c *Cache) Touch(ctx context.Context, key string, ttl time.Duration, options ...Option) error {
	s, err := c.settle(touching.op, key, guardOption, options)
	if err != nil {
		return err
	}
	_, err = one(ctx, c, touching, Lifetime{Key: key, TTL: ttl, Guard: s.guard}, s.wait)
	return err
}

// TouchMany gives entries a new lifetime from now (0: no end), in the order of the keys. Each result has its own Err;
// the error beside them tells that a whole call failed, and is in the results concerned too.
//
// Options: guards.
func (c *Cache) TouchMany(ctx context.Context, keys []string, ttl time.Duration, options ...Option) ([]Touched, error) {
	s, err := c.settle(touching.op, "", guardOption, options)
	if err != nil {
		return nil, err
	}
	if err := s.checkKeys(c, touching.op, keys); err != nil {
		return nil, err
	}
	lifetimes := make([]Lifetime, len(keys))
	for i, key := range keys {
		lifetimes[i] = Lifetime{Key: key, TTL: ttl, Guard: s.guard}
	}
	return many(ctx, c, touching, lifetimes, s.wait)
}

// checkKeys refuses a lock given to Under for keys that are not its name.
func (s *settings) checkKeys(c *Cache, op string, keys []string) error {
	if s.lock == nil {
		return nil
	}
	for _, key := range keys {
		if err := s.checkKey(c, op, key); err != nil {
			return err
		}
	}
	return nil
}

func (s *settings) checkKey(c *Cache, op, key string) error {
	if s.lock == nil {
		return nil
	}
	return s.lock.checkName(c, op, key)
}
