package saboteurs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func cacheSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "lifetimes-are-ignored",
			Case: "cache/lifetime/an-entry-ends-on-time", Collateral: []string{"cache/lifetime", "cache/touch", "cache/stack",
				"cache/batch/a-failing-write-leaves-the-others", "cache/keys/that-are-gone-are-not-listed", "cache/counter/a-later-lifetime-*",
				"cache/lock/deleting-the-entry-does-not-free-it", "cache/restart/lifetimes-go-on"},
			sabotage: changingWrites(func(w *cache.Write) { w.TTL = min(w.TTL, 0) }),
		},
		{
			Name: "lifetimes-are-rounded-up-to-seconds",
			Case: "cache/lifetime/an-entry-ends-on-time", Collateral: []string{"cache/lifetime", "cache/keys/that-are-gone-are-not-listed",
				"cache/lock/deleting-the-entry-does-not-free-it", "cache/restart/lifetimes-go-on", "cache/stack"},
			sabotage: changingWrites(func(w *cache.Write) {
				if w.TTL > 0 && w.TTL < time.Hour {
					w.TTL = (w.TTL + time.Second).Truncate(time.Second)
				}
			}),
		},
		{
			Name: "lifetimes-end-early",
			Case: "cache/lifetime/an-entry-ends-on-time", Collateral: []string{"cache/lifetime", "cache/touch", "cache/keys/that-are-gone-are-not-listed",
				"cache/counter", "cache/lock/deleting-the-entry-does-not-free-it", "cache/restart/lifetimes-go-on", "cache/stack"},
			sabotage: changingWrites(func(w *cache.Write) {
				if w.TTL > 10*time.Millisecond {
					w.TTL /= 2
				}
			}),
		},
		{
			Name: "a-write-keeps-the-old-lifetime",
			Case: "cache/lifetime/a-write-makes-it-shorter", Collateral: []string{"cache/lifetime", "cache/touch", "cache/counter", "cache/entry/a-write-replaces-all-of-it", "cache/stack"},
			sabotage: func(s *sabotaged) { s.cache = replacing(keepLifetimes) },
		},
		{
			Name: "touch-does-nothing",
			Case: "cache/touch/makes-it-longer", Collateral: []string{"cache/touch", "cache/batch/a-failing-touch-leaves-the-others", "cache/watch/tells-of-every-kind-of-change", "cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.touch = func(ctx context.Context, l []cache.Lifetime) ([]cache.Touched, error) {
						return touchNothing(ctx, honest, l)
					}
				})
			},
		},
		{
			Name: "given-buffers-are-kept",
			Case: "cache/entry/given-buffers-are-not-kept",
			sabotage: func(s *sabotaged) {
				kept := map[cache.Revision][]byte{}
				var mu sync.Mutex
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.set = func(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
						written, err := honest.Set(ctx, writes)
						mu.Lock()
						defer mu.Unlock()
						for i, w := range written {
							if w.Err == nil && len(writes[i].Value) < 1000 {
								kept[w.Revision] = writes[i].Value
							}
						}
						return written, err
					}
					d.get = func(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
						got, err := honest.Get(ctx, reads)
						mu.Lock()
						defer mu.Unlock()
						for i := range got {
							if value, ok := kept[got[i].Entry.Revision]; ok && value != nil {
								got[i].Entry.Value = bytes.Clone(value)
							}
						}
						return got, err
					}
				})
			},
		},
		{
			Name: "got-buffers-are-shared",
			Case: "cache/entry/got-buffers-are-the-callers",
			sabotage: func(s *sabotaged) {
				shared := map[cache.Revision][]byte{}
				var mu sync.Mutex
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.get = func(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
						got, err := honest.Get(ctx, reads)
						mu.Lock()
						defer mu.Unlock()
						for i := range got {
							entry := &got[i].Entry
							if value, ok := shared[entry.Revision]; ok && got[i].Found {
								entry.Value = value
							}
							shared[entry.Revision] = entry.Value
						}
						return got, err
					}
				})
			},
		},
		{
			Name: "values-are-cut-at-64-KiB",
			Case: "cache/entry/values-of-every-size-come-back-whole", Collateral: []string{"cache/entry/the-largest-value-comes-back-whole", "cache/entry/one-byte-more-is-too-large", "cache/batch/a-failing-write-leaves-the-others", "cache/stack"},
			sabotage: changingWrites(func(w *cache.Write) { w.Value = w.Value[:min(len(w.Value), 64<<10)] }),
		},
		{
			Name: "values-end-at-NUL",
			Case: "cache/entry/binary-values-come-back-unchanged", Collateral: []string{"cache/entry/*-whole", "cache/counter/anything-else-is-invalid", "cache/delete/leaves-keys-that-begin-alike", "cache/stack"},
			sabotage: changingWrites(func(w *cache.Write) {
				if len(w.Value) <= 1<<20 { // so that what is too large stays so
					w.Value, _, _ = bytes.Cut(w.Value, []byte{0})
				}
			}),
		},
		{
			Name: "empty-is-absent",
			Case: "cache/entry/empty-is-not-absent", Collateral: []string{"cache/counter/anything-else-is-invalid", "cache/guard", "cache/entry/binary-values-*"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(changingGot(func(g *cache.Got) {
					if len(g.Entry.Value) == 0 {
						g.Found = false
					}
				}))
			},
		},
		{
			Name: "flags-are-forgotten",
			Case: "cache/entry/flags-come-back", Collateral: []string{"cache/touch/leaves-value-and-revision", "cache/restart/entries-outlive-it-if-declared", "cache/stack"},
			sabotage: changingWrites(func(w *cache.Write) { w.Flags = 0 }),
		},
		{
			Name: "keys-ignore-case",
			Case: "cache/entry/unusual-keys-hold-their-own-values", Collateral: []string{"cache/delete/leaves-keys-that-begin-alike", "cache/keys", "cache/watch/tells-of-its-prefix-*", "cache/stack/a-dump-*", "cache/restart/entries-outlive-it-if-declared", "cache/guard/is-the-lock-of-the-keys-own-name"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.set = func(ctx context.Context, w []cache.Write) ([]cache.Written, error) {
						return honest.Set(ctx, altered(w, func(w *cache.Write) { w.Key = strings.ToLower(w.Key) }))
					}
					d.get = func(ctx context.Context, r []cache.Read) ([]cache.Got, error) {
						return honest.Get(ctx, altered(r, func(r *cache.Read) { r.Key = strings.ToLower(r.Key) }))
					}
				})
			},
		},
		{
			Name: "set-if-absent-is-get-then-set",
			Case: "cache/condition/one-of-16-makes-what-is-absent", Collateral: []string{"cache/history/entries-*"},
			sabotage: changingSet(func(ctx context.Context, honest cache.Backend, w *cache.Write) error {
				return lookFirst(ctx, honest, w, cache.Condition.WantsAbsent)
			}),
		},
		{
			Name: "compare-and-set-is-get-then-set",
			Case: "cache/condition/one-of-16-writes-at-a-revision", Collateral: []string{"cache/history/entries-*", "cache/condition/no-update-is-lost"},
			sabotage: changingSet(func(ctx context.Context, honest cache.Backend, w *cache.Write) error {
				return lookFirst(ctx, honest, w, func(c cache.Condition) bool { _, is := c.WantsRevision(); return is })
			}),
		},
		{
			Name: "if-present-is-ignored",
			Case: "cache/condition/if-present-makes-nothing", Collateral: []string{"cache/history/entries-*", "cache/condition/a-conflict-tells-*", "cache/lifetime/what-has-ended-is-absent-to-all", "cache/watch/a-refused-write-is-no-change", "cache/stack"},
			sabotage: changingWrites(func(w *cache.Write) {
				if w.If.WantsPresent() {
					w.If = cache.Always()
				}
			}),
		},
		{
			Name: "delete-ignores-its-revision",
			Case: "cache/delete/at-another-revision-is-conflict", Collateral: []string{"cache/history/entries-*", "cache/batch/a-failing-delete-*", "cache/guard/holds-together-with-a-condition", "cache/lifetime/what-has-ended-*", "cache/watch/a-refused-write-is-no-change", "cache/delete/if-present-*", "cache/stack"},
			sabotage: changingRemovals(func(r *cache.Removal) { r.If = cache.Always() }),
		},
		{
			Name: "revisions-are-counted-from-creation", // so they repeat after a deletion
			Case: "cache/revision/does-not-repeat-after-delete", Collateral: []string{"cache/history/entries-*", "cache/restart/revisions-do-not-repeat", "cache/stack"},
			sabotage: func(s *sabotaged) { s.cache = replacing(newCounting().replace) },
		},
		{
			Name: "one-failure-fails-the-batch",
			Case: "cache/batch/a-failing-write-leaves-the-others",
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.set = func(ctx context.Context, w []cache.Write) ([]cache.Written, error) {
						written, err := honest.Set(ctx, w)
						for _, one := range written {
							if one.Err != nil && len(written) > 1 {
								return nil, one.Err
							}
						}
						return written, err
					}
				})
			},
		},
		{
			Name: "answers-are-out-of-order",
			Case: "cache/batch/answers-are-in-order", Collateral: []string{"cache/batch", "cache/entry/got-buffers-are-the-callers", "cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.get = func(ctx context.Context, r []cache.Read) ([]cache.Got, error) {
						got, err := honest.Get(ctx, r)
						if len(got) > 1 {
							got[0], got[1] = got[1], got[0]
						}
						return got, err
					}
				})
			},
		},
		{
			Name: "counters-wrap-around",
			Case: "cache/counter/overflow-is-exhausted", Collateral: []string{"cache/batch/a-failing-add-*"},
			sabotage: changingAdd(func(ctx context.Context, honest cache.Backend, i cache.Increment, s *cache.Sum) {
				if fault.CodeOf(s.Err) == fault.Exhausted {
					_, _ = honest.Set(ctx, []cache.Write{{Key: i.Key, Value: []byte("0")}})
					*s = cache.Sum{Revision: "wrapped"}
				}
			}),
		},
		{
			Name: "text-counts-as-zero",
			Case: "cache/counter/anything-else-is-invalid", Collateral: []string{"cache/batch/a-failing-add-*", "cache/watch/a-refused-write-is-no-change"},
			sabotage: changingAdd(func(ctx context.Context, honest cache.Backend, i cache.Increment, s *cache.Sum) {
				if fault.CodeOf(s.Err) == fault.Invalid && i.TTL == 0 && i.Key != "" && len(i.Key) <= honest.Capabilities.MaxKey {
					_, _ = honest.Set(ctx, []cache.Write{{Key: i.Key, Value: fmt.Append(nil, i.Delta)}})
					*s = cache.Sum{Value: i.Delta, Revision: "replaced"}
				}
			}),
		},
		{
			Name: "adding-renews-the-lifetime",
			Case: "cache/counter/a-later-lifetime-changes-nothing", Collateral: []string{"cache/counter/without-a-lifetime-has-no-end"},
			sabotage: changingAdd(func(ctx context.Context, honest cache.Backend, i cache.Increment, s *cache.Sum) {
				if s.Err == nil && i.TTL > 0 {
					_, _ = honest.Touch(ctx, []cache.Lifetime{{Key: i.Key, TTL: i.TTL}})
				}
			}),
		},
		{
			Name: "prefix-is-a-pattern",
			Case: "cache/keys/a-prefix-is-bytes-and-no-pattern", Collateral: []string{"cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.keys = func(ctx context.Context, p cache.Page) (cache.Keys, error) {
						p.Prefix, _, _ = strings.Cut(p.Prefix, "*")
						return honest.Keys(ctx, p)
					}
				})
			},
		},
		{
			Name: "listing-ends-after-a-page",
			Case: "cache/keys/pages-add-up-to-all", Collateral: []string{"cache/keys/that-stay-*", "cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.keys = func(ctx context.Context, p cache.Page) (cache.Keys, error) {
						keys, err := honest.Keys(ctx, p)
						keys.Next = ""
						return keys, err
					}
				})
			},
		},
		{
			Name: "absent-is-an-error",
			Case: "cache/entry/absent-is-no-error", Collateral: []string{"cache", "transport"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(changingGot(func(g *cache.Got) {
					if !g.Found && g.Err == nil {
						g.Err = &fault.Error{Code: fault.NotFound}
					}
				}))
			},
		},
		{
			Name: "an-empty-key-is-a-key",
			Case: "cache/entry/an-empty-key-is-invalid", Collateral: []string{"cache/batch/a-refused-read-*"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.get = func(ctx context.Context, r []cache.Read) ([]cache.Got, error) {
						return honest.Get(ctx, altered(r, func(r *cache.Read) { r.Key = cmp.Or(r.Key, "nothing") }))
					}
				})
			},
		},
		{
			Name: "what-is-deleted-always-existed",
			Case: "cache/delete/absent-is-no-error", Collateral: []string{"cache/history/entries-*", "cache/delete/one-of-many-removes-it", "cache/batch/a-failing-delete-*", "cache/lifetime/what-has-ended-*", "cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(func(honest cache.Backend, d *driver) {
					d.remove = func(ctx context.Context, r []cache.Removal) ([]cache.Removed, error) {
						removed, err := honest.Delete(ctx, r)
						for i := range removed {
							removed[i].Existed = removed[i].Err == nil
						}
						return removed, err
					}
				})
			},
		},
		{
			Name: "ends-are-not-told",
			Case: "cache/lifetime/is-told-when-asked-for", Collateral: []string{"cache/lifetime", "cache/touch", "cache/counter", "cache/batch/a-failing-touch-*", "cache/stack"},
			sabotage: func(s *sabotaged) {
				s.cache = replacing(changingGot(func(g *cache.Got) { g.Entry.Expires = time.Time{} }))
			},
		},
		{
			Name: "short-lifetimes-are-made-longer",
			Case: "cache/lifetime/too-short-is-invalid", Collateral: []string{"cache/batch/a-failing-write-*"},
			sabotage: changingWrites(func(w *cache.Write) {
				if w.TTL != 0 {
					w.TTL = max(w.TTL, time.Millisecond)
				}
			}),
		},
		{
			Name: "counters-are-kept-in-binary",
			Case: "cache/counter/counts-from-zero-up-and-down", Collateral: []string{"cache/history/counters-*", "cache/counter", "cache/batch", "transport/concurrency", "cache/lifetime/the-longest-*", "cache/guard", "cache/watch/tells-of-every-*", "cache/restart", "cache/stack"},
			sabotage: changingAdd(func(ctx context.Context, honest cache.Backend, i cache.Increment, s *cache.Sum) {
				if s.Err == nil {
					_, _ = honest.Set(ctx, []cache.Write{{Key: i.Key, Value: binary.BigEndian.AppendUint64(nil, uint64(s.Value))}})
				}
			}),
		},
		{
			Name: "revisions-are-each-nodes-own",
			Case: "cache/revision/is-the-same-for-every-reader", Collateral: []string{"cache", "transport"},
			sabotage: func(s *sabotaged) {
				nodes := 0
				s.cache = func(b *cache.Backend) {
					nodes++
					mark := cache.Revision(fmt.Sprint("/", nodes))
					replacing(changingGot(func(g *cache.Got) {
						if g.Found {
							g.Entry.Revision += mark
						}
					}))(b)
				}
			},
		},
		{
			Name:     "watch-goes-on-after-close",
			Case:     "cache/watch/quiet-after-close",
			sabotage: func(s *sabotaged) { s.cache = func(b *cache.Backend) { b.Watcher = unstoppable{b.Watcher} } },
		},
		{
			Name: "watch-tells-of-every-key",
			Case: "cache/watch/tells-of-its-prefix-and-no-other", Collateral: []string{"cache/watch/begins-*", "cache/stack"},
			sabotage: func(s *sabotaged) { s.cache = func(b *cache.Backend) { b.Watcher = everyKey{b.Watcher} } },
		},
	}
}

