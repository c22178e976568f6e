package conformance

import (
	"github.com/gobackplane/backplane/cache"
)

// clauseLinear is what makes a cache one cache, and not one for each node.
const clauseLinear Clause = "operations on one key happen one after the other, each between its call and its answer; " +
	"one that was not answered happens once at some time after its call, or never"

func cacheHistoryCases() []Case {
	return needing(NeedsCache, []Case{
		{Name: "cache/history/entries-are-linearizable", Clause: clauseLinear, Run: func(e *Env) { entryHistory(e, (*history).run) }},
		{Name: "cache/history/counters-are-linearizable", Clause: clauseLinear, Run: func(e *Env) { counterHistory(e, (*history).run) }},
		{Name: "cache/lock/a-history-has-one-holder-at-a-time", Clause: clauseOneHolder, Run: func(e *Env) { lockHistory(e, (*history).run) }},
	})
}

func queueHistoryCases() []Case {
	return needing(NeedsQueue, []Case{
		{Name: "queue/history/a-task-is-with-one-claimer-at-a-time", Clause: clauseOneLease, Run: func(e *Env) { tasksAre(e, (*history).run) }},
	})
}

func historyHookCases() []Case {
	cuts := []Hook{Cut}
	across := (*history).runAcrossCuts
	return append(needing(NeedsCache, []Case{
		{Name: "cache/history/entries-are-linearizable-across-cuts", Clause: clauseLinear, Hooks: cuts, Run: func(e *Env) { entryHistory(e, across) }},
		{Name: "cache/history/counters-are-linearizable-across-cuts", Clause: clauseLinear, Hooks: cuts, Run: func(e *Env) { counterHistory(e, across) }},
		{Name: "cache/lock/a-history-across-cuts-has-one-holder-at-a-time", Clause: clauseOneHolder, Hooks: cuts, Run: func(e *Env) { lockHistory(e, across) }},
	}), needing(NeedsQueue, []Case{
		{Name: "queue/history/a-task-is-with-one-claimer-at-a-time-across-cuts", Clause: clauseOneLease, Hooks: cuts, Run: func(e *Env) { tasksAre(e, across) }},
	})...)
}

func entryHistory(e *Env, run func(*history, func(*historian))) {
	h := newHistory(e)
	var seen [historyClients]map[string]cache.Revision
	run(h, func(c *historian) {
		if seen[c.client] == nil {
			seen[c.client] = map[string]cache.Revision{}
		}
		playEntries(c, seen[c.client])
	})
	entriesAre(h)
}

func counterHistory(e *Env, run func(*history, func(*historian))) {
	h := newHistory(e)
	run(h, playCounters)
	h.check(counterModel)
}

func lockHistory(e *Env, run func(*history, func(*historian))) {
	h := newHistory(e)
	var contenders [historyClients]contender
	run(h, func(c *historian) {
		contenders[c.client].historian = c
		contenders[c.client].ttl = 4 * e.Timing.Case // no lease ends by itself
		contenders[c.client].play()
	})
	h.check(lockModel)
}
