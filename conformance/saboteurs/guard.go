package saboteurs

import (
	"cmp"
	"context"

	"github.com/gobackplane/backplane/cache"
)

func guardSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "set-ignores-its-guard",
			Case: "cache/guard/set-is-locked-by-another-holder", Collateral: []string{"cache/guard", "cache/batch/a-failing-write-leaves-the-others",
				"cache/lock/unusual-holders-are-told-apart", "cache/lock/a-*", "cache/lock/fences-*", "cache/lock/outlives-*", "cache/watch/a-refused-write-is-no-change", "cache/stack"},
			sabotage: changingWrites(func(w *cache.Write) { w.Guard = cache.Guard{} }),
		},
		{
			Name: "delete-ignores-its-guard",
			Case: "cache/guard/delete-is-locked-by-another-holder", Collateral: []string{"cache/guard", "cache/lock/a-lost-holder-*", "cache/stack"},
			sabotage: changingRemovals(func(r *cache.Removal) { r.Guard = cache.Guard{} }),
		},
		{
			Name: "get-ignores-its-guard",
			Case: "cache/guard/get-is-locked-by-another-holder", Collateral: []string{"cache/guard", "cache/batch/a-refused-read-*", "cache/lock/a-lost-holder-*", "cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.get = func(ctx context.Context, r []cache.Read) ([]cache.Got, error) {
						return honest.Get(ctx, altered(r, func(r *cache.Read) { r.Guard = cache.Guard{} }))
					}
				})
			},
		},
		{
			Name: "every-write-looks-at-the-lock",
			Case: "cache/guard/none-does-not-look-at-the-lock", Collateral: []string{"cache/guard", "cache/entry/lock-and-entry-*", "cache/lock", "cache/batch", "cache/stack", "transport/close/what-the-store-*"},
			sabotage: changingWrites(func(w *cache.Write) { w.Guard.Holder = cmp.Or(w.Guard.Holder, "nobody") }),
		},
		{
			Name: "fences-are-not-compared",
			Case: "cache/guard/set-with-an-old-fence-is-conflict", Collateral: []string{"cache/lock/a-history-*", "cache/guard/an-old-fence-*", "cache/lock/fences-*", "cache/lock/a-lost-holder-*", "cache/stack"},
			sabotage: changingWrites(func(w *cache.Write) { w.Guard.Fence = 0 }),
		},
		{
			Name: "a-guard-is-checked-before-the-write",
			Case: "cache/guard/no-write-passes-a-lock-that-was-taken", Collateral: []string{"cache/lock/a-cut-*", "cache/stack"},
			sabotage: changingSet(checkGuardFirst),
		},
	}
}

// checkGuardFirst checks a guard some time before the write, instead of with it.
func checkGuardFirst(ctx context.Context, honest cache.Backend, w *cache.Write) error {
	if w.Guard == (cache.Guard{}) || w.Key == "" {
		return nil
	}
	got, err := honest.Get(ctx, []cache.Read{{Key: w.Key, Guard: w.Guard}})
	if err != nil {
		return err
	}
	if got[0].Err != nil {
		return got[0].Err
	}
	gap()
	w.Guard = cache.Guard{}
	return nil
}
