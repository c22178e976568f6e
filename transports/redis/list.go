package redis

import (
	"bytes"
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/internal/limits"
)

var pushScript = newScript("list_push", "lock", "guard", "list_push")

// lists keeps each list in a list of Redis.
type lists struct{ *entries }

// Push is one RPUSH or LPUSH for each list, unless it has a lifetime or a guard.
func (l lists) Push(ctx context.Context, pushes []cache.Push) ([]cache.Length, error) {
	return perform(ctx, l.entries, &pushOperation, pushes)
}

var pushOperation = operation[cache.Push, cache.Length]{
	op:    "cache: push",
	name:  func(p *cache.Push) string { return p.List },
	check: func(l limits.Cache, p *cache.Push) error { return l.Push(*p) },
	fail:  func(l *cache.Length) *error { return &l.Err },
	command: func(ctx context.Context, e *entries, p *cache.Push, _ *cache.Length) redis.Cmder {
		push := "rpush"
		if p.Front {
			push = "lpush"
		}
		args := make([]any, 0, 2+len(p.Values))
		scripted := p.TTL > 0 || p.Guard != (cache.Guard{})
		if scripted {
			args = append(args, push, ttlMillis(p.TTL))
		} else {
			args = append(args, push, e.list.key(p.List))
		}
		for _, value := range p.Values {
			args = append(args, bytes.Clone(value)) // the lane may still read it when the caller has its slices back
		}
		if scripted {
			return e.guarded(ctx, pushScript, e.list, p.List, p.Guard, args...)
		}
		return redis.NewCmd(ctx, args...)
	},
	answer: answerLength[cache.Push],
}

func answerLength[E any](_ *entries, _ *E, cmd redis.Cmder, l *cache.Length) error {
	n, err := cmd.(*redis.Cmd).Int()
	l.Length = n
	return err
}

// Pop is one LPOP or RPOP for each list.
func (l lists) Pop(ctx context.Context, pops []cache.Pop) ([]cache.Popped, error) {
	return perform(ctx, l.entries, &popOperation, pops)
}

var popOperation = operation[cache.Pop, cache.Popped]{
	op:    "cache: pop",
	name:  func(p *cache.Pop) string { return p.List },
	check: func(l limits.Cache, p *cache.Pop) error { return l.Pop(*p) },
	fail:  func(p *cache.Popped) *error { return &p.Err },
	command: func(ctx context.Context, e *entries, p *cache.Pop, _ *cache.Popped) redis.Cmder {
		pop := "lpop"
		if p.Back {
			pop = "rpop"
		}
		return e.onList(ctx, p.List, p.Guard, pop, p.Max)
	},
	answer: answerValues[cache.Pop],
}

// onList is a command on a list, under a guard if there is one.
func (e *entries) onList(ctx context.Context, list string, g cache.Guard, command string, args ...any) *redis.Cmd {
	if g != (cache.Guard{}) {
		return e.guarded(ctx, guardedScript, e.list, list, g, append([]any{command}, args...)...)
	}
	return redis.NewCmd(ctx, append([]any{command, e.list.key(list)}, args...)...)
}

func answerValues[E any](_ *entries, _ *E, cmd redis.Cmder, p *cache.Popped) error {
	reply, err := cmd.(*redis.Cmd).Result()
	if errors.Is(err, redis.Nil) || reply == nil && err == nil {
		return nil
	}
	if err != nil {
		return err
	}
	values, ok := reply.([]any)
	if !ok {
		return unexpected(reply)
	}
	p.Values = make([][]byte, len(values))
	for i, value := range values {
		text, ok := value.(string)
		if !ok {
			return unexpected(value)
		}
		p.Values[i] = []byte(text)
	}
	return nil
}

// Range is one LRANGE for each list.
func (l lists) Range(ctx context.Context, ranges []cache.Range) ([]cache.Popped, error) {
	return perform(ctx, l.entries, &rangeOperation, ranges)
}

var rangeOperation = operation[cache.Range, cache.Popped]{
	op:    "cache: range",
	name:  func(r *cache.Range) string { return r.List },
	check: func(l limits.Cache, r *cache.Range) error { return l.Range(*r) },
	fail:  func(p *cache.Popped) *error { return &p.Err },
	command: func(ctx context.Context, e *entries, r *cache.Range, _ *cache.Popped) redis.Cmder {
		last := r.Start + r.Max - 1
		if last < r.Start {
			last = -1 // the sum went over the end of int: to the end of the list
		}
		return e.onList(ctx, r.List, r.Guard, "lrange", r.Start, last)
	},
	answer: answerValues[cache.Range],
}

// Length is one LLEN for each list.
func (l lists) Length(ctx context.Context, reads []cache.Read) ([]cache.Length, error) {
	return perform(ctx, l.entries, &lengthOperation, reads)
}

var lengthOperation = operation[cache.Read, cache.Length]{
	op:    "cache: length",
	name:  func(r *cache.Read) string { return r.Key },
	check: func(l limits.Cache, r *cache.Read) error { return l.Read("cache: length", *r) },
	fail:  func(l *cache.Length) *error { return &l.Err },
	command: func(ctx context.Context, e *entries, r *cache.Read, _ *cache.Length) redis.Cmder {
		return e.onList(ctx, r.Key, r.Guard, "llen")
	},
	answer: answerLength[cache.Read],
}

// Drop is one UNLINK for each list.
func (l lists) Drop(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	return perform(ctx, l.entries, &dropOperation, removals)
}

var dropOperation = operation[cache.Removal, cache.Removed]{
	op:    "cache: drop",
	name:  func(r *cache.Removal) string { return r.Key },
	check: func(l limits.Cache, r *cache.Removal) error { return l.Drop(*r) },
	fail:  func(r *cache.Removed) *error { return &r.Err },
	command: func(ctx context.Context, e *entries, r *cache.Removal, _ *cache.Removed) redis.Cmder {
		return e.unlink(ctx, e.list, r.Key, r.Guard)
	},
	answer: answerRemoved,
}

// Names walks over all keys of the store by SCAN, in pages.
func (l lists) Names(ctx context.Context, page cache.Page) (cache.Keys, error) {
	return l.names(ctx, "cache: names", l.list, page)
}
