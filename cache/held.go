package cache

import (
	"context"
	"iter"
)

// Locks lists the locks that are held now, by whom and until when, of which the name begins with prefix; those of Load
// too. A lock taken or given back meanwhile may be listed or not. An error ends the listing.
func (c *Cache) Locks(ctx context.Context, prefix string) iter.Seq2[Lease, error] {
	const op = "cache: locks"
	return func(yield func(Lease, error) bool) {
		if err := c.offered(c.backend.Holders != nil, op, prefix, "list of held locks"); err != nil {
			yield(Lease{}, err)
			return
		}
		for cursor := ""; ; {
			page, err := repeated(ctx, c, func() (Leases, error) {
				return c.backend.Holders.Held(ctx, Page{Prefix: prefix, Cursor: cursor})
			})
			if err != nil {
				yield(Lease{}, c.at(err, op, prefix))
				return
			}
			for _, lease := range page.Leases {
				if !yield(lease, nil) {
					return
				}
			}
			if cursor = page.Next; cursor == "" {
				return
			}
		}
	}
}
