package conformance

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hostile is what a store might answer to break a report.
const hostile = "</code></pre><script>alert(1)</script> \x00\xff ``` | & ' \" <img src=x onerror=alert(1)> javascript:x ]]> \u202e"

// aReport has one of everything.
func aReport() Report {
	return Report{Transport: "noth<ing>", Took: time.Second, Seed: 7, Rounds: 3, Results: []Result{
		{Case: Case{Name: "cache/entry/a", Clause: "promise a"}, Outcome: Pass, Took: 1500 * time.Microsecond, Runs: 3},
		{
			Case: Case{Name: "cache/lock/b-is-held", Clause: "promise b"}, Outcome: Fail, Reason: "first <line>\nsecond \x00 line " + hostile,
			Failures:    []Failure{{Expected: hostile, Seen: hostile, Where: "conformance/x.go:1"}, {Seen: "again"}},
			CallsBefore: 5, Runs: 3, Failed: 1, Drawings: []string{"/tmp/" + hostile},
			Calls: []Call{
				{Node: 1, Method: "cache.Get", Asked: hostile, Answered: hostile, Took: 1234567},
				{Node: harness, Method: "cuts the link of node 1"},
				{Node: 0, Method: "cache.Set", Asked: "x", Pending: true},
			},
		},
		{Case: Case{Name: "queue/claim/c", Clause: "promise c", Needs: NeedsAdmin}, Outcome: Refused, Reason: "not declared"},
		{Case: Case{Name: "queue/store/d", Clause: "promise d", Hooks: []Hook{Restart}}, Outcome: NotExercised, Reason: "restart"},
		{Case: Case{Name: "rpc/stack/e", Clause: "promise e"}, Outcome: Waived, Reason: "known " + hostile},
	}}
}

func TestReportsSayTheSameInEveryFormat(t *testing.T) {
	report := aReport()
	var text, object, junit, markdown, html bytes.Buffer
	require.NoError(t, report.WriteText(&text))
	require.NoError(t, report.WriteJSON(&object))
	require.NoError(t, report.WriteJUnit(&junit))
	require.NoError(t, report.WriteMarkdown(&markdown))
	require.NoError(t, report.WriteHTML(&html))

	summary := "cache: partial · lock: failing · queue: partial · rpc: failing"
	require.Equal(t, summary, report.Summary())
	for name, format := range map[string]string{
		"text": text.String(), "json": object.String(), "junit": junit.String(), "markdown": markdown.String(), "html": html.String(),
	} {
		require.Contains(t, format, summary, name)
		require.Contains(t, format, "conformance.md#cache-lock-b-is-held", name)
		require.Contains(t, format, "promise b", name)
		require.Contains(t, format, "cache.Get", name)
		require.Contains(t, format, "cuts the link of node 1", name)
	}

	require.Contains(t, text.String(), "promised: promise b")
	require.Contains(t, text.String(), "flaky: 1 of 3 runs failed")
	require.Contains(t, text.String(), "the last 3 of 8 calls before it failed:")
	require.Contains(t, text.String(), "cache.Set(x) … not answered yet")
	require.Contains(t, text.String(), "shuffled with seed 7, 3 rounds")
	require.Contains(t, text.String(), "1 passed, 1 failed, 1 refused, 1 not exercised, 1 waived")
	require.Contains(t, markdown.String(), "| lock | failing | 0/1 | 1 fail | cache/lock/b-is-held fails |")
	require.Contains(t, markdown.String(), "````text\n", "a fence that the payload cannot end")
	require.True(t, strings.HasPrefix(markdown.String(), "[![conformance: cache: partial"), "it begins with the badge")

	decoder := json.NewDecoder(&object)
	decoder.DisallowUnknownFields()
	var got jsonReport
	require.NoError(t, decoder.Decode(&got))
	require.Equal(t, []int{1, 1, 1, 1, 1}, []int{got.Passed, got.Failed, got.Refused, got.NotExercised, got.Waived})
	require.Equal(t, report.Transport, got.Transport)
	require.Len(t, got.Cases, 5)
	require.EqualValues(t, 1, got.Cases[0].MS)
	require.Equal(t, NotExercised, got.Cases[3].Result)
	require.Equal(t, jsonLevel{"lock", Failing, "cache/lock/b-is-held fails"}, got.Levels[1])
	require.Equal(t, jsonCall{Who: "node 1", Method: "cache.Get", Asked: strings.ToValidUTF8(hostile, "\ufffd"), Answered: strings.ToValidUTF8(hostile, "\ufffd"), TookUS: 1234}, got.Cases[1].Calls[0])

	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	require.NoError(t, xml.Unmarshal(junit.Bytes(), &suite))
	require.Equal(t, 5, suite.Tests)
	require.Equal(t, 1, suite.Failures)
	require.Equal(t, 2, suite.Skipped)
}

