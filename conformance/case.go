package conformance

import (
	"slices"
	"strings"
	"time"
)

// Case is one promise of the contract and the way to find out whether a transport keeps it.
type Case struct {
	// Name reads as the promise, after what it is about: cache/lock/release-by-non-holder-is-refused. Names are stable:
	// waivers and reports of other people hold them.
	Name string
	// Clause is what the contract says.
	Clause Clause
	// Needs is the optional ability that the case is about. Where it is not declared, its refusal is checked instead.
	Needs Ability
	// Hooks are what the harness must be able to do to the store or a link.
	Hooks []Hook
	// Level tells whether the case looks at the transport or at what stands on it.
	Level Level
	// Limit is how long it may take before it counts as hung; 0: Timing.Case, and twice that with hooks.
	Limit time.Duration
	// Run checks. It runs on a goroutine of its own.
	Run func(e *Env)
}

// docs is the page on which every case has an anchor.
const docs = "https://github.com/gobackplane/backplane/blob/main/docs/conformance.md"

// Anchor is the case's place on the page docs/conformance.md, in the row of its clause.
func (c Case) Anchor() string { return strings.ReplaceAll(c.Name, "/", "-") }

// Link leads to the promise that the case is about.
func (c Case) Link() string { return docs + "#" + c.Anchor() }

// limit is how long the case may take.
func (c Case) limit(t Timing) time.Duration {
	switch {
	case c.Limit > 0:
		return c.Limit
	case len(c.Hooks) > 0:
		return 2 * t.Case
	}
	return t.Case
}

// Concern is the part of the contract that the case belongs to: transport, cache, lock, queue, pubsub or rpc.
func (c Case) Concern() string {
	concern, rest, _ := strings.Cut(c.Name, "/")
	if concern == "cache" && strings.HasPrefix(rest, "lock/") {
		return "lock"
	}
	return concern
}

// Level tells what a case looks at.
type Level string

// The levels.
const (
	// Driver cases use the transport's own interfaces: only the transport can break them.
	Driver Level = "driver"
	// Stack cases use what applications use, once for every transport: the layers above count on promises that are easier
	// seen from there.
	Stack Level = "stack"
)

// All lists every case, in the order in which they run: those that need hooks come last.
func All() []Case {
	all := slices.Concat(
		transportCases(), cacheCases(), cacheStackCases(), lockCases(), cacheHistoryCases(), queueCases(), queueHistoryCases(), pubsubCases(), rpcCases(),
		transportHookCases(), cacheHookCases(), lockHookCases(), cacheStackHookCases(), queueHookCases(), pubsubHookCases(), rpcHookCases(), historyHookCases(),
	)
	for i := range all {
		if all[i].Level == "" {
			all[i].Level = Driver
		}
	}
	return all
}

// Clause is a promise of the contract in a few words.
type Clause string

// Chapter is the part of the contract that is about one thing.
type Chapter struct {
	Title   string
	Clauses []Clause
}

// Contract lists every clause, by chapter. Each has a case, and a test says so.
func Contract() []Chapter {
	return []Chapter{
		{"Transport", transportClauses},
		{"Cache", cacheClauses},
		{"Locks", lockClauses},
		{"Above the cache", cacheStackClauses},
		{"Queue", queueClauses},
		{"Pub/sub", pubsubClauses},
		{"RPC", rpcClauses},
	}
}
