package conformance

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed report.html.tmpl
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"words":   func(name string) string { return strings.ReplaceAll(name, "-", " ") },
	"short":   shortly,
	"since":   sinceStart,
	"percent": func(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) },
	"class":   func(s Standing) string { return strings.ReplaceAll(string(s), " ", "-") },
}).Parse(pageText))

// WriteHTML writes one page that needs nothing else, not a script either: the levels, what failed with the calls that
// led there, and every case.
func (r Report) WriteHTML(w io.Writer) error {
	p := pageOf{
		Transport: r.Transport, Summary: r.Summary(), OK: r.OK(), Started: r.Started.UTC().Format(time.RFC1123), Took: shortly(r.Took),
		Docs: docs, Counts: []pageCount{
			{Pass, r.Count(Pass)}, {Fail, r.Count(Fail)}, {Refused, r.Count(Refused)},
			{NotExercised, r.Count(NotExercised)}, {Waived, r.Count(Waived)},
		},
	}
	if r.Seed != 0 {
		p.Order = r.order()
	}
	tallies := r.tallies()
	for i, g := range r.Grades() {
		p.Concerns = append(p.Concerns, pageConcern{Grade: g, Good: tallies[i].good, Total: tallies[i].total, Rest: tallies[i].rest()})
	}
	for _, result := range r.Results {
		if result.Outcome == Fail {
			p.Failed = append(p.Failed, result)
		}
		for i := range p.Concerns {
			if c := &p.Concerns[i]; c.Concern == result.Case.Concern() {
				c.Results = append(c.Results, result)
			}
		}
	}
	var b strings.Builder
	if err := page.Execute(&b, p); err != nil {
		return err
	}
	_, err := io.WriteString(w, printable(b.String()))
	return err
}

// pageOf is what the page is made of.
type pageOf struct {
	Transport, Summary, Started, Took, Order, Docs string

	OK       bool
	Counts   []pageCount
	Concerns []pageConcern
	Failed   []Result
}

type pageCount struct {
	Outcome Outcome
	N       int
}

type pageConcern struct {
	Grade
	Good, Total int
	Rest        string
	Results     []Result
}

// Title is the end of the case's name, which reads as a sentence.
func (c Case) Title() string {
	return strings.ReplaceAll(c.Name[strings.LastIndexByte(c.Name, '/')+1:], "-", " ")
}

// AllCalls is how many calls were made before the case failed, those that are not shown too.
func (r Result) AllCalls() int { return r.CallsBefore + len(r.Calls) }

// Flakes is how often the case failed that was run more than once, in words.
func (r Result) Flakes() string { return strings.Trim(r.flakes(), " ()") }
