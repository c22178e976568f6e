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
	text := "<a id=\"" + c.Anchor() + "\"></a>`" + c.Name + "`"
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

and any that is compiled in can be put through it with ` + "`backplane conformance --transport URL`" + `. How to do either, with
hooks for the faults, is told in [how to run the suite](conformance-howto.md).

## Levels

Every report gives a level for each concern, on one line such as ` + "`cache: full · queue: fault-tolerant · pubsub: core`" + `. The
concerns are cache, lock, queue, pubsub and rpc, and what they share, which is called transport. Each level is more than
the one before it:

| level | means |
|---|---|
| core | every case that needs neither an optional ability nor a hook passes, and no case that was run fails |
| full | core, and every optional ability of the concern is declared, so that its cases pass too |
| fault-tolerant | full, and every case that needs a hook for a fault was exercised and passes; to move the store's clock (*advance-clock*) is no fault, and few stores let anybody do it |

Where there is no level the line says why:

| instead | means |
|---|---|
| not offered | the transport does not declare the concern |
| partial | not every case of the concern was run, so that nothing is known of the whole |
| failing | a case of the concern fails. What a transport declares is required of it, so a failing case of an optional ability or of a fault counts like any other, and so does one that is waived |

Of transport, which is about all concerns, an ability that is not declared lowers no level: it lowers that of its own.
`
