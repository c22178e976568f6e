package queue

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// order draws the order in which a claim prefers queues.
type order struct {
	queues []weighted
	strict bool
}

type weighted struct {
	name   string
	weight int
	rank   float64
}

func newOrder(weights map[string]int, strict bool) order {
	o := order{strict: strict}
	for name, weight := range weights {
		o.queues = append(o.queues, weighted{name: name, weight: weight})
	}
	return o
}

// draw is a random order in which a queue comes first as often as its weight's share of all weights, and so on among
// the rest: no queue starves. A strict order goes by weight alone, and is random among equals.
func (o order) draw() []string {
	if len(o.queues) == 1 {
		return []string{o.queues[0].name}
	}
	drawn := slices.Clone(o.queues)
	for i := range drawn {
		// Efraimidis and Spirakis: sorted by u^(1/w), which is the order of log(u)/w.
		w := float64(drawn[i].weight)
		if o.strict {
			w = 1
		}
		drawn[i].rank = math.Log(1-rand.Float64()) / w
	}
	slices.SortFunc(drawn, func(a, b weighted) int {
		if o.strict && a.weight != b.weight {
			return cmp.Compare(b.weight, a.weight)
		}
		return cmp.Compare(b.rank, a.rank)
	})
	names := make([]string, len(drawn))
	for i := range drawn {
		names[i] = drawn[i].name
	}
	return names
}
