package postgres

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// checkSubject reports why s cannot be published to, or, with wild, subscribed to.
func checkSubject(s string, most int, wild bool) error {
	if s == "" {
		return fmt.Errorf("the subject is empty")
	}
	if len(s) > most {
		return fmt.Errorf("the subject has %d bytes, %d are allowed", len(s), most)
	}
	for rest, more := s, true; more; {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		switch {
		case token == "":
			return fmt.Errorf("a token is empty: dots stand between tokens only")
		case token == "*" && wild, token == ">" && wild && !more:
		case token == ">" && wild:
			return fmt.Errorf(`">" may stand only at the end`)
		case token == "*" || token == ">":
			return fmt.Errorf("%q is a wildcard: messages go to one subject", token)
		case strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '*' || c == '>' }):
			return fmt.Errorf("%q has a space, a control character or a wildcard within", token)
		}
	}
	return nil
}

func isLiteral(filter string) bool { return !strings.ContainsAny(filter, "*>") }

// matches reports whether a filter matches a subject. Both are valid. Those that begin with "$" are the library's own: a
// wildcard in the first place does not match them.
func matches(filter, s string) bool {
	if s[0] == '$' && (filter[0] == '*' || filter[0] == '>') {
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

// of is the channel of a subject.
func (c *channels) of(s string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	n := h.Sum32() % buckets
	if s[0] == '$' {
		return c.reserved[n]
	}
	return c.plain[n]
}

// matching are the channels on which messages that match a filter can come.
func (c *channels) matching(filter string) []string {
	switch {
	case isLiteral(filter):
		return []string{c.of(filter)}
	case filter[0] == '$':
		return c.reserved[:]
	}
	return c.plain[:]
}