// changingWrites sabotages by changing what is written.
func changingWrites(f func(*cache.Write)) func(*sabotaged) {
	return func(s *sabotaged) {
		s.cache = replacing(func(honest cache.Backend, d *driver) {
			d.set = func(ctx context.Context, w []cache.Write) ([]cache.Written, error) {
				return honest.Set(ctx, altered(w, f))
			}
		})
	}
}

func changingRemovals(f func(*cache.Removal)) func(*sabotaged) {
	return func(s *sabotaged) {
		s.cache = replacing(func(honest cache.Backend, d *driver) {
			d.remove = func(ctx context.Context, r []cache.Removal) ([]cache.Removed, error) {
				return honest.Delete(ctx, altered(r, f))
			}
		})
	}
}

// changingSet sabotages by doing something before each write, which may change or fail it.
func changingSet(before func(context.Context, cache.Backend, *cache.Write) error) func(*sabotaged) {
	return func(s *sabotaged) {
		s.cache = replacing(func(honest cache.Backend, d *driver) {
			d.set = func(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
				if len(writes) > honest.Capabilities.MaxBatch {
					return honest.Set(ctx, writes)
				}
				all := make([]cache.Written, len(writes))
				for i, w := range writes {
					if all[i].Err = before(ctx, honest, &w); all[i].Err != nil {
						continue
					}
					written, err := honest.Set(ctx, []cache.Write{w})
					if err != nil {
						return nil, err
					}
					all[i] = written[0]
				}
				return all, nil
			}
		})
	}
}

