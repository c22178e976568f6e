package saboteurs

import (
	"context"
	"sync"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func lockSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "lock-is-check-then-set",
			Case: "cache/lock/one-of-16-owners-gets-it", Collateral: []string{"cache/lock/a-history-*", "cache/lock/never-two-holders-at-a-time", "cache/lock/fences-increase-under-contention",
				"cache/lock/all-waiters-get-it-in-turn", "cache/lock/a-waiter-*", "cache/lock/a-cut-*", "transport/concurrency", "transport/close/while-calls-run-harms-none", "cache/stack"},
			sabotage: func(s *sabotaged) { s.cache = replacing(checkThenLock) },
		},
		{
			Name: "anybody-unlocks",
			Case: "cache/lock/release-by-non-holder-is-refused", Collateral: []string{"cache/lock/a-history-*", "cache/lock/release-*", "cache/lock/unusual-holders-are-told-apart", "cache/batch/a-locked-lock-leaves-the-others",
				"transport/namespaces/locks-are-isolated", "cache/lock/of-a-*", "cache/lock/without-a-fence-the-holder-decides", "cache/lock/a-lost-holder-*", "cache/stack"},
			sabotage: changingRelease(func(ctx context.Context, honest cache.Backend, l cache.Lease) error {
				held, err := holderOf(ctx, honest, l.Lock)
				if err != nil || held.Holder == "" {
					return &fault.Error{Code: fault.LeaseLost}
				}
				return releaseOne(ctx, honest, held)
			}),
		},
		{
			Name: "unlock-compares-the-holder-alone", // so a stale lease of the same holder frees the new one
			Case: "cache/lock/release-of-a-stale-lease-leaves-the-new-one", Collateral: []string{"cache/lock/release-by-non-holder-is-refused", "cache/stack"},
			sabotage: changingRelease(func(ctx context.Context, honest cache.Backend, l cache.Lease) error {
				held, err := holderOf(ctx, honest, l.Lock)
				if err != nil || held.Holder != l.Holder {
					return &fault.Error{Code: fault.LeaseLost}
				}
				return releaseOne(ctx, honest, held)
			}),
		},
		{
			Name: "unlock-does-nothing",
			Case: "cache/lock/release-frees-at-once", Collateral: []string{"cache/lock", "cache/guard", "cache/list", "cache/entry/*", "cache/batch", "transport/namespaces/locks-are-isolated", "transport/close/what-the-store-keeps-stays", "transport/concurrency", "cache/watch", "cache/stack"},
			sabotage: changingRelease(func(ctx context.Context, honest cache.Backend, l cache.Lease) error {
				renewed, err := honest.Renew(ctx, []cache.Lease{l})
				if err != nil {
					return err
				}
				return renewed[0].Err
			}),
		},
		{
			Name: "a-held-lock-is-stolen",
			Case: "cache/lock/a-held-lock-is-refused-to-another-owner", Collateral: []string{"cache", "transport"},
			sabotage: changingAcquire(func(ctx context.Context, honest cache.Backend, c cache.Claim, l *cache.Lease) {
				if fault.CodeOf(l.Err) != fault.Locked || c.Holder == l.Holder {
					return
				}
				if held, err := holderOf(ctx, honest, c.Lock); err == nil && releaseOne(ctx, honest, held) == nil {
					*l = acquireOne(ctx, honest, c)
				}
			}),
		},
		{
			Name: "locks-are-reentrant",
			Case: "cache/lock/its-own-holder-is-refused",
			sabotage: changingAcquire(func(ctx context.Context, honest cache.Backend, c cache.Claim, l *cache.Lease) {
				if fault.CodeOf(l.Err) != fault.Locked || c.Holder != l.Holder {
					return
				}
				if held, err := holderOf(ctx, honest, c.Lock); err == nil && releaseOne(ctx, honest, held) == nil {
					*l = acquireOne(ctx, honest, c)
				}
			}),
		},
		{
			Name: "leases-end-early",
			Case: "cache/lock/a-lease-lasts-its-time-and-no-longer", Collateral: []string{"cache/lock", "cache/guard/an-ended-lease-stops-nobody", "cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.acquire = func(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
						leases, err := honest.Acquire(ctx, altered(claims, func(c *cache.Claim) {
							if c.TTL > 10*time.Millisecond && c.TTL < time.Minute {
								c.TTL /= 2
							}
						}))
						for i := range leases {
							if leases[i].Err == nil {
								leases[i].TTL = claims[i].TTL
							}
						}
						return leases, err
					}
				})
			},
		},
		{
			Name: "fences-repeat", // each is given to two leases
			Case: "cache/lock/fences-increase-over-releases-and-nodes", Collateral: []string{"cache/lock", "cache/guard", "cache/list/an-old-fence-is-conflict", "cache/list/every-operation-heeds-a-guard", "cache/stack", "transport/namespaces/locks-are-isolated", "transport/close/what-the-store-keeps-stays", "cache/batch/a-locked-lock-*"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing((&repeating{given: map[string]fences{}}).replace)
			},
		},
		{
			Name: "renewing-does-not-make-it-longer",
			Case: "cache/lock/renewing-makes-it-last-longer", Collateral: []string{"cache/lock/renewing-*", "cache/stack"},
			sabotage: changingRenew(func(ctx context.Context, honest cache.Backend, l cache.Lease) (cache.Lease, bool) {
				held, err := holderOf(ctx, honest, l.Lock)
				return l, err == nil && held.Holder == l.Holder && held.Fence == l.Fence && l.TTL > 0
			}),
		},
		{
			Name: "renewing-takes-an-ended-lease-again",
			Case: "cache/lock/renewing-an-ended-lease-is-lost", Collateral: []string{"cache/lock/renewing-*", "cache/lock/release-twice-is-lost", "cache/lock/of-a-lost-holder-ends-by-itself", "cache/stack"},
			sabotage: changingRenew(func(ctx context.Context, honest cache.Backend, l cache.Lease) (cache.Lease, bool) {
				if held, err := holderOf(ctx, honest, l.Lock); err == nil && held.Holder == "" && l.Lock != "" && l.TTL > 0 {
					return acquireOne(ctx, honest, cache.Claim{Lock: l.Lock, Holder: l.Holder, TTL: l.TTL}), true
				}
				return l, false
			}),
		},
		{
			Name: "a-refusal-does-not-tell-the-holder",
			Case: "cache/lock/a-refusal-tells-holder-and-end", Collateral: []string{"cache/lock", "cache/stack"},
			sabotage: changingAcquire(func(_ context.Context, _ cache.Backend, _ cache.Claim, l *cache.Lease) {
				if fault.CodeOf(l.Err) == fault.Locked {
					l.Holder, l.Expires = "", time.Time{}
				}
			}),
		},
		{
			Name: "anonymous-holders-are-let-in",
			Case: "cache/lock/bad-claims-are-invalid",
			sabotage: changingAcquire(func(ctx context.Context, honest cache.Backend, c cache.Claim, l *cache.Lease) {
				if c.Holder == "" && fault.CodeOf(l.Err) == fault.Invalid {
					*l = acquireOne(ctx, honest, cache.Claim{Lock: c.Lock, Holder: "anonymous", TTL: c.TTL})
				}
			}),
		},
		{
			Name: "waiting-goes-on", // for longer than anybody calls prompt
			Case: "cache/lock/waiting-ends-when-it-is-over", Collateral: []string{"cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.acquire = func(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
						return honest.Acquire(ctx, altered(claims, func(c *cache.Claim) {
							if c.Wait > 0 {
								c.Wait += 15 * time.Second
							}
						}))
					}
				})
			},
		},
		{
			Name: "a-refusal-gives-the-fence-away",
			Case: "cache/lock/a-refused-claim-tells-no-fence",
			sabotage: changingAcquire(func(ctx context.Context, honest cache.Backend, c cache.Claim, l *cache.Lease) {
				if fault.CodeOf(l.Err) == fault.Locked {
					l.Fence = 1
				}
			}),
		},
	}
}

