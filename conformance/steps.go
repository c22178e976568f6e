package conformance

import "slices"

// Step is a part of the work of writing a transport: promises that can be kept once those of the steps before it are.
type Step struct {
	Name  string  // lists
	Title string  // what there is to write
	Needs Ability // without it there is nothing to write; empty: every transport needs the step
	Cases []Case  // none needs another one to be kept
}

// step is a Step, and what belongs there beside the cases that need its ability.
type step struct {
	Step
	patterns []string
}

// stepOrder says what belongs where; see stepOf.
var stepOrder = []step{
	{Step{Name: "open", Title: "Open, Health, Close, and what it says of itself"}, []string{
		"transport/capabilities", "transport/health", "transport/close/may-be-called-*", "transport/close/a-node-*",
		"transport/*/*every-health-*",
	}},
	{Step{Name: "entries", Title: "Get and Set: what was set is got, by every node", Needs: NeedsCache}, []string{
		"cache/entry", "transport/nodes",
	}},
	{Step{Name: "delete", Title: "Delete, and revisions that never repeat", Needs: NeedsCache}, []string{
		"cache/delete", "cache/revision", "transport/namespaces/entries-*",
	}},
	{Step{Name: "conditions", Title: "If: conditions, in one atomic step with the write", Needs: NeedsCache}, []string{
		"cache/condition", "cache/revision/does-not-repeat-after-*",
	}},
	{Step{Name: "lifetimes", Title: "TTL and Touch: never early, no later than declared", Needs: NeedsCache}, []string{
		"cache/lifetime", "cache/touch", "cache/entry/a-write-replaces-*", "cache/condition/if-absent-leaves-*",
	}},
	{Step{Name: "counters", Title: "Add: counters", Needs: NeedsCache}, []string{"cache/counter"}},
	{Step{Name: "keys", Title: "Keys: listing by prefix, in pages", Needs: NeedsCache}, []string{
		"cache/keys", "cache/entry/empty-*", "cache/entry/unusual-*", "cache/condition/if-present-makes-*",
		"cache/lifetime/what-has-ended-*", "transport/namespaces/keys-*",
	}},
	{Step{Name: "locks", Title: "Acquire, Renew, Release: leases with fences", Needs: NeedsCache}, []string{
		"cache/lock", "cache/entry/lock-*", "transport/namespaces/locks-*",
	}},
	{Step{Name: "guards", Title: "Guard: heed the lock of the key's own name", Needs: NeedsCache}, []string{
		"cache/guard", "cache/lock/unusual-holders-*", "cache/lock/a-history-*",
	}},
	{Step{Name: "cache", Title: "the whole cache: batches, closing, contexts, many callers", Needs: NeedsCache}, []string{
		"cache", "cache/entry/the-longest-key-*", "cache/entry/a-longer-key-*", "cache/entry/an-empty-key-*",
		"cache/lifetime/too-short-*", "cache/lifetime/the-longest-*", "transport",
	}},
	{Step{Name: "lists", Title: "Lists", Needs: NeedsLists}, nil},
	{Step{Name: "holders", Title: "Holders: the locks that are held", Needs: NeedsHolders}, nil},
	{Step{Name: "watch", Title: "Watcher: changes as they happen", Needs: NeedsWatcher}, nil},
	{Step{Name: "queue", Title: "the queue: Enqueue, Claim, Settle, Extend", Needs: NeedsQueue}, []string{
		"queue", "transport/namespaces/queues-*", "transport/*/*every-queue-*", "transport/capabilities/queue-*",
	}},
	{Step{Name: "admin", Title: "Admin: the queue's administration", Needs: NeedsAdmin}, nil},
	{Step{Name: "pubsub", Title: "pub/sub: Publish and Subscribe", Needs: NeedsPubSub}, []string{
		"pubsub", "transport/namespaces/subjects-*", "transport/*/*every-pubsub-*", "transport/capabilities/pubsub-*",
	}},
	{Step{Name: "rpc", Title: "RPC, made from pub/sub unless you offer your own", Needs: NeedsRPC}, []string{
		"rpc", "transport/namespaces/addresses-*", "transport/*/*every-rpc-*", "transport/capabilities/rpc-*",
	}},
	{Step{Name: "faults", Title: "links that break and stores that restart, as far as the harness has hooks"}, nil},
}

// Steps are the cases in the order in which a transport is best written: each step needs nothing that a later one is about.
// Every case is in one of them, and those about the transport as a whole are its last.
func Steps() []Step {
	steps := make([]Step, len(stepOrder))
	for i, s := range stepOrder {
		steps[i] = s.Step
	}
	for _, c := range All() {
		i := stepOf(c)
		steps[i].Cases = append(steps[i].Cases, c)
	}
	for i, s := range steps {
		whole := func(c Case) bool { return c.Concern() == "transport" }
		parts := slices.DeleteFunc(slices.Clone(s.Cases), whole)
		steps[i].Cases = append(parts, slices.DeleteFunc(s.Cases, func(c Case) bool { return !whole(c) })...)
	}
	return steps
}

// stepOf is the place of a case's step. What needs a hook comes last, what needs an optional ability where that is written,
// and everything else where the longest pattern for it stands.
func stepOf(c Case) int {
	last := len(stepOrder) - 1
	if len(c.Hooks) > 0 {
		return last
	}
	found, longest := last, 0
	for i, s := range stepOrder {
		if s.Needs != "" && s.Needs == c.Needs && len(s.patterns) == 0 {
			return i
		}
		for _, pattern := range s.patterns {
			if len(pattern) > longest && MatchName(pattern, c.Name) {
				found, longest = i, len(pattern)
			}
		}
	}
	return found
}
