package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
)

var (
	guardedScript = newScript("cache_guarded", "lock", "guard", "cache_guarded")
	getScript     = newScript("cache_get", "lock", "guard", "cache_get")
	setScript     = newScript("cache_set", "lock", "guard", "entry", "cache_set")
	deleteScript  = newScript("cache_delete", "lock", "guard", "entry", "cache_delete")
	touchScript   = newScript("cache_touch", "lock", "guard", "cache_touch")
	addScript     = newScript("cache_add", "lock", "guard", "cache_add")
)

// Get is one GET for each entry, unless its lifetime is asked for or it is guarded.
func (e *entries) Get(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
	return perform(ctx, e, &getOperation, reads)
}

var getOperation = operation[cache.Read, cache.Got]{
	op:    "cache: get",
	name:  func(r *cache.Read) string { return r.Key },
	check: func(l limits.Cache, r *cache.Read) error { return l.Read("cache: get", *r) },
	fail:  func(g *cache.Got) *error { return &g.Err },
	command: func(ctx context.Context, e *entries, r *cache.Read, _ *cache.Got) redis.Cmder {
		if r.Expiry || r.Guard != (cache.Guard{}) {
			return e.guarded(ctx, getScript, e.entry, r.Key, r.Guard)
		}
		return redis.NewStringCmd(ctx, "get", e.entry.key(r.Key))
	},
	answer: func(_ *entries, r *cache.Read, cmd redis.Cmder, g *cache.Got) error {
		record, expires, err := readGot(cmd)
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err != nil {
			return err
		}
		entry, err := readEntry(record)
		if err != nil {
			return err
		}
		g.Entry, g.Found = entry, true
		g.Entry.Key = r.Key
		if r.Expiry {
			g.Entry.Expires = expires
		}
		return nil
	},
}

// readGot reads the reply of GET, or that of the script which knows the lifetime too.
func readGot(cmd redis.Cmder) (record []byte, expires time.Time, err error) {
	if plain, ok := cmd.(*redis.StringCmd); ok {
		record, err = plain.Bytes()
		return record, expires, err
	}
	reply, err := cmd.(*redis.Cmd).Slice()
	if err != nil {
		return nil, expires, err
	}
	if len(reply) != 2 {
		return nil, expires, unexpected(reply)
	}
	text, isText := reply[0].(string)
	left, isNumber := reply[1].(int64)
	if !isText || !isNumber {
		return nil, expires, unexpected(reply)
	}
	if left >= 0 {
		expires = time.Now().Add(fromMillis(left))
	}
	return []byte(text), expires, nil
}

// Set is one SET for each entry, unless it has a condition or a guard.
func (e *entries) Set(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
	return perform(ctx, e, &setOperation, writes)
}

var setOperation = operation[cache.Write, cache.Written]{
	op:    "cache: set",
	name:  func(w *cache.Write) string { return w.Key },
	check: func(l limits.Cache, w *cache.Write) error { return l.Write(*w) },
	fail:  func(w *cache.Written) *error { return &w.Err },
	command: func(ctx context.Context, e *entries, w *cache.Write, written *cache.Written) redis.Cmder {
		record := newEntry(w.Flags, w.Value)
		written.Revision = revisionOf(record)
		switch {
		case !w.If.IsAlways() || w.Guard != (cache.Guard{}):
			condition, revision := conditionArgs(w.If)
			return e.guarded(ctx, setScript, e.entry, w.Key, w.Guard, condition, revision, ttlMillis(w.TTL), record)
		case w.TTL > 0:
			return redis.NewStatusCmd(ctx, "set", e.entry.key(w.Key), record, "px", ttlMillis(w.TTL))
		default:
			return redis.NewStatusCmd(ctx, "set", e.entry.key(w.Key), record)
		}
	},
	answer: func(_ *entries, _ *cache.Write, cmd redis.Cmder, written *cache.Written) error {
		if err := cmd.Err(); err != nil {
			written.Revision = ""
			return err
		}
		scripted, ok := cmd.(*redis.Cmd)
		if !ok || scripted.Val() == int64(1) {
			return nil
		}
		written.Revision = ""
		there, err := scripted.Slice()
		if err != nil || len(there) != 1 {
			return unexpected(scripted.Val())
		}
		revision, _ := there[0].(string)
		written.Revision = cache.Revision(revision)
		return refusals["CONFLICT"]
	},
}