func TestThePageIsWellFormedAndNothingInItRuns(t *testing.T) {
	var html bytes.Buffer
	require.NoError(t, aReport().WriteHTML(&html))

	ids := map[string]bool{}
	var links []string
	d := xml.NewDecoder(&html)
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var open []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			require.NotContains(t, []string{"script", "img", "link", "iframe"}, token.Name.Local, "it is one file, and text")
			open = append(open, token.Name.Local)
			for _, a := range token.Attr {
				require.False(t, strings.HasPrefix(a.Name.Local, "on"), "%s", a.Name.Local)
				switch a.Name.Local {
				case "id":
					require.False(t, ids[a.Value], "%s is there twice", a.Value)
					ids[a.Value] = true
				case "href":
					links = append(links, a.Value)
				}
			}
		case xml.EndElement:
			require.Equal(t, open[len(open)-1], token.Name.Local)
			open = open[:len(open)-1]
		}
	}
	require.Empty(t, open)
	require.True(t, ids["cache-lock-b-is-held"])
	for _, link := range links {
		require.Regexp(t, `^(https://github\.com/gobackplane/|#)`, link)
	}
}

func TestGrades(t *testing.T) {
	// A run over every case of the queue, with some of them changed.
	run := func(change func(*Result)) Grade {
		var r Report
		for _, c := range All() {
			if c.Concern() == "queue" {
				result := Result{Case: c, Outcome: Pass}
				change(&result)
				r.Results = append(r.Results, result)
			}
		}
		return r.Grades()[0]
	}
	hooked := func(r *Result) bool { return len(r.Case.Hooks) > 0 }
	admin := func(r *Result) bool { return r.Case.Needs == NeedsAdmin }
	ended := func(o Outcome, which func(*Result) bool) func(*Result) {
		return func(r *Result) {
			if which(r) {
				r.Outcome = o
			}
		}
	}
	first := func(name string) func(*Result) bool { return func(r *Result) bool { return r.Case.Name == name } }

	require.Equal(t, Grade{"queue", FaultTolerant, ""}, run(func(*Result) {}))
	require.Equal(t, Full, run(ended(NotExercised, hooked)).Standing)
	require.Contains(t, run(ended(NotExercised, hooked)).Missing, "for want of a hook: ")
	require.Equal(t, Grade{"queue", Core, "not declared: queue.admin"}, run(ended(Refused, admin)))
	require.Equal(t, Failing, run(ended(Fail, admin)).Standing, "what is declared is required")
	require.Equal(t, Failing, run(ended(Fail, hooked)).Standing)
	require.Equal(t, Failing, run(ended(Waived, first("queue/enqueue/an-id-is-taken-once"))).Standing)
	require.Equal(t, NotOffered, run(ended(Refused, func(r *Result) bool { return true })).Standing)

	partial := Report{Results: []Result{{Case: Case{Name: "queue/claim/x"}, Outcome: Pass}}}
	require.Equal(t, Partial, partial.Grades()[0].Standing)
	require.Empty(t, Report{}.Grades())
	require.Contains(t, partial.Badge(), "badge/conformance-queue:%20partial-lightgrey)")
}

func TestTheBadgeIsAsTheLowestLevel(t *testing.T) {
	var r Report
	for _, c := range All() {
		r.Results = append(r.Results, Result{Case: c, Outcome: Pass})
	}
	require.Contains(t, r.Badge(), "fault--tolerant-brightgreen)](https://github.com/gobackplane/backplane/blob/main/docs/conformance.md#levels)")
	r.Results[0].Outcome = Fail
	require.Contains(t, r.Badge(), "-red)")
}

func TestEveryCaseLeadsToItsPromise(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "conformance.md"))
	require.NoError(t, err)
	for _, c := range All() {
		require.Equal(t, 1, strings.Count(string(page), fmt.Sprintf(`<a id="%s"></a>`, c.Anchor())), "the anchor of %s; run: go generate ./conformance/saboteurs", c.Name)
	}
	require.Contains(t, string(page), "\n## Levels\n", "badges lead there")
}
