package saboteurs

import (
	"fmt"
	"io"
	"strings"

	"github.com/gobackplane/backplane/conformance"
)

//go:generate go test -run TestTableIsCurrent . -update

// WriteTable writes, as Markdown, every clause of the contract with the cases that check it and the saboteurs that prove
// that they do.
func WriteTable(w io.Writer) error {
	caught := map[string][]string{}
	for _, s := range All() {
		caught[s.Case] = append(caught[s.Case], s.Name)
	}
	byClause := map[conformance.Clause][]conformance.Case{}
	free, hooked := 0, 0
	for _, c := range conformance.All() {
		byClause[c.Clause] = append(byClause[c.Clause], c)
		if len(c.Hooks) > 0 {
			hooked++
		} else {
			free++
		}
	}

	var b strings.Builder
	fmt.Fprintf(&b, tableHead, free, hooked, len(All()))
	for _, chapter := range conformance.Contract() {
		if len(chapter.Clauses) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n| the contract says | cases | saboteurs |\n|---|---|---|\n", chapter.Title)
		for _, clause := range chapter.Clauses {
			var cases, saboteurs []string
			for _, c := range byClause[clause] {
				cases = append(cases, describe(c))
				for _, name := range caught[c.Name] {
					saboteurs = append(saboteurs, "`"+name+"`")
				}
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", clause, strings.Join(cases, "<br>"), strings.Join(saboteurs, "<br>"))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// describe is a case with what it needs.
func describe(c conformance.Case) string {
	text := "`" + c.Name + "`"
	var needs []string
	for _, hook := range c.Hooks {
		needs = append(needs, "*"+string(hook)+"*")
	}
	if c.Level == conformance.Stack {
		needs = append(needs, "stack")
	}
	if len(needs) > 0 {
		text += " (" + strings.Join(needs, ", ") + ")"
	}
	return text
}

const tableHead = `# What the conformance suite checks

<!-- Written by go generate ./conformance/saboteurs; do not edit. -->

%d cases need nothing but a way to open the transport; %d more need the harness to do something to the store or a link,
which is named beside them in *italics*. Cases marked (stack) look at what stands above the driver, once on every
transport. A saboteur is a transport that breaks this one promise: there are %d, and the suite is tested by having to catch
each of them.

A transport's own test is

` + "```go" + `
func TestConformance(t *testing.T) {
	conformance.Test(t, conformance.Of(transports.Settings{URL: "mine://127.0.0.1:7000"}))
}
` + "```" + `

and any that is compiled in can be put through it with ` + "`backplane conformance --transport URL`" + `.
`