// lookFirst checks the wanted condition some time before the write, instead of with it.
func lookFirst(ctx context.Context, honest cache.Backend, w *cache.Write, wanted func(cache.Condition) bool) error {
	if !wanted(w.If) || w.Key == "" || w.TTL < 0 {
		return nil
	}
	got, err := honest.Get(ctx, []cache.Read{{Key: w.Key, Guard: w.Guard}})
	if err != nil || got[0].Err != nil {
		return nil // the write will say so
	}
	revision, at := w.If.WantsRevision()
	holds := w.If.WantsAbsent() && !got[0].Found || at && got[0].Found && got[0].Entry.Revision == revision
	if !holds {
		return &fault.Error{Code: fault.Conflict, Op: "cache: set", Subject: w.Key}
	}
	gap()
	w.If = cache.Always()
	return nil
}

func changingGot(f func(*cache.Got)) func(cache.Backend, *driver) {
	return func(honest cache.Backend, d *driver) {
		d.get = func(ctx context.Context, r []cache.Read) ([]cache.Got, error) {
			got, err := honest.Get(ctx, r)
			for i := range got {
				f(&got[i])
			}
			return got, err
		}
	}
}

func changingAdd(after func(context.Context, cache.Backend, cache.Increment, *cache.Sum)) func(*sabotaged) {
	return func(s *sabotaged) {
		s.cache = replacing(func(honest cache.Backend, d *driver) {
			d.add = func(ctx context.Context, i []cache.Increment) ([]cache.Sum, error) {
				sums, err := honest.Add(ctx, i)
				for n := range sums {
					after(ctx, honest, i[n], &sums[n])
				}
				return sums, err
			}
		})
	}
}

