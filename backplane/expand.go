package backplane

import (
	"fmt"
	"strings"
)

// expand replaces ${VAR} and ${VAR:-default} in s, and $$ by $. A default is used when the variable is missing or
// empty, as in a shell; it ends at the first }, and holds no variable itself. It reports whether anything was replaced by
// a variable.
func expand(s string, lookup func(string) (string, bool)) (text string, expanded bool, err error) {
	var b strings.Builder
	for {
		before, after, more := strings.Cut(s, "$")
		b.WriteString(before)
		if !more {
			return b.String(), expanded, nil
		}
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
		case strings.HasPrefix(after, "{"):
			expression, rest, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", false, fmt.Errorf("${ without a closing }; write $$ for a plain $")
			}
			name, fallback, hasFallback := strings.Cut(expression, ":-")
			switch {
			case name == "":
				return "", false, fmt.Errorf("${%s} names no variable", expression)
			case strings.Contains(strings.ReplaceAll(fallback, "$$", ""), "${"):
				return "", false, fmt.Errorf("the default of %s holds a variable itself, which is not supported; write $${ for a plain ${", name)
			}
			value, set := lookup(name)
			if value == "" && hasFallback {
				value, set = strings.ReplaceAll(fallback, "$$", "$"), true
			}
			if !set {
				return "", false, fmt.Errorf("the environment variable %s is not set; set it, or give a default: ${%s:-…}", name, name)
			}
			b.WriteString(value)
			expanded, s = true, rest
		default:
			b.WriteByte('$')
			s = after
		}
	}
}
