package saboteurs

import (
	"context"

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
