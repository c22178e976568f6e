package saboteurs

import (
	"cmp"
	"context"
	"time"

	"github.com/gobackplane/backplane/cache"
)

func listSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "pop-is-read-then-trim",
			Case: "cache/list/pop-gives-each-value-to-one-taker", Collateral: []string{"cache/stack"},
			sabotage: listing(func(honest cache.Lists, l *lists) {
				l.pop = func(ctx context.Context, pops []cache.Pop) ([]cache.Popped, error) {
					if len(pops) == 1 && pops[0].Back {
						gap() // so that the others have their chance
					}
					if len(pops) != 1 || pops[0].Back || pops[0].Max < 1 || pops[0].Max > 3 {
						return honest.Pop(ctx, pops)
					}
					p := pops[0]
					read, err := honest.Range(ctx, []cache.Range{{List: p.List, Max: p.Max, Guard: p.Guard}})
					if err != nil || read[0].Err != nil {
						return read, err
					}
					gap()
					p.Max = max(len(read[0].Values), 1)
					if _, err := honest.Pop(ctx, []cache.Pop{p}); err != nil {
						return nil, err
					}
					return read, nil
				}
			}),
		},
		{
			Name: "push-appends-one-by-one",
			Case: "cache/list/push-under-many-keeps-each-batch-together", Collateral: []string{"cache/list/bad-arguments-are-refused", "cache/stack"},
			sabotage: listing(func(honest cache.Lists, l *lists) {
				l.push = func(ctx context.Context, pushes []cache.Push) ([]cache.Length, error) {
					if len(pushes) != 1 || len(pushes[0].Values) < 2 {
						return honest.Push(ctx, pushes)
					}
					var last []cache.Length
					for _, value := range pushes[0].Values {
						one := pushes[0]
						one.Values = [][]byte{value}
						var err error
						if last, err = honest.Push(ctx, []cache.Push{one}); err != nil || last[0].Err != nil {
							return last, err
						}
						gap()
					}
					return last, nil
				}
			}),
		},
		{
			Name: "range-removes",
			Case: "cache/list/range-and-length-remove-nothing", Collateral: []string{"cache/list", "cache/stack"},
			sabotage: listing(func(honest cache.Lists, l *lists) {
				l.read = func(ctx context.Context, ranges []cache.Range) ([]cache.Popped, error) {
					popped, err := honest.Range(ctx, ranges)
					for i, r := range ranges {
						if err == nil && popped[i].Err == nil {
							_, _ = honest.Pop(ctx, []cache.Pop{{List: r.List, Max: max(len(popped[i].Values), 1)}})
						}
					}
					return popped, err
				}
			}),
		},
		{
			Name: "a-push-sets-a-lifetime",
			Case: "cache/list/a-push-without-lifetime-leaves-it",
			sabotage: listing(func(honest cache.Lists, l *lists) {
				l.push = func(ctx context.Context, p []cache.Push) ([]cache.Length, error) {
					return honest.Push(ctx, altered(p, func(p *cache.Push) { p.TTL = cmp.Or(p.TTL, time.Hour) }))
				}
			}),
		},
		{
			Name: "last-in-first-out",
			Case: "cache/list/first-in-first-out", Collateral: []string{"cache/list", "transport/namespaces/lists-*", "cache/stack"},
			sabotage: listing(func(honest cache.Lists, l *lists) {
				l.pop = func(ctx context.Context, p []cache.Pop) ([]cache.Popped, error) {
					return honest.Pop(ctx, altered(p, func(p *cache.Pop) { p.Back = !p.Back }))
				}
			}),
		},
		{
			Name: "lists-ignore-guards",
			Case: "cache/list/every-operation-heeds-a-guard", Collateral: []string{"cache/list/an-old-fence-is-conflict", "cache/list/a-failing-element-*", "cache/stack"},
			sabotage: listing(func(honest cache.Lists, l *lists) {
				l.push = func(ctx context.Context, p []cache.Push) ([]cache.Length, error) {
					return honest.Push(ctx, altered(p, func(p *cache.Push) { p.Guard = cache.Guard{} }))
				}
			}),
		},
	}
}

// lists are cache.Lists with single methods replaced; nil is the honest one.
type lists struct {
	cache.Lists
	push func(context.Context, []cache.Push) ([]cache.Length, error)
	pop  func(context.Context, []cache.Pop) ([]cache.Popped, error)
	read func(context.Context, []cache.Range) ([]cache.Popped, error)
}

func listing(f func(honest cache.Lists, l *lists)) func(*sabotaged) {
	return func(s *sabotaged) {
		s.cache = func(b *cache.Backend) {
			l := &lists{Lists: b.Lists}
			f(b.Lists, l)
			b.Lists = l
		}
	}
}

func (l *lists) Push(ctx context.Context, p []cache.Push) ([]cache.Length, error) {
	if l.push != nil {
		return l.push(ctx, p)
	}
	return l.Lists.Push(ctx, p)
}

func (l *lists) Pop(ctx context.Context, p []cache.Pop) ([]cache.Popped, error) {
	if l.pop != nil {
		return l.pop(ctx, p)
	}
	return l.Lists.Pop(ctx, p)
}

func (l *lists) Range(ctx context.Context, r []cache.Range) ([]cache.Popped, error) {
	if l.read != nil {
		return l.read(ctx, r)
	}
	return l.Lists.Range(ctx, r)
}
