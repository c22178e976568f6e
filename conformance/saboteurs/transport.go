package saboteurs

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

func transportSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "namespaces-bleed", // names that begin alike are taken for the same, as a prefix without separator does
			Case: "transport/namespaces/entries-are-isolated", Collateral: []string{"transport/namespaces", "pubsub/group/namespaces-have-their-own", "cache/stack/a-dump-*", "cache/stack/a-damaged-dump-*"},
			sabotage: func(s *sabotaged) {
				const enough = len("conform-00000000-0000-0000-0000-000000000000")
				s.namespace = func(name string) string { return name[:min(len(name), enough)] }
			},
		},
		{
			Name: "context-is-ignored",
			Case: "transport/contexts/a-cancelled-context-ends-every-cache-call",
			Collateral: []string{
				"transport/contexts/*cache-call", "transport/contexts/a-cancelled-call-leaves-the-node-working",
				"cache/lock/waiting-ends-with-its-context", "cache/lock/a-waiter-who-gave-up-takes-nothing", "transport/links", "transport/store",
				"cache/stack",
			},
			sabotage: func(s *sabotaged) { s.cache = replacing(ignoreContext) },
		},
		{
			Name: "second-close-fails",
			Case: "transport/close/may-be-called-twice",
			Collateral: []string{ // they close a node themselves, and the suite does so again
				"transport/close", "transport/concurrency", "cache/stack",
				"pubsub/close/of-the-node-is-quiet-too", "pubsub/receipt/after-the-last-has-gone-is-0", "rpc/receiver/nobody-there-any-more-is-told",
			},
			sabotage: func(s *sabotaged) {
				s.closing = func(t transports.Transport) error {
					if errors.Is(t.Health(context.Background()), fault.Closed) {
						return fault.New(fault.Closed, "closed already")
					}
					return t.Close()
				}
			},
		},
		{
			Name: "works-after-close",
			Case: "transport/close/every-cache-call-after-it-is-closed", Collateral: []string{"transport/close/while-calls-run-harms-none"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.get = func(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
						got, err := honest.Get(ctx, reads)
						if errors.Is(err, fault.Closed) {
							return make([]cache.Got, len(reads)), nil
						}
						return got, err
					}
				})
			},
		},
		{
			Name: "nodes-declare-different-things",
			Case: "transport/capabilities/every-node-says-the-same",
			sabotage: func(s *sabotaged) {
				nodes := 0
				s.cache = func(b *cache.Backend) {
					nodes++
					b.Capabilities.Evicts = nodes%2 == 0
				}
			},
		},
		{
			Name: "every-node-has-a-store-of-its-own",
			Case: "transport/nodes/second-node-is-on-the-same-store", Collateral: []string{"transport", "cache", "queue", "pubsub", "rpc"},
			sabotage: func(s *sabotaged) {
				nodes := 0
				s.namespace = func(name string) string {
					nodes++
					return fmt.Sprint(name, "-", nodes)
				}
			},
		},
		{
			Name: "closing-clears-the-store",
			Case: "transport/close/what-the-store-keeps-stays", Collateral: []string{"transport/close/other-nodes-go-on"},
			sabotage: func(s *sabotaged) {
				s.closing = func(t transports.Transport) error {
					ctx := context.Background()
					for _, key := range []string{"k", "l"} {
						_, _ = t.Cache().Delete(ctx, []cache.Removal{{Key: key}})
					}
					return t.Close()
				}
			},
		},
		{
			Name: "a-cancelled-call-breaks-the-node",
			Case: "transport/contexts/a-cancelled-call-leaves-the-node-working", Collateral: []string{"transport/contexts", "cache/stack", "transport/links", "transport/store"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					var broken atomic.Bool
					d.set = func(ctx context.Context, w []cache.Write) ([]cache.Written, error) {
						if broken.Load() {
							return nil, fault.New(fault.Unavailable, "broken")
						}
						broken.Store(ctx.Err() != nil)
						return honest.Set(ctx, w)
					}
				})
			},
		},
		{
			Name: "one-call-at-a-time", // and the others are turned away
			Case: "transport/concurrency/many-callers-on-one-node", Collateral: []string{"transport", "cache"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					var busy atomic.Bool
					d.set = func(ctx context.Context, w []cache.Write) ([]cache.Written, error) {
						if !busy.CompareAndSwap(false, true) {
							return nil, fault.New(fault.Exhausted, "busy")
						}
						defer busy.Store(false)
						gap()
						return honest.Set(ctx, w)
					}
				})
			},
		},
		{
			Name: "values-are-too-small", // less than the contract lets applications count on
			Case: "transport/capabilities/cache-bounds", Collateral: []string{"cache/entry/one-byte-more-*", "cache/list/bad-arguments-*", "cache/batch/a-failing-write-*", "cache/list/values-are-any-bytes", "cache/stack"},
			sabotage: func(s *sabotaged) { s.cache = func(b *cache.Backend) { b.Capabilities.MaxValue = 1000 } },
		},
		{
			Name: "health-never-asks",
			Case: "transport/close/every-health-call-after-it-is-closed", Collateral: []string{"transport/contexts/*health*", "transport/close", "transport/links/health-*"},
			sabotage: func(s *sabotaged) { s.healthy = true },
		},
		{
			Name: "declared-ability-is-unsupported",
			Case: "cache/lock/held-locks-are-listed", Collateral: []string{"cache/lock/held-*", "cache/lock/released-and-ended-*", "transport/*/*holders*", "cache/stack"},
			sabotage: func(s *sabotaged) { s.cache = func(b *cache.Backend) { b.Holders = unsupported{} } },
		},
		{
			Name: "hangs", // whatever its context says
			Case: "cache/touch/takes-it-away", Collateral: []string{"cache/touch/what-is-absent-is-not-found", "cache/lifetime/what-has-ended-is-absent-to-all", "cache/watch/a-refused-write-is-no-change", "cache/guard"},
			sabotage: func(s *sabotaged) { s.cache = replacing(atTouchWithoutEnd(func() { select {} })) },
		},
		{
			Name: "panics",
			Case: "cache/touch/takes-it-away", Collateral: []string{"cache/touch/what-is-absent-is-not-found", "cache/lifetime/what-has-ended-is-absent-to-all", "cache/watch/a-refused-write-is-no-change", "cache/guard"},
			sabotage: func(s *sabotaged) { s.cache = replacing(atTouchWithoutEnd(func() { panic("sabotaged") })) },
		},
	}
}

