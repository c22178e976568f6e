package cache

import (
	"context"
	"iter"
)

// A list is a queue of values, each popped by one taker. It and an entry of the same name are two things; an empty list
// does not exist. Every method here is Unsupported where Capabilities do not offer lists: the transport's Backend has
// none.

var (
	pushing = call[Push, Length]{op: "cache: push", send: func(b *Backend, ctx context.Context, e []Push) ([]Length, error) { return b.Lists.Push(ctx, e) }}
	popping = call[Pop, Popped]{op: "cache: pop", send: func(b *Backend, ctx context.Context, e []Pop) ([]Popped, error) { return b.Lists.Pop(ctx, e) }}
	ranging = call[Range, Popped]{
		op:         "cache: range",
		send:       func(b *Backend, ctx context.Context, e []Range) ([]Popped, error) { return b.Lists.Range(ctx, e) },
		repeatable: func(Range) bool { return true },
	}
	measuring = call[Read, Length]{
		op:         "cache: length",
		send:       func(b *Backend, ctx context.Context, e []Read) ([]Length, error) { return b.Lists.Length(ctx, e) },
		repeatable: func(Read) bool { return true },
	}
	dropping = call[Removal, Removed]{op: "cache: drop", send: func(b *Backend, ctx context.Context, e []Removal) ([]Removed, error) { return b.Lists.Drop(ctx, e) }}
)

func (c *Cache) listsOffered(op, list string) error {
	return c.offered(c.backend.Lists != nil, op, list, "lists")
}

// Push appends values to the end of a list, all or none, and answers its length then.
//
// Options: TTL, the whole list's lifetime from now (without: as it is), and guards.
func (c *Cache) Push(ctx context.Context, list string, values [][]byte, options ...Option) (int, error) {
	return c.push(ctx, list, values, false, options)
}

// PushFront puts values at the front of a list, all or none, the last of them frontmost, and answers its length then.
//
// Options: as Push.
func (c *Cache) PushFront(ctx context.Context, list string, values [][]byte, options ...Option) (int, error) {
	return c.push(ctx, list, values, true, options)
}

func (c *Cache) push(ctx context.Context, list string, values [][]byte, front bool, options []Option) (int, error) {
	s, err := c.settleList(pushing.op, list, lifetimeOption|guardOption, options)
	if err != nil {
		return 0, err
	}
	length, err := one(ctx, c, pushing, Push{List: list, Values: values, Front: front, TTL: s.ttl, Guard: s.guard}, s.wait)
	return length.Length, err
}

// Pop takes up to max values from the front of a list; none when it is empty, and no error. Unavailable leaves open
// whether they were taken.
//
// Options: guards.
func (c *Cache) Pop(ctx context.Context, list string, max int, options ...Option) ([][]byte, error) {
	return c.pop(ctx, list, max, false, options)
}

// PopBack takes up to max values from the end of a list, the last one first.
//
// Options: as Pop.
func (c *Cache) PopBack(ctx context.Context, list string, max int, options ...Option) ([][]byte, error) {
	return c.pop(ctx, list, max, true, options)
}

func (c *Cache) pop(ctx context.Context, list string, max int, back bool, options []Option) ([][]byte, error) {
	s, err := c.settleList(popping.op, list, guardOption, options)
	if err != nil {
		return nil, err
	}
	popped, err := one(ctx, c, popping, Pop{List: list, Max: max, Back: back, Guard: s.guard}, s.wait)
	return popped.Values, err
}

// Range reads up to max values of a list from index start (0 is the front), and takes none.
//
// Options: guards.
func (c *Cache) Range(ctx context.Context, list string, start, max int, options ...Option) ([][]byte, error) {
	s, err := c.settleList(ranging.op, list, guardOption, options)
	if err != nil {
		return nil, err
	}
	read, err := one(ctx, c, ranging, Range{List: list, Start: start, Max: max, Guard: s.guard}, s.wait)
	return read.Values, err
}

// Length counts the values of a list; 0 for one that does not exist.
//
// Options: guards.
func (c *Cache) Length(ctx context.Context, list string, options ...Option) (int, error) {
	s, err := c.settleList(measuring.op, list, guardOption, options)
	if err != nil {
		return 0, err
	}
	length, err := one(ctx, c, measuring, Read{Key: list, Guard: s.guard}, s.wait)
	return length.Length, err
}

// Drop removes a whole list, and reports whether there was one.
//
// Options: guards.
func (c *Cache) Drop(ctx context.Context, list string, options ...Option) (existed bool, err error) {
	s, err := c.settleList(dropping.op, list, guardOption, options)
	if err != nil {
		return false, err
	}
	removed, err := one(ctx, c, dropping, Removal{Key: list, Guard: s.guard}, s.wait)
	return removed.Existed, err
}

// Lists lists the names of lists that begin with prefix, as Keys does those of entries.
func (c *Cache) Lists(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range c.listPages(ctx, "cache: lists", prefix) {
			if err != nil {
				yield("", err)
				return
			}
			for _, name := range page {
				if !yield(name, nil) {
					return
				}
			}
		}
	}
}

// ClearLists drops the lists whose name begins with prefix, and answers how many there were.
func (c *Cache) ClearLists(ctx context.Context, prefix string) (dropped int, err error) {
	const op = "cache: clear lists"
	for page, err := range c.listPages(ctx, op, prefix) {
		if err != nil {
			return dropped, err
		}
		removals := make([]Removal, len(page))
		for i, name := range page {
			removals[i] = Removal{Key: name}
		}
		answers, err := many(ctx, c, call[Removal, Removed]{op: op, send: dropping.send}, removals, 0)
		if err != nil {
			return dropped, err
		}
		for _, answer := range answers {
			if answer.Err != nil {
				return dropped, answer.Err
			}
			if answer.Existed {
				dropped++
			}
		}
	}
	return dropped, nil
}

func (c *Cache) listPages(ctx context.Context, op, prefix string) iter.Seq2[[]string, error] {
	if err := c.listsOffered(op, prefix); err != nil {
		return func(yield func([]string, error) bool) { yield(nil, err) }
	}
	return c.pagesOf(ctx, op, prefix, c.backend.Lists.Names)
}

func (c *Cache) settleList(op, list string, allowed optionKind, options []Option) (settings, error) {
	s, err := c.settle(op, list, allowed, options)
	if err == nil {
		err = c.listsOffered(op, list)
	}
	return s, err
}
