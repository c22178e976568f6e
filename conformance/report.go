package conformance

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
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

// WriteJSON writes one object for programs.
func (r Report) WriteJSON(w io.Writer) error {
	type entry struct {
		Name   string  `json:"name"`
		Result Outcome `json:"result"`
		Clause Clause  `json:"clause"`
		MS     int64   `json:"ms"`
		Reason string  `json:"reason"`
	}
	object := struct {
		Transport    string  `json:"transport"`
		Passed       int     `json:"passed"`
		Failed       int     `json:"failed"`
		Refused      int     `json:"refused"`
		NotExercised int     `json:"not_exercised"`
		Waived       int     `json:"waived"`
		Cases        []entry `json:"cases"`
	}{r.Transport, r.Count(Pass), r.Count(Fail), r.Count(Refused), r.Count(NotExercised), r.Count(Waived), []entry{}}
	for _, result := range r.Results {
		object.Cases = append(object.Cases, entry{
			result.Case.Name, result.Outcome, result.Case.Clause, result.Took.Milliseconds(), result.Reason,
		})
	}
	return json.NewEncoder(w).Encode(object)
}

// WriteJUnit writes what build servers read. What was not exercised or is waived is a skipped test there.
func (r Report) WriteJUnit(w io.Writer) error {
	type message struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Seconds string   `xml:"time,attr"`
		Failure *message `xml:"failure"`
		Skipped *message `xml:"skipped"`
	}
	suite := struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Seconds  string     `xml:"time,attr"`
		Stamp    string     `xml:"timestamp,attr"`
		Cases    []testcase `xml:"testcase"`
	}{
		Name: "conformance " + r.Transport, Tests: len(r.Results), Failures: r.Count(Fail), Skipped: r.Count(NotExercised) + r.Count(Waived),
		Seconds: seconds(r.Took), Stamp: r.Started.UTC().Format("2006-01-02T15:04:05"),
	}
	for _, result := range r.Results {
		c := testcase{Name: result.Case.Name, Class: r.Transport + "." + result.Case.Concern(), Seconds: seconds(result.Took)}
		switch result.Outcome {
		case Fail:
			c.Failure = &message{string(result.Case.Clause), result.Reason}
		case NotExercised, Waived:
			c.Skipped = &message{Message: string(result.Outcome) + ": " + result.Reason}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
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

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

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
