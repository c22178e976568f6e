package conformance

import (
	"fmt"
	"strings"
	"time"
)

// Outcome is how a case ended.
type Outcome string

// The outcomes.
const (
	Pass         Outcome = "pass"
	Fail         Outcome = "fail"
	Refused      Outcome = "refused"       // not declared, and its refusal was checked
	NotExercised Outcome = "not-exercised" // the harness lacks a hook
	Waived       Outcome = "waived"        // fails, for a known reason
)

// Result is how one case ended.
type Result struct {
	Case    Case
	Outcome Outcome
	Reason  string        // why it did not pass, all that was said
	Took    time.Duration // by the clock on the wall; of all its runs
	Limit   time.Duration // after which it would have counted as hung, each run

	// Of a failed case: what was wrong, and the last calls before it was, oldest first. CallsBefore counts those that
	// are not shown. With several runs they are those of the last one that failed.
	Failures    []Failure
	Calls       []Call
	CallsBefore int
	Drawings    []string // pages on which a history that failed can be looked at

	Runs, Failed int // how often it was run, with Repeat and Soak, and how often it failed
}

// Flaked reports whether the case failed in some of its runs and not in others.
func (r Result) Flaked() bool { return r.Failed > 0 && r.Failed < r.Runs }

// story is what was wrong, for people.
func (r Result) story() string {
	if len(r.Failures) == 0 {
		return strings.TrimSpace(r.Reason) + "\n"
	}
	var b strings.Builder
	for _, f := range r.Failures {
		b.WriteString(f.text())
	}
	return b.String()
}

// trail is the calls that led to a failure, for people: a line for each.
func (r Result) trail() string {
	if len(r.Calls) == 0 {
		return ""
	}
	var b strings.Builder
	if r.CallsBefore > 0 {
		fmt.Fprintf(&b, "the last %d of %d calls before it failed:\n", len(r.Calls), r.AllCalls())
	} else {
		b.WriteString("the calls before it failed:\n")
	}
	for _, c := range r.Calls {
		fmt.Fprintf(&b, "  %s\n", c)
	}
	return b.String()
}

// Failure is one thing that was not as the case expected.
type Failure struct {
	Expected string // in words; empty: as the case's name says
	Seen     string
	Where    string // in the suite's source, if it is known
}

// Report is how a run ended.
type Report struct {
	Transport string // what was tested; the caller fills it in
	Started   time.Time
	Took      time.Duration
	Seed      uint64 // of Shuffle; 0: the order of the table
	Rounds    int    // of Soak; 1 without it
	Results   []Result
}

// Count says how many cases ended so.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, result := range r.Results {
		if result.Outcome == o {
			n++
		}
	}
	return n
}

// OK reports whether no case failed.
func (r Report) OK() bool { return r.Count(Fail) == 0 }

// counts is a line for people.
func (r Report) counts() string {
	return fmt.Sprintf("%s: %d passed, %d failed, %d refused, %d not exercised, %d waived in %v",
		r.Transport, r.Count(Pass), r.Count(Fail), r.Count(Refused), r.Count(NotExercised), r.Count(Waived), r.Took.Round(time.Millisecond))
}
