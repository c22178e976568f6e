package cache

import (
	"context"
	"iter"

	"github.com/gobackplane/backplane/fault"
)

// Keys lists the keys of entries that begin with prefix, in no order, one page of the store after the other. A key that
// is there all the time is listed; one that is written or removed meanwhile may be or not; and some transports may list
// a key twice. An error ends the listing.
func (c *Cache) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range c.pages(ctx, "cache: keys", prefix) {
			if err != nil {
				yield("", err)
				return
			}
			for _, key := range page {
				if !yield(key, nil) {
					return
				}
			}
		}
	}
}

// Size counts the entries whose key begins with prefix, by listing them: exact where the transport lists no key twice
// and nothing is written meanwhile, and as slow as there are keys in the store.
func (c *Cache) Size(ctx context.Context, prefix string) (int, error) {
	n := 0
	for page, err := range c.pages(ctx, "cache: size", prefix) {
		if err != nil {
			return n, err
		}
		n += len(page)
	}
	return n, nil
}

// Clear deletes the entries whose key begins with prefix (all, when it is empty), page by page, and answers how many
// there were. It is no transaction: what is written meanwhile may stay. Lists are another thing: see [Cache.ClearLists].
//
// Options: guards RespectLock and WaitForLock; entries whose lock another holds stay, and Clear answers Locked.
func (c *Cache) Clear(ctx context.Context, prefix string, options ...Option) (removed int, err error) {
	const op = "cache: clear"
	s, err := c.settle(op, prefix, guardOption, options)
	if err != nil {
		return 0, err
	}
	if s.lock != nil {
		return 0, c.fault(fault.Invalid, op, prefix, "Under is for one key; use RespectLock")
	}
	var failure error
	for page, err := range c.pages(ctx, op, prefix) {
		if err != nil {
			return removed, err
		}
		removals := make([]Removal, len(page))
		for i, key := range page {
			removals[i] = Removal{Key: key, Guard: s.guard}
		}
		answers, err := many(ctx, c, call[Removal, Removed]{op: op, send: (*Backend).Delete}, removals, s.wait)
		if err != nil {
			return removed, err
		}
		for _, answer := range answers {
			if answer.Existed {
				removed++
			}
			if failure == nil {
				failure = answer.Err
			}
		}
	}
	return removed, failure
}

// pages lists keys page by page; an error ends it.
func (c *Cache) pages(ctx context.Context, op, prefix string) iter.Seq2[[]string, error] {
	if err := c.offered(c.backend.Driver != nil, op, prefix, "cache"); err != nil {
		return func(yield func([]string, error) bool) { yield(nil, err) }
	}
	return c.pagesOf(ctx, op, prefix, c.backend.Driver.Keys)
}

func (c *Cache) pagesOf(ctx context.Context, op, prefix string, list func(context.Context, Page) (Keys, error)) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for cursor := ""; ; {
			page, err := repeated(ctx, c, func() (Keys, error) {
				return list(ctx, Page{Prefix: prefix, Cursor: cursor})
			})
			if err != nil {
				yield(nil, c.at(err, op, prefix))
				return
			}
			if len(page.Keys) > 0 && !yield(page.Keys, nil) {
				return
			}
			if cursor = page.Next; cursor == "" {
				return
			}
		}
	}
}

// repeated asks a harmless question again, a few times, while the store is unavailable.
func repeated[R any](ctx context.Context, c *Cache, ask func() (R, error)) (R, error) {
	for tries := 1; ; tries++ {
		if c.closed.Load() {
			var none R
			return none, c.closedFault("", "")
		}
		answer, err := ask()
		if err == nil || tries > repeats || fault.CodeOf(err) != fault.Unavailable || !fault.IsRetryable(err) {
			return answer, err
		}
		if ended := c.pause(ctx, jittered(repeatDelay<<tries)); ended != nil {
			return answer, ended
		}
	}
}
