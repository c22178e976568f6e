package conformance

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes what a person at a terminal wants to know: everything that did not simply pass, a line for each
// concern, and the sum.
func (r Report) WriteText(w io.Writer) error {
	out := &sticky{w: w}
	for _, result := range r.Results {
		if result.Outcome == Pass {
			continue
		}
		out.printf("%-13s %s\n", result.Outcome, result.Case.Name)
		if result.Outcome == Fail {
			out.printf("    promised: %s\n", result.Case.Clause)
		}
		out.printf("%s", indent(result.Reason, "    "))
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, g := range r.grades() {
		fmt.Fprintf(table, "%s\t%d/%d\t%s\n", g.concern, g.good, g.total, g.rest())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	out.printf("%s\n", r.summary())
	return out.err
}

// WriteMarkdown writes a table for a README or a pull request.
func (r Report) WriteMarkdown(w io.Writer) error {
	out := &sticky{w: w}
	out.printf("**%s**\n\n| concern | kept | not kept, or not checked |\n|---|---|---|\n", r.summary())
	for _, g := range r.grades() {
		out.printf("| %s | %d/%d | %s |\n", g.concern, g.good, g.total, g.rest())
	}
	for _, result := range r.Results {
		if result.Outcome != Pass && result.Outcome != Refused {
			first, _, _ := strings.Cut(result.Reason, "\n")
			out.printf("\n- **%s** `%s`: %s", result.Outcome, result.Case.Name, strings.ReplaceAll(first, "|", "\\|"))
		}
	}
	out.printf("\n")
	return out.err
}

// grade counts one concern.
type grade struct {
	concern     string
	good, total int
	others      map[Outcome]int
}

func (g grade) rest() string {
	var parts []string
	for _, o := range []Outcome{Fail, Refused, NotExercised, Waived} {
		if n := g.others[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	return strings.Join(parts, ", ")
}

// grades are in the order in which the concerns first appear. What was refused as it should be is kept.
func (r Report) grades() []*grade {
	var all []*grade
	byConcern := map[string]*grade{}
	for _, result := range r.Results {
		concern := result.Case.Concern()
		g := byConcern[concern]
		if g == nil {
			g = &grade{concern: concern, others: map[Outcome]int{}}
			byConcern[concern] = g
			all = append(all, g)
		}
		g.total++
		if result.Outcome == Pass || result.Outcome == Refused {
			g.good++
		}
		g.others[result.Outcome]++
	}
	return all
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

func (s *sticky) printf(format string, args ...any) { fmt.Fprintf(s, format, args...) }
