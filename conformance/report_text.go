package conformance

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// WriteText writes what a person at a terminal wants to know: everything that did not simply pass, a line for each
// concern, and the sum.
func (r Report) WriteText(w io.Writer) error {
	out := &sticky{w: w}
	for _, result := range r.Results {
		if result.Outcome == Pass {
			continue
		}
		out.printf("%-13s %s%s\n", result.Outcome, result.Case.Name, result.flakes())
		if result.Outcome != Fail {
			out.printf("%s", indent(result.Reason, "    "))
			continue
		}
		out.printf("    promised: %s\n", result.Case.Clause)
		if result.Case.Name != "" {
			out.printf("    see:      %s\n", result.Case.Link())
		}
		out.printf("%s%s", indent(strings.TrimSpace(result.story()), "    "), indent(strings.TrimSpace(result.trail()), "    "))
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, g := range r.Grades() {
		t := r.tallies()[i]
		fmt.Fprintf(table, "%s\t%s\t%d/%d\t%s\t%s\n", g.Concern, g.Standing, t.good, t.total, t.rest(), g.Missing)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if r.Seed != 0 {
		out.printf("%s\n", r.order())
	}
	out.printf("%s\n%s\n", r.Summary(), r.counts())
	return out.err
}

// order says in which order the cases ran, so that they can run so again.
func (r Report) order() string {
	text := fmt.Sprintf("shuffled with seed %d", r.Seed)
	if r.Rounds > 1 {
		text += fmt.Sprintf(", %d rounds", r.Rounds)
	}
	return text
}

// flakes says how often a case failed that was run more than once.
func (r Result) flakes() string {
	switch {
	case r.Flaked():
		return fmt.Sprintf(" (flaky: %d of %d runs failed)", r.Failed, r.Runs)
	case r.Failed > 1:
		return fmt.Sprintf(" (all %d runs failed)", r.Runs)
	}
	return ""
}

func indent(text, by string) string {
	if text == "" {
		return ""
	}
	return by + strings.ReplaceAll(text, "\n", "\n"+by) + "\n"
}

// sticky keeps the first error of writing.
type sticky struct {
	w   io.Writer
	err error
}

func (s *sticky) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

func (s *sticky) printf(format string, args ...any) {
	_, _ = io.WriteString(s, printable(fmt.Sprintf(format, args...))) // the error is kept
}

// printable is text that no terminal takes for a command, and that is UTF-8 whatever a store has answered.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
}
