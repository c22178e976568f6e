package postgres

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// pageLimit is the most names that a page of a listing has, unless the caller wants fewer.
const pageLimit = 1000

// namesAfter are the conditions of one page: names that begin with the prefix, from the cursor on, which is the last name
// of the page before.
const namesAfter = ` WHERE ns = $1 AND %name% >= $2 AND ($3::bytea IS NULL OR %name% < $3) AND ($4::bytea IS NULL OR %name% > $4) AND %live% ORDER BY %name% LIMIT $5`

// page reads one page of names. scan are the targets of a row, the first of which is the name.
func (e *entries) page(ctx context.Context, op, sql string, p cache.Page, name *[]byte, more []any, each func() error) (next string, err error) {
	if err := e.t.ready(ctx, op, p.Prefix); err != nil {
		return "", err
	}
	if err := (check{op, p.Prefix}).atLeast("the page's limit", p.Limit, 0); err != nil {
		return "", err
	}
	limit := p.Limit
	if limit == 0 || limit > pageLimit {
		limit = pageLimit
	}
	cursor, err := hex.DecodeString(p.Cursor)
	if err != nil {
		return "", check{op, p.Prefix}.refuse(fault.Invalid, "%q is no cursor of this listing; begin without one, and go on with Next", p.Cursor)
	}
	if len(cursor) == 0 {
		cursor = nil
	}
	n := 0
	args := []any{e.t.ns, notNil([]byte(p.Prefix)), after(p.Prefix), cursor, limit}
	err = e.t.store.rows(ctx, sql, args, append([]any{name}, more...), func() error {
		n++
		next = hex.EncodeToString(*name)
		return each()
	})
	if err != nil {
		return "", e.t.fault(err, op, p.Prefix)
	}
	if n < limit {
		next = ""
	}
	return next, nil
}

// after is the least name behind all that begin with the prefix; nil where there is none.
func after(prefix string) []byte {
	for end := []byte(prefix); len(end) > 0; end = end[:len(end)-1] {
		if last := len(end) - 1; end[last] < 0xff {
			end[last]++
			return end
		}
	}
	return nil
}

func listing(columns, table, name, live string) string {
	return "SELECT " + columns + " FROM " + table + strings.NewReplacer("%name%", name, "%live%", live).Replace(namesAfter)
}

var (
	listKeys  = listing("key", "entry", "key", "(expires IS NULL OR expires > clock_timestamp())")
	listNames = listing("name", "list", "name", "(expires IS NULL OR expires > clock_timestamp())")
	listLocks = listing("name, holder, fence, ttl, ends", "lock", "name", "ends > clock_timestamp()")
)

// Keys lists keys by prefix, in their order.
func (e *entries) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	return e.names(ctx, "cache: keys", listKeys, p)
}

func (e *entries) names(ctx context.Context, op, sql string, p cache.Page) (keys cache.Keys, err error) {
	var name []byte
	keys.Next, err = e.page(ctx, op, sql, p, &name, nil, func() error {
		keys.Keys = append(keys.Keys, string(name))
		return nil
	})
	if err != nil {
		return cache.Keys{}, err
	}
	return keys, nil
}

// Held lists the locks that are held, by name.
func (e *entries) Held(ctx context.Context, p cache.Page) (held cache.Leases, err error) {
	var name, holder []byte
	var fence, ttl int64
	var ends time.Time
	held.Next, err = e.page(ctx, "cache: held", listLocks, p, &name, []any{&holder, &fence, &ttl, &ends}, func() error {
		held.Leases = append(held.Leases, cache.Lease{
			Lock: string(name), Holder: string(holder), Fence: uint64(fence), TTL: time.Duration(ttl) * time.Microsecond, Expires: ends,
		})
		return nil
	})
	if err != nil {
		return cache.Leases{}, err
	}
	return held, nil
}
