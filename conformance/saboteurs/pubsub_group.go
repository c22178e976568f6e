package saboteurs

import (
	"fmt"
	"slices"
	"sync"

	"github.com/gobackplane/backplane/pubsub"
)

func groupSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "a-group-broadcasts",
			Case: "pubsub/group/one-member-of-a-node-gets-each", Collateral: []string{"pubsub/group", "pubsub/stack", "pubsub/subject/the-longest-*"},
			sabotage: changingFilters(func(_ int, f *pubsub.Filter) {
				if len(f.Group) <= 500 {
					f.Group = ""
				}
			}),
		},
		{
			Name: "each-node-is-a-group-of-its-own",
			Case: "pubsub/group/one-member-of-all-nodes-gets-each", Collateral: []string{"pubsub/group", "pubsub/stack"},
			sabotage: changingFilters(func(node int, f *pubsub.Filter) {
				if f.Group != "" {
					f.Group = fmt.Sprint(f.Group, " of node ", node)
				}
			}),
		},
		{
			Name: "a-group-over-two-nodes-drops-messages", // each node leaves some to the other
			Case: "pubsub/group/one-member-of-all-nodes-gets-each", Collateral: []string{"pubsub/group", "pubsub/stack"},
			sabotage: func(s *sabotaged) {
				homes := &shared[map[int]bool]{of: map[string]map[int]bool{}}
				var mu sync.Mutex
				changingDelivery(func(node int, f pubsub.Filter) func([]pubsub.Event) []pubsub.Event {
					mu.Lock()
					home := homes.first(f.Group, map[int]bool{})
					home[node] = true
					mu.Unlock()
					return func(events []pubsub.Event) []pubsub.Event {
						mu.Lock()
						many := len(home) > 1 && f.Group != ""
						mu.Unlock()
						return slices.DeleteFunc(events, func(e pubsub.Event) bool {
							return many && e.Message != nil && e.Message.Seq%9 == 0
						})
					}
				})(s)
			},
		},
		{
			Name: "a-group-is-its-name-and-filter",
			Case: "pubsub/group/members-with-different-filters-are-one-group", Collateral: []string{"pubsub/group", "pubsub/stack"},
			sabotage: changingFilters(func(_ int, f *pubsub.Filter) {
				if f.Group != "" {
					f.Group += " " + f.Subject
				}
			}),
		},
		{
			Name: "groups-ignore-case-and-spaces",
			Case: "pubsub/group/names-that-begin-alike-are-different-groups", Collateral: []string{"pubsub/group"},
			sabotage: changingFilters(func(_ int, f *pubsub.Filter) {
				if len(f.Group) > 1 && len(f.Group) < 4 {
					f.Group = f.Group[:1]
				}
			}),
		},
	}
}