type unsupported struct{}

func (unsupported) Held(context.Context, cache.Page) (cache.Leases, error) {
	return cache.Leases{}, fault.New(fault.Unsupported, "not built yet")
}

// atTouchWithoutEnd does something bad in one place, so that not every case fails with it.
func atTouchWithoutEnd(bad func()) func(cache.Backend, *driver) {
	return func(honest cache.Backend, d *driver) {
		d.touch = func(ctx context.Context, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
			for _, l := range lifetimes {
				if l.TTL == 0 {
					bad()
				}
			}
			return honest.Touch(ctx, lifetimes)
		}
	}
}

// ignoreContext waits for the store whatever the caller's context says.
func ignoreContext(honest cache.Backend, d *driver) {
	d.get = func(ctx context.Context, r []cache.Read) ([]cache.Got, error) { return honest.Get(endless(ctx), r) }
	d.set = func(ctx context.Context, w []cache.Write) ([]cache.Written, error) {
		return honest.Set(endless(ctx), w)
	}
	d.remove = func(ctx context.Context, r []cache.Removal) ([]cache.Removed, error) {
		return honest.Delete(endless(ctx), r)
	}
	d.touch = func(ctx context.Context, l []cache.Lifetime) ([]cache.Touched, error) {
		return honest.Touch(endless(ctx), l)
	}
	d.add = func(ctx context.Context, i []cache.Increment) ([]cache.Sum, error) {
		return honest.Add(endless(ctx), i)
	}
	d.keys = func(ctx context.Context, p cache.Page) (cache.Keys, error) { return honest.Keys(endless(ctx), p) }
	d.acquire = func(ctx context.Context, c []cache.Claim) ([]cache.Lease, error) {
		return honest.Acquire(endless(ctx), c)
	}
	d.renew = func(ctx context.Context, l []cache.Lease) ([]cache.Lease, error) {
		return honest.Renew(endless(ctx), l)
	}
	d.release = func(ctx context.Context, l []cache.Lease) ([]error, error) { return honest.Release(endless(ctx), l) }
}

func endless(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