// conditionArgs are a condition's name and revision as the scripts read them.
func conditionArgs(c cache.Condition) (name, revision string) {
	if r, ok := c.WantsRevision(); ok {
		return "revision", string(r)
	}
	switch {
	case c.WantsAbsent():
		return "absent", ""
	case c.WantsPresent():
		return "present", ""
	}
	return "always", ""
}

// Delete is one UNLINK for each entry, unless it has a condition or a guard.
func (e *entries) Delete(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	return perform(ctx, e, &deleteOperation, removals)
}

var deleteOperation = operation[cache.Removal, cache.Removed]{
	op:    "cache: delete",
	name:  func(r *cache.Removal) string { return r.Key },
	check: func(l limits.Cache, r *cache.Removal) error { return l.Removal(*r) },
	fail:  func(r *cache.Removed) *error { return &r.Err },
	command: func(ctx context.Context, e *entries, r *cache.Removal, _ *cache.Removed) redis.Cmder {
		if r.If.IsAlways() {
			return e.unlink(ctx, e.entry, r.Key, r.Guard)
		}
		condition, revision := conditionArgs(r.If)
		return e.guarded(ctx, deleteScript, e.entry, r.Key, r.Guard, condition, revision)
	},
	answer: answerRemoved,
}

// unlink removes a key, under a guard if there is one.
func (e *entries) unlink(ctx context.Context, space keyspace, key string, g cache.Guard) redis.Cmder {
	if g == (cache.Guard{}) {
		return redis.NewCmd(ctx, "unlink", space.key(key))
	}
	return e.guarded(ctx, guardedScript, space, key, g, "unlink")
}

func answerRemoved(_ *entries, _ *cache.Removal, cmd redis.Cmder, r *cache.Removed) error {
	n, err := cmd.(*redis.Cmd).Int64()
	r.Existed = n > 0
	return err
}

// Touch is one PEXPIRE for each entry, unless it is to have no end, or is guarded.
func (e *entries) Touch(ctx context.Context, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
	return perform(ctx, e, &touchOperation, lifetimes)
}

var touchOperation = operation[cache.Lifetime, cache.Touched]{
	op:    "cache: touch",
	name:  func(l *cache.Lifetime) string { return l.Key },
	check: func(c limits.Cache, l *cache.Lifetime) error { return c.Lifetime(*l) },
	fail:  func(t *cache.Touched) *error { return &t.Err },
	command: func(ctx context.Context, e *entries, l *cache.Lifetime, _ *cache.Touched) redis.Cmder {
		if l.TTL > 0 && l.Guard == (cache.Guard{}) {
			return redis.NewCmd(ctx, "pexpire", e.entry.key(l.Key), ttlMillis(l.TTL))
		}
		return e.guarded(ctx, touchScript, e.entry, l.Key, l.Guard, ttlMillis(l.TTL))
	},
	answer: func(_ *entries, _ *cache.Lifetime, cmd redis.Cmder, _ *cache.Touched) error {
		n, err := cmd.(*redis.Cmd).Int64()
		if err == nil && n == 0 {
			return fault.New(fault.NotFound, "there is no such entry")
		}
		return err
	},
}

// Add is one script for each counter.
func (e *entries) Add(ctx context.Context, increments []cache.Increment) ([]cache.Sum, error) {
	return perform(ctx, e, &addOperation, increments)
}

var addOperation = operation[cache.Increment, cache.Sum]{
	op:    "cache: add",
	name:  func(i *cache.Increment) string { return i.Key },
	check: func(l limits.Cache, i *cache.Increment) error { return l.Increment(*i) },
	fail:  func(s *cache.Sum) *error { return &s.Err },
	command: func(ctx context.Context, e *entries, i *cache.Increment, sum *cache.Sum) redis.Cmder {
		header := newEntry(0, nil)
		sum.Revision = revisionOf(header)
		return e.guarded(ctx, addScript, e.entry, i.Key, i.Guard, strconv.FormatInt(i.Delta, 10), ttlMillis(i.TTL), header)
	},
	answer: func(_ *entries, _ *cache.Increment, cmd redis.Cmder, sum *cache.Sum) error {
		text, err := cmd.(*redis.Cmd).Text()
		if err == nil {
			sum.Value, err = strconv.ParseInt(text, 10, 64)
		}
		if err != nil {
			sum.Revision = ""
		}
		return err
	},
}