// keepLifetimes writes with the lifetime that the entry had.
func keepLifetimes(honest cache.Backend, d *driver) {
	d.set = func(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
		ends := make([]time.Time, len(writes))
		if len(writes) == 1 && writes[0].Key != "" {
			got, err := honest.Get(ctx, []cache.Read{{Key: writes[0].Key, Expiry: true}})
			if err == nil && got[0].Found {
				ends[0] = got[0].Entry.Expires
			}
		}
		written, err := honest.Set(ctx, writes)
		for i := range written {
			if left := time.Until(ends[i]); written[i].Err == nil && left > 0 {
				_, _ = honest.Touch(ctx, []cache.Lifetime{{Key: writes[i].Key, TTL: left}})
			}
		}
		return written, err
	}
}

// touchNothing answers as Touch would.
func touchNothing(ctx context.Context, honest cache.Backend, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
	all := make([]cache.Touched, len(lifetimes))
	for i, l := range lifetimes {
		got, err := honest.Get(ctx, []cache.Read{{Key: l.Key, Guard: l.Guard}})
		switch {
		case err != nil:
			return nil, err
		case got[0].Err != nil:
			all[i].Err = got[0].Err
		case l.TTL < 0 || l.TTL > 0 && l.TTL < honest.Capabilities.MinTTL:
			all[i].Err = &fault.Error{Code: fault.Invalid}
		case !got[0].Found:
			all[i].Err = &fault.Error{Code: fault.NotFound}
		}
	}
	return all, nil
}

// unstoppable leaves its watches running.
type unstoppable struct{ cache.Watcher }

func (w unstoppable) Watch(ctx context.Context, prefix string, deliver func([]cache.Change)) (cache.Watch, error) {
	_, err := w.Watcher.Watch(ctx, prefix, deliver)
	return closed{}, err
}

type closed struct{}

func (closed) Close() error { return nil }

// everyKey ignores the prefix of a watch.
type everyKey struct{ cache.Watcher }

func (w everyKey) Watch(ctx context.Context, _ string, deliver func([]cache.Change)) (cache.Watch, error) {
	return w.Watcher.Watch(ctx, "", deliver)
}
