package conformance

import (
	"fmt"
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
	Reason  string        // why it did not pass
	Took    time.Duration // by the clock on the wall

	Drawings []string // pages on which a history that failed can be looked at
}

// Report is how a run ended.
type Report struct {
	Transport string // what was tested; the caller fills it in
	Started   time.Time
	Took      time.Duration
	Seed      uint64 // of Shuffle; 0: the order of the table
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

// summary is a line for people.
func (r Report) summary() string {
	return fmt.Sprintf("%s: %d passed, %d failed, %d refused, %d not exercised, %d waived in %v",
		r.Transport, r.Count(Pass), r.Count(Fail), r.Count(Refused), r.Count(NotExercised), r.Count(Waived), r.Took.Round(time.Millisecond))
}
