// Package options reads the settings of a transport: the query of its URL and the values of a config file, by name.
//
//	var known = options.Set[config]{
//		"attempts": options.Whole(func(c *config) *int { return &c.attempts }, 1),
//		"silence":  options.Span(func(c *config) *time.Duration { return &c.silence }),
//	}
//
//	if err := known.Apply(&c, "option", name, value); err != nil { … }
//
// Every error is Invalid, names the option and what is expected, and never repeats a value that may be secret.
package options

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Setter reads a value into a field of a config. A value of a URL is a string, one of a config file has the type that its
// notation implies.
type Setter[C any] func(config *C, value any) error

// Set is the options that a transport knows, by name.
type Set[C any] map[string]Setter[C]

// Apply sets one option. what says where it was given: "option" or "URL parameter".
func (s Set[C]) Apply(config *C, what, name string, value any) error {
	set := s[name]
	if set == nil {
		return fault.New(fault.Invalid, "%s %q is not known; there are: %s", what, name, strings.Join(slices.Sorted(maps.Keys(s)), ", "))
	}
	if err := set(config, value); err != nil {
		return fault.New(fault.Invalid, "%s %q: %w", what, name, err)
	}
	return nil
}

// ApplyAll sets all options of a config file, in the order of their names.
func (s Set[C]) ApplyAll(config *C, values map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := s.Apply(config, "option", name, values[name]); err != nil {
			return err
		}
	}
	return nil
}

// ApplyQuery sets all parameters of a URL's query.
func (s Set[C]) ApplyQuery(config *C, raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return fault.New(fault.Invalid, "the URL's query cannot be parsed")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if strings.Contains(name, "@") {
			return ErrCutPassword
		}
		if len(query[name]) > 1 {
			return fault.New(fault.Invalid, "URL parameter %q is given %d times; give it once", name, len(query[name]))
		}
		if err := s.Apply(config, "URL parameter", name, query[name][0]); err != nil {
			return err
		}
	}
	return nil
}

// ErrCutPassword is for what looks like the rest of a password, which a "/", "?" or "#" in it has cut off.
var ErrCutPassword = fault.New(fault.Invalid, `there is an "@" behind the URL's host; a password with special characters must be percent-encoded, or given as option password`)

// Text sets a string.
func Text[C any](field func(*C) *string) Setter[C] {
	return func(c *C, value any) error {
		s, ok := value.(string)
		if !ok {
			return fmt.Errorf("a string is expected, not a %T", value)
		}
		*field(c) = s
		return nil
	}
}

// Texts sets a list of strings; one string is a list separated by commas.
func Texts[C any](field func(*C) *[]string) Setter[C] {
	return func(c *C, value any) error {
		var list []string
		switch value := value.(type) {
		case string:
			for s := range strings.SplitSeq(value, ",") {
				list = append(list, strings.TrimSpace(s))
			}
		case []string:
			list = slices.Clone(value)
		case []any:
			for _, v := range value {
				s, ok := v.(string)
				if !ok {
					return fmt.Errorf("a list of strings is expected, not one with a %T", v)
				}
				list = append(list, s)
			}
		default:
			return fmt.Errorf("a list of strings is expected, not a %T", value)
		}
		if slices.Contains(list, "") {
			return fmt.Errorf("an entry of the list is empty")
		}
		*field(c) = list
		return nil
	}
}

// OneOf sets a string that must be one of some.
func OneOf[C any](field func(*C) *string, allowed ...string) Setter[C] {
	return func(c *C, value any) error {
		s, ok := value.(string)
		if !ok || !slices.Contains(allowed, s) {
			return fmt.Errorf("one of %s is expected", strings.Join(allowed, ", "))
		}
		*field(c) = s
		return nil
	}
}

// Whole sets a whole number of at least least.
func Whole[C any](field func(*C) *int, least int) Setter[C] {
	return func(c *C, value any) error {
		n, err := wholeOf(value)
		if err != nil {
			return err
		}
		if n < least {
			return fmt.Errorf("it is %d; at least %d is expected", n, least)
		}
		*field(c) = n
		return nil
	}
}

func wholeOf(value any) (int, error) {
	switch value := value.(type) {
	case int:
		return value, nil
	case int64:
		return int(value), nil
	case uint64:
		return int(value), nil
	case string:
		if n, err := strconv.Atoi(value); err == nil {
			return n, nil
		}
		return 0, fmt.Errorf("a whole number is expected, not %q", value)
	}
	return 0, fmt.Errorf("a whole number is expected, not a %T", value)
}

// Truth sets true or false.
func Truth[C any](field func(*C) *bool) Setter[C] {
	return func(c *C, value any) error {
		switch value {
		case true, "true":
			*field(c) = true
		case false, "false":
			*field(c) = false
		default:
			return fmt.Errorf("true or false is expected")
		}
		return nil
	}
}

// Span sets a duration above 0.
func Span[C any](field func(*C) *time.Duration) Setter[C] {
	return func(c *C, value any) error {
		d, isDuration := value.(time.Duration)
		if s, isString := value.(string); isString {
			parsed, err := time.ParseDuration(s)
			if err != nil {
				return fmt.Errorf(`a duration such as "3s" is expected, not %q`, s)
			}
			d, isDuration = parsed, true
		}
		if !isDuration {
			return fmt.Errorf(`a duration such as "3s" is expected, not a %T`, value)
		}
		if d <= 0 {
			return fmt.Errorf("it is %v; more than 0 is expected", d)
		}
		*field(c) = d
		return nil
	}
}