func acquireOne(ctx context.Context, honest cache.Backend, c cache.Claim) cache.Lease {
	leases, err := honest.Acquire(ctx, []cache.Claim{c})
	if err != nil {
		return cache.Lease{Err: err}
	}
	return leases[0]
}

func releaseOne(ctx context.Context, honest cache.Backend, l cache.Lease) error {
	errs, err := honest.Release(ctx, []cache.Lease{l})
	if err != nil {
		return err
	}
	return errs[0]
}

// holderOf finds the live lease of a lock, if there is one. The honest transport must list fences too.
func holderOf(ctx context.Context, honest cache.Backend, lock string) (cache.Lease, error) {
	page := cache.Page{Prefix: lock}
	for {
		held, err := honest.Holders.Held(ctx, page)
		if err != nil {
			return cache.Lease{}, err
		}
		for _, l := range held.Leases {
			if l.Lock == lock {
				return l, nil
			}
		}
		if page.Cursor = held.Next; page.Cursor == "" {
			return cache.Lease{}, nil
		}
	}
}

// changingAcquire sabotages the answers to single claims.
func changingAcquire(after func(context.Context, cache.Backend, cache.Claim, *cache.Lease)) func(*sabotaged) {
	return func(s *sabotaged) {
		s.cache = replacing(func(honest cache.Backend, d *driver) {
			d.acquire = func(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
				leases, err := honest.Acquire(ctx, claims)
				for i := range leases {
					after(ctx, honest, claims[i], &leases[i])
				}
				return leases, err
			}
		})
	}
}

