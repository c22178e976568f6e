package redis

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// Bounds of a listing: how many keys of the store one step looks at, and how many steps a page takes before it is
// returned with what was found, so that neither the server nor the caller is kept long in a store with many other keys.
const (
	minScan  = 1000
	maxScan  = 10000
	maxSteps = 20
)

// Keys walks over all keys of the store by SCAN, in pages.
func (e *entries) Keys(ctx context.Context, page cache.Page) (cache.Keys, error) {
	return e.names(ctx, "cache: keys", e.entry, page)
}

// names lists the names of one kind of keys.
func (e *entries) names(ctx context.Context, op string, space keyspace, page cache.Page) (cache.Keys, error) {
	var found cache.Keys
	if err := e.limits.Page(op, page); err != nil {
		return found, err
	}
	cursor, err := scanCursor(page.Cursor)
	if err != nil {
		return found, e.t.fault(err, op, page.Prefix)
	}
	pattern := space.pattern(page.Prefix)
	count := min(max(page.Limit, minScan), maxScan)
	for range maxSteps {
		scan := redis.NewScanCmd(ctx, nil, "scan", cursor, "match", pattern, "count", count)
		if err := e.t.lane.do(ctx, scan); err != nil {
			return cache.Keys{}, e.t.fault(err, op, page.Prefix)
		}
		keys, next, err := scan.Result()
		if err != nil {
			return cache.Keys{}, e.t.fault(err, op, page.Prefix)
		}
		for _, key := range keys {
			if name, ok := space.name(key); ok {
				found.Keys = append(found.Keys, name)
			}
		}
		if next == 0 {
			return found, nil
		}
		cursor = next
		if len(found.Keys) >= max(page.Limit, 1) {
			break
		}
	}
	found.Next = strconv.FormatUint(cursor, 10)
	return found, nil
}

func scanCursor(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	cursor, err := strconv.ParseUint(text, 10, 64)
	if err != nil || cursor == 0 {
		return 0, fault.New(fault.Invalid, "%q is no cursor; give the Next of the page before, or none", text)
	}
	return cursor, nil
}
