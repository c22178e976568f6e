// Package subject knows the grammar of subjects and filters, which is the same on every transport: tokens joined by
// dots, "*" for one token, ">" for the rest (one token or more), as in NATS. A subject that begins with "$" is reserved
// for the library: a filter that begins with a wildcard does not match it, so that nobody overhears it by accident.
package subject

import (
	"fmt"
	"strings"
)

// Check reports why s cannot be published to, or nil.
func Check(s string, max int) error { return check(s, max, false) }

// CheckFilter reports why s cannot be subscribed to, or nil.
func CheckFilter(s string, max int) error { return check(s, max, true) }

func check(s string, max int, wild bool) error {
	if s == "" {
		return fmt.Errorf("the subject is empty")
	}
	if len(s) > max {
		return fmt.Errorf("the subject has %d bytes, %d are allowed", len(s), max)
	}
	for rest, more := s, true; more; {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		switch {
		case token == "":
			return fmt.Errorf("a token is empty: dots stand between tokens only")
		case token == "*" && wild:
		case token == ">" && wild && !more:
		case token == ">" && wild:
			return fmt.Errorf(`">" may stand only at the end`)
		case (token == "*" || token == ">") && !wild:
			return fmt.Errorf("%q is a wildcard: messages go to one subject", token)
		default:
			for i := range len(token) {
				if c := token[i]; c <= ' ' || c == 0x7f || c == '*' || c == '>' {
					return fmt.Errorf("byte %q is not allowed in a token", c)
				}
			}
		}
	}
	return nil
}

// IsLiteral reports whether a filter has no wildcard.
func IsLiteral(filter string) bool { return !strings.ContainsAny(filter, "*>") }

// LiteralPrefix is the part of a filter before its first wildcard token, with the dot: "a.b." of "a.b.*.c", the whole
// of a literal one.
func LiteralPrefix(filter string) string {
	if i := strings.IndexAny(filter, "*>"); i >= 0 {
		return filter[:i]
	}
	return filter
}

// IsReserved reports whether a subject belongs to the library.
func IsReserved(s string) bool { return s[0] == '$' }

// Matches reports whether a filter matches a subject. Both must be valid.
func Matches(filter, s string) bool {
	if IsReserved(s) && (filter[0] == '*' || filter[0] == '>') {
		return false
	}
	for {
		f, frest, fmore := strings.Cut(filter, ".")
		if f == ">" {
			return true
		}
		t, srest, smore := strings.Cut(s, ".")
		if f != "*" && f != t {
			return false
		}
		if !fmore || !smore {
			return !fmore && !smore
		}
		filter, s = frest, srest
	}
}