// changingRelease sabotages each release on its own; an honest refusal of bad arguments stays.
func changingRelease(release func(context.Context, cache.Backend, cache.Lease) error) func(*sabotaged) {
	return func(s *sabotaged) {
		s.cache = replacing(func(honest cache.Backend, d *driver) {
			d.release = func(ctx context.Context, leases []cache.Lease) ([]error, error) {
				if _, err := honest.Release(ctx, nil); err != nil {
					return nil, err
				}
				errs := make([]error, len(leases))
				for i, l := range leases {
					errs[i] = release(ctx, honest, l)
				}
				return errs, nil
			}
		})
	}
}

// changingRenew sabotages each renewal on its own, before the honest one, unless that is to be left out.
func changingRenew(before func(context.Context, cache.Backend, cache.Lease) (l cache.Lease, done bool)) func(*sabotaged) {
	return func(s *sabotaged) {
		s.cache = replacing(func(honest cache.Backend, d *driver) {
			d.renew = func(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
				all := make([]cache.Lease, len(leases))
				for i, l := range leases {
					changed, done := before(ctx, honest, l)
					if done {
						all[i] = changed
						continue
					}
					renewed, err := honest.Renew(ctx, []cache.Lease{changed})
					if err != nil {
						return nil, err
					}
					all[i] = renewed[0]
				}
				_, err := honest.Renew(ctx, nil)
				return all, err
			}
		})
	}
}

// checkThenLock looks whether a lock is free, and takes it some time later, whoever has it by then.
func checkThenLock(honest cache.Backend, d *driver) {
	d.acquire = func(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
		free := make([]bool, len(claims))
		for i, c := range claims {
			held, err := holderOf(ctx, honest, c.Lock)
			free[i] = err == nil && held.Holder == "" && c.Holder != "" && c.TTL > 0 && c.Wait == 0
		}
		gap()
		leases, err := honest.Acquire(ctx, claims)
		for i := range leases {
			if free[i] && fault.CodeOf(leases[i].Err) == fault.Locked {
				leases[i] = cache.Lease{Lock: claims[i].Lock, Holder: claims[i].Holder, Fence: 1 << 40, TTL: claims[i].TTL}
			}
		}
		return leases, err
	}
}

// repeating gives each fence to two leases, and knows what they really are.
type repeating struct {
	mu    sync.Mutex
	given map[string]fences // by lock
}

// fences of one lock.
type fences struct {
	leases uint64 // so many were given
	last   uint64 // the real one of the last
}

func (f fences) shown() uint64 { return (f.leases + 1) / 2 }

func (r *repeating) give(l *cache.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := fences{r.given[l.Lock].leases + 1, l.Fence}
	r.given[l.Lock] = f
	l.Fence = f.shown()
}

func (r *repeating) mean(l *cache.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.given[l.Lock]; f.shown() == l.Fence {
		l.Fence = f.last
	}
}

func (r *repeating) replace(honest cache.Backend, d *driver) {
	d.acquire = func(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
		leases, err := honest.Acquire(ctx, claims)
		for i := range leases {
			if leases[i].Err == nil {
				r.give(&leases[i])
			}
		}
		return leases, err
	}
	d.renew = func(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
		renewed, err := honest.Renew(ctx, altered(leases, r.mean))
		for i := range renewed {
			renewed[i].Fence = leases[i].Fence
		}
		return renewed, err
	}
	d.release = func(ctx context.Context, leases []cache.Lease) ([]error, error) {
		return honest.Release(ctx, altered(leases, r.mean))
	}
}
