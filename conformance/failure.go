package conformance

import (
	"regexp"
	"strings"
)

// textOf is all that a case said.
func textOf(notes []note) string {
	all := make([]string, len(notes))
	for i, n := range notes {
		all[i] = n.text
	}
	return strings.Join(all, "\n")
}

// failuresOf are the things that were wrong. What testify says is taken apart: it writes what was seen as "Error", and
// what the case expected as "Messages".
func failuresOf(notes []note) []Failure {
	var all []Failure
	for _, n := range notes {
		if !n.failed {
			continue
		}
		parts := testifyParts(n.text)
		if parts == nil {
			all = append(all, Failure{Seen: n.text})
			continue
		}
		all = append(all, Failure{Expected: parts["Messages"], Seen: parts["Error"], Where: caseIn(parts["Error Trace"])})
	}
	return all
}

var testifyLabel = regexp.MustCompile(`^\s*(Error Trace|Error|Test|Messages):[ \t]*(.*)$`)

// testifyParts are the labelled parts of what testify writes, nil if that is not what it is.
func testifyParts(text string) map[string]string {
	if !strings.HasPrefix(text, "Error Trace:") {
		return nil
	}
	parts, label := map[string]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := testifyLabel.FindStringSubmatch(line); m != nil {
			label = m[1]
			parts[label] = strings.TrimSpace(m[2])
			continue
		}
		parts[label] += "\n" + strings.TrimPrefix(strings.TrimLeft(line, " "), "\t            \t")
	}
	return parts
}

// caseIn is the place in the case itself, of a trace that begins in what it called and goes on to what called it, without
// the folder that it was compiled in.
func caseIn(trace string) string {
	place := ""
	for line := range strings.Lines(trace) {
		_, file, is := strings.Cut(strings.TrimSpace(line), "/conformance/")
		if !is || strings.HasPrefix(file, "attempt.go") {
			break
		}
		place = "conformance/" + file
	}
	return place
}

// text is a failure for people.
func (f Failure) text() string {
	var b strings.Builder
	if f.Expected != "" {
		b.WriteString("expected: " + indented(f.Expected))
	}
	b.WriteString("seen:     " + indented(f.Seen))
	if f.Where != "" {
		b.WriteString("at:       " + f.Where + "\n")
	}
	return b.String()
}

// indented is text of which all lines but the first are moved to where the first begins.
func indented(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n          ") + "\n"
}
