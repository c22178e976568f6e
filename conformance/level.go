package conformance

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Standing is how far a transport gets with one concern: cache, lock, queue, pubsub or rpc, and what they share, which is
// called transport. Each is more than the one before it.
type Standing string

// The standings.
const (
	// NotOffered: the transport does not declare the concern.
	NotOffered Standing = "not offered"
	// Partial: not every case of the concern was run, so that nothing is known of the whole.
	Partial Standing = "partial"
	// Failing: a case of the concern fails, whatever it is about: what a transport declares is required of it. A case
	// that is waived counts as one that fails.
	Failing Standing = "failing"
	// Core: every case that needs neither an optional ability nor a hook passes, and none that was run fails.
	Core Standing = "core"
	// Full: core, and every optional ability of the concern is declared, so that its cases pass too.
	Full Standing = "full"
	// FaultTolerant: full, and every case that needs a hook for a fault was exercised and passes. To move the store's clock
	// is no fault: few stores let anybody do it.
	FaultTolerant Standing = "fault-tolerant"
)

// Grade is the standing of one concern.
type Grade struct {
	Concern  string
	Standing Standing
	Missing  string // what keeps it from the next standing; empty: nothing does
}

// Grades gives the standing of every concern that the run was about, in the order of the contract.
func (r Report) Grades() []Grade {
	all := map[string]int{}
	for _, c := range All() {
		all[c.Concern()]++
	}
	var grades []Grade
	for _, t := range r.tallies() {
		g := Grade{Concern: t.concern}
		g.Standing, g.Missing = t.standing(all[t.concern])
		grades = append(grades, g)
	}
	return grades
}

// base is the ability without which there is nothing of a concern.
var base = map[string]Ability{"cache": NeedsCache, "lock": NeedsCache, "queue": NeedsQueue, "pubsub": NeedsPubSub, "rpc": NeedsRPC}

// standing judges a concern, which has so many cases in all.
func (t *tally) standing(inAll int) (Standing, string) {
	if t.failed > 0 {
		return Failing, fmt.Sprintf("%s fails", t.firstFailed) + more(t.failed-1)
	}
	switch {
	case slices.Contains(t.refused, base[t.concern]) && base[t.concern] != "":
		return NotOffered, ""
	case t.total < inAll:
		return Partial, fmt.Sprintf("%d of %d cases were run", t.total, inAll)
	case len(t.refused) > 0 && t.concern != "transport": // the abilities are the other concerns'
		return Core, "not declared: " + joined(t.refused)
	case len(t.lacking) > 0:
		return Full, "not exercised, for want of a hook: " + joined(t.lacking)
	}
	return FaultTolerant, ""
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

func joined[S ~string](all []S) string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

// tally counts one concern.
type tally struct {
	concern     string
	good, total int
	others      map[Outcome]int
	failed      int // waived ones too
	firstFailed string
	refused     []Ability // each once
	lacking     []Hook    // each once
}

// tallies are in the order of the contract. What was refused as it should be is good.
func (r Report) tallies() []*tally {
	var all []*tally
	for _, result := range r.Results {
		concern := result.Case.Concern()
		i := slices.IndexFunc(all, func(t *tally) bool { return t.concern == concern })
		if i < 0 {
			i = len(all)
			all = append(all, &tally{concern: concern, others: map[Outcome]int{}})
		}
		all[i].add(result)
	}
	slices.SortStableFunc(all, func(a, b *tally) int { return slices.Index(concerns, a.concern) - slices.Index(concerns, b.concern) })
	return all
}

var concerns = []string{"transport", "cache", "lock", "queue", "pubsub", "rpc"}

func (t *tally) add(r Result) {
	t.total++
	t.others[r.Outcome]++
	switch r.Outcome {
	case Pass:
		t.good++
	case Refused:
		t.good++
		if !slices.Contains(t.refused, r.Case.Needs) {
			t.refused = append(t.refused, r.Case.Needs)
		}
	case NotExercised:
		for _, hook := range r.Case.Hooks {
			if hook != AdvanceClock && !slices.Contains(t.lacking, hook) {
				t.lacking = append(t.lacking, hook)
			}
		}
	default:
		t.failed++
		if t.firstFailed == "" {
			t.firstFailed = r.Case.Name
		}
	}
}

func (t *tally) rest() string {
	var parts []string
	for _, o := range []Outcome{Fail, Refused, NotExercised, Waived} {
		if n := t.others[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	return strings.Join(parts, ", ")
}

// Summary is the grades on one line: cache: full · queue: fault-tolerant · pubsub: core.
func (r Report) Summary() string {
	var all []string
	for _, g := range r.Grades() {
		all = append(all, fmt.Sprintf("%s: %s", g.Concern, g.Standing))
	}
	return strings.Join(all, " · ")
}

// Badge is the summary as a line of Markdown: a picture, made by shields.io, that leads to what the levels mean.
func (r Report) Badge() string {
	message, color := badgeText(r.Summary()), r.color()
	return fmt.Sprintf("[![conformance: %s](https://img.shields.io/badge/conformance-%s-%s)](%s#levels)", r.Summary(), message, color, docs)
}

// badgeText is text for a path of shields.io, where a dash separates and an underscore is a space.
func badgeText(text string) string {
	return url.PathEscape(strings.NewReplacer("-", "--", "_", "__").Replace(text))
}

// color is that of the lowest standing.
func (r Report) color() string {
	lowest := len(ranks)
	for _, g := range r.Grades() {
		if i := slices.Index(ranks, g.Standing); i >= 0 {
			lowest = min(lowest, i)
		}
	}
	if lowest == len(ranks) {
		return "lightgrey"
	}
	return []string{"red", "lightgrey", "blue", "green", "brightgreen"}[lowest]
}

var ranks = []Standing{Failing, Partial, Core, Full, FaultTolerant}
