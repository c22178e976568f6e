package conformance

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// Plan says how far a transport has come on the way of [Steps], and what is next.
type Plan struct {
	Stages []Stage // one for each step, in order; those behind the first that fails have no results
	Again  string  // how to run one case: a command in which %s stands for its name; empty: it is not said
}

// Stage is one step, and how its cases ended.
type Stage struct {
	Step    Step
	Results []Result // empty: it was not run
}

// mostTold is how many failures a plan tells in full: who writes a transport mends one after the other.
const mostTold = 3

// Next puts a transport through the suite step by step, as far as the first step in which a case fails. It is [Run] for
// those who write a transport, whom hundreds of failures would not help. The option [Match] is not for it.
func Next(ctx context.Context, h Harness, options ...Option) Plan {
	return walk(func(step Step) []Result {
		only := make([]string, len(step.Cases))
		for i, c := range step.Cases {
			only[i] = c.Name
		}
		results := Run(ctx, h, append(slices.Clone(options), Match(strings.Join(only, ",")))...).Results
		place := func(r Result) int { return slices.Index(only, r.Case.Name) }
		slices.SortStableFunc(results, func(a, b Result) int { return place(a) - place(b) })
		return results
	})
}

// TestNext is [Next] for go test: [Test] as far as the first step in which cases fail, and not beyond three of these. What
// it logs at its end is the plan. A transport that gets to its end is ready for Test.
//
//	go test -run 'TestConformance/cache/entry/flags-come-back'   # one case, or what is below a name
func TestNext(t *testing.T, h Harness, options ...Option) {
	t.Helper()
	s := newSuite(h, append([]Option{drawForTest(t)}, options...))
	for _, name := range s.strayWaivers() {
		t.Errorf("waiver %q: there is no such case", name)
	}
	plan := walk(func(step Step) []Result {
		var results []Result
		failed := 0
		for _, c := range step.Cases {
			if failed == mostTold || !s.wanted(c.Name) {
				continue
			}
			t.Run(c.Name, func(t *testing.T) {
				r := s.judge(t.Context(), c, t)
				results = append(results, r)
				if r.Outcome == Fail {
					failed++
				}
				report(t, r)
			})
		}
		return results
	})
	plan.Again = "go test -run '" + t.Name() + "/%s'"
	var text strings.Builder
	if err := plan.write(&text, false); err != nil {
		t.Error(err)
	}
	t.Logf("%s\n%s", t.Name(), text.String())
}

func walk(run func(Step) []Result) Plan {
	var p Plan
	failed := false
	for _, step := range Steps() {
		stage := Stage{Step: step}
		if !failed {
			stage.Results = run(step)
			failed = stage.count(Fail) > 0
		}
		p.Stages = append(p.Stages, stage)
	}
	return p
}

// OK reports whether no case failed.
func (p Plan) OK() bool { return p.next() == nil }

// next is the stage that fails.
func (p Plan) next() *Stage {
	for i := range p.Stages {
		if p.Stages[i].count(Fail) > 0 {
			return &p.Stages[i]
		}
	}
	return nil
}

func (s Stage) count(o Outcome) int { return Report{Results: s.Results}.Count(o) }

// standing is where a step stands, in a word or two, and why.
func (s Stage) standing() (word, details string) {
	good := s.count(Pass)
	var rest []string
	if missing := len(s.Step.Cases) - len(s.Results); missing > 0 {
		rest = append(rest, fmt.Sprintf("%d not run", missing))
	}
	for _, o := range []Outcome{Refused, NotExercised, Waived} {
		if n := s.count(o); n > 0 {
			rest = append(rest, fmt.Sprintf("%d %s", n, o))
		}
	}
	details = strings.Join(append([]string{fmt.Sprintf("%d of %d pass", good, len(s.Step.Cases))}, rest...), ", ")
	offered := !slices.ContainsFunc(s.Results, func(r Result) bool { return r.Outcome == Refused && r.Case.Needs == s.Step.Needs })
	switch {
	case len(s.Results) == 0:
		return "not yet", fmt.Sprintf("%d cases", len(s.Step.Cases))
	case s.count(Fail) > 0:
		return "NEXT", fmt.Sprintf("%d fail, %s", s.count(Fail), details)
	case !offered:
		return "not offered", fmt.Sprintf("%d properly refused", s.count(Refused))
	case good == 0:
		return "not exercised", details
	}
	return "done", details
}

// WriteText writes the steps with their standing, and of the first that fails which cases do, the first of them in full.
func (p Plan) WriteText(w io.Writer) error { return p.write(w, true) }

func (p Plan) write(w io.Writer, stories bool) error {
	out := &sticky{w: w}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, s := range p.Stages {
		word, details := s.standing()
		fmt.Fprintf(table, "%2d\t%s\t%s\t%s\t%s\n", i+1, word, s.Step.Name, s.Step.Title, details)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	next := p.next()
	if next == nil {
		out.printf("\nNothing fails.\n")
		return out.err
	}
	out.printf("\nnext: %s. It fails here:\n", next.Step.Title)
	told := 0
	for _, r := range next.Results {
		if r.Outcome != Fail {
			continue
		}
		out.printf("\n%s\n", r.Case.Name)
		if told++; !stories || told > mostTold {
			continue
		}
		out.printf("    promised: %s\n    see:      %s\n", r.Case.Clause, r.Case.Link())
		out.printf("%s%s", indent(strings.TrimSpace(r.story()), "    "), indent(strings.TrimSpace(r.trail()), "    "))
	}
	if p.Again != "" {
		out.printf("\nOne of them alone:\n    %s\n", strings.ReplaceAll(p.Again, "%s", next.firstFailed()))
	}
	return out.err
}

func (s Stage) firstFailed() string {
	for _, r := range s.Results {
		if r.Outcome == Fail {
			return r.Case.Name
		}
	}
	return ""
}
