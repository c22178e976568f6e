// Package limits checks the arguments of driver calls against a transport's capabilities, so that every transport
// refuses the same things with the same words, before it does anything.
//
//	check := limits.Cache{Transport: "redis", Capabilities: caps}
//	if err := check.Batch("cache: set", len(writes)); err != nil {
//		return nil, err // the whole call
//	}
//	for i, w := range writes {
//		written[i].Err = check.Write(w) // this element
//	}
//
// Every error is a *fault.Error that names the thing, its size, the limit and the remedy: Invalid for what can never be
// right (empty and over-long names, lifetimes that are too short), TooLarge for values, payloads and batches.
package limits

import (
	"time"
	"unicode/utf8"

	"github.com/gobackplane/backplane/fault"
)

// at says where an argument was met: the circumstances that all errors of one element share.
type at struct {
	transport, op, subject string
}

func (a at) refuse(code fault.Code, format string, args ...any) error {
	f := fault.New(code, format, args...)
	f.Op, f.Subject, f.Transport = a.op, a.subject, a.transport
	return f
}

// name checks something that identifies: present, and not too long. What names is said in the message.
func (a at) name(what, name string, max int) error {
	if name == "" {
		return a.refuse(fault.Invalid, "the %s is empty; give it one, of 1 to %d bytes", what, max)
	}
	return a.length(what, name, max)
}

func (a at) length(what, name string, max int) error {
	if len(name) > max {
		a.subject = shorten(name)
		return a.refuse(fault.Invalid, "the %s has %d bytes, %d are allowed; use a shorter one, such as a hash of it", what, len(name), max)
	}
	return nil
}

func (a at) size(what string, size, max int, remedy string) error {
	if size > max {
		return a.refuse(fault.TooLarge, "the %s has %d bytes, %d are allowed; %s", what, size, max, remedy)
	}
	return nil
}

func (a at) batch(n, max int) error {
	if n > max {
		return a.refuse(fault.TooLarge, "the call has %d elements, %d are allowed; split it", n, max)
	}
	return nil
}

func (a at) atLeast(what string, n, least int) error {
	if n < least {
		return a.refuse(fault.Invalid, "%s is %d; it must be at least %d", what, n, least)
	}
	return nil
}

func (a at) notNegative(what string, d time.Duration) error {
	if d < 0 {
		return a.refuse(fault.Invalid, "%s is %v; it must not be negative", what, d)
	}
	return nil
}

// lifetime checks a duration of which 0 means that there is no end.
func (a at) lifetime(what string, d, least time.Duration) error {
	if d == 0 {
		return nil
	}
	if d < 0 {
		return a.refuse(fault.Invalid, "the %s is %v; it must be at least %v, or 0 for no end", what, d, least)
	}
	return a.term(what, d, least)
}

// term checks a duration that must have an end.
func (a at) term(what string, d, least time.Duration) error {
	if d < least {
		return a.refuse(fault.Invalid, "the %s is %v; it must be at least %v", what, d, least)
	}
	return nil
}

// shorten keeps an over-long name from filling logs.
func shorten(name string) string {
	const enough = 64
	if len(name) <= enough {
		return name
	}
	return cut(name, enough) + "…"
}

// cut keeps at most max bytes, and of a text in UTF-8 only whole characters.
func cut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	end := max
	for end > max-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// HeaderSize is what headers add to a payload's size: the bytes of their keys and values.
func HeaderSize(headers map[string]string) int {
	size := 0
	for key, value := range headers {
		size += len(key) + len(value)
	}
	return size
}

// first is the first error, so that checks read as a list. The checks are cheap and all are made.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
