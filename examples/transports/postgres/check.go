package postgres

import (
	"time"
	"unicode/utf8"

	"github.com/gobackplane/backplane/fault"
)

// check refuses what a call must not be given, before anything is sent: Invalid for what can never be right, TooLarge for
// values, payloads and batches. It says where the argument was met.
type check struct{ op, subject string }

func (c check) refuse(code fault.Code, format string, args ...any) error {
	f := fault.New(code, format, args...)
	f.Op, f.Subject, f.Transport = c.op, c.subject, Kind
	return f
}

func (c check) name(what, name string, most int) error {
	if name == "" {
		return c.refuse(fault.Invalid, "the %s is empty; give it one, of 1 to %d bytes", what, most)
	}
	return c.length(what, name, most)
}

func (c check) length(what, name string, most int) error {
	if len(name) > most {
		c.subject = cut(name, 64)
		return c.refuse(fault.Invalid, "the %s has %d bytes, %d are allowed; use a shorter one, such as a hash of it", what, len(name), most)
	}
	return nil
}

func (c check) size(what string, size, most int, remedy string) error {
	if size > most {
		return c.refuse(fault.TooLarge, "the %s has %d bytes, %d are allowed; %s", what, size, most, remedy)
	}
	return nil
}

func (c check) batch(n, most int) error {
	if n > most {
		return c.refuse(fault.TooLarge, "the call has %d elements, %d are allowed; split it", n, most)
	}
	return nil
}

func (c check) atLeast(what string, n, least int) error {
	if n < least {
		return c.refuse(fault.Invalid, "%s is %d; it must be at least %d", what, n, least)
	}
	return nil
}

func (c check) notNegative(what string, d time.Duration) error {
	if d < 0 {
		return c.refuse(fault.Invalid, "%s is %v; it must not be negative", what, d)
	}
	return nil
}

// term is a duration that must have an end; 0 is refused too.
func (c check) term(what string, d, least time.Duration) error {
	if d < least {
		return c.refuse(fault.Invalid, "the %s is %v; it must be at least %v", what, d, least)
	}
	return nil
}

// lifetime is a duration of which 0 means that there is no end.
func (c check) lifetime(d, least time.Duration) error {
	if d == 0 {
		return nil
	}
	return c.term("lifetime", d, least)
}

// first is the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// cut keeps at most n bytes, and of a text in UTF-8 only whole characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	end := n
	for end > n-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

func headerSize(headers map[string]string) int {
	size := 0
	for key, value := range headers {
		size += len(key) + len(value)
	}
	return size
}

// micros is a duration as the store counts it, rounded up.
func micros(d time.Duration) int64 {
	n := int64(d / time.Microsecond)
	if d%time.Microsecond > 0 {
		n++
	}
	return n
}
