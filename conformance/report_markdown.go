package conformance

import (
	"io"
	"strings"
)

// WriteMarkdown writes a badge and a table for a README or a pull request, and what failed with the calls that led there.
func (r Report) WriteMarkdown(w io.Writer) error {
	out := &sticky{w: w}
	out.printf("%s\n\n**%s**\n\n", r.Badge(), r.counts())
	out.printf("| concern | level | kept | not kept, or not checked | what the next level lacks |\n|---|---|---|---|---|\n")
	for i, g := range r.Grades() {
		t := r.tallies()[i]
		out.printf("| %s | %s | %d/%d | %s | %s |\n", g.Concern, g.Standing, t.good, t.total, t.rest(), g.Missing)
	}
	if r.Seed != 0 {
		out.printf("\n%s\n", r.order())
	}
	for _, result := range r.Results {
		switch result.Outcome {
		case Fail:
			r.markdownOf(out, result)
		case NotExercised, Waived:
			first, _, _ := strings.Cut(result.Reason, "\n")
			out.printf("\n- **%s** [%s](%s): %s", result.Outcome, code(result.Case.Name), result.Case.Link(), escaped(first))
		}
	}
	out.printf("\n")
	return out.err
}

// markdownOf writes a failed case, folded up.
func (r Report) markdownOf(out *sticky, result Result) {
	out.printf("\n\n<details><summary><b>fail</b> <code>%s</code>%s</summary>\n\n", result.Case.Name, result.flakes())
	out.printf("promised: [%s](%s)\n\n%s\n", escaped(string(result.Case.Clause)), result.Case.Link(), fenced(result.story()+result.trail()))
	for _, path := range result.Drawings {
		out.printf("\nThe history is drawn in %s\n", code(path))
	}
	out.printf("\n</details>\n")
}

// escaped is text that Markdown shows as it is, in a table too.
func escaped(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`).Replace(text)
}

// code is text between as many backticks as it takes.
func code(text string) string {
	ticks := "`"
	for strings.Contains(text, ticks) {
		ticks += "`"
	}
	return ticks + text + ticks
}

// fenced is a block that its content cannot end.
func fenced(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "text\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}
