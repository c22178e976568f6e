// Package translate turns what the contracts of the drivers speak of into messages of the plugins' protocol, and back.
//
// A function ToX fills a message from a value, FromX reads a value from a message. What is read was written by another
// process, perhaps in another language: a FromX takes any message, and its error names what cannot be right in it. Messages
// share memory with the values that they are made from, and values with the messages that they are read from, so a message
// is written to the wire before its value's owner may change it, and one that was read is used once.
package translate

import (
	"math"
	"time"
	"unsafe"

	"github.com/gobackplane/backplane/fault"
)

// Pack makes a message of every value.
func Pack[M, V any](values []V, to func(*M, *V)) []*M {
	if len(values) == 0 {
		return nil
	}
	space, messages := make([]M, len(values)), make([]*M, len(values))
	for i := range values {
		to(&space[i], &values[i])
		messages[i] = &space[i]
	}
	return messages
}

// Unpack reads a value from every message. It fails when one cannot be read.
func Unpack[M, V any](messages []*M, from func(*M, *V) error) ([]V, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	values := make([]V, len(messages))
	for i, m := range messages {
		if err := from(m, &values[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// Names makes bytes of names, and Texts the reverse.
func Names[S ~string](names []S) [][]byte {
	if len(names) == 0 {
		return nil
	}
	all := make([][]byte, len(names))
	for i, name := range names {
		all[i] = Raw(name)
	}
	return all
}

// Texts makes names of bytes.
func Texts[S ~string](names [][]byte) []S {
	if len(names) == 0 {
		return nil
	}
	all := make([]S, len(names))
	for i, name := range names {
		all[i] = Text[S](name)
	}
	return all
}

// Raw is a name as bytes, which nobody may write to. Names are bytes on the wire because protobuf's strings must be UTF-8;
// the copies that the conversion would make are most of what a small call allocates.
func Raw[S ~string](name S) []byte {
	if name == "" {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(string(name)), len(name))
}

// Text is bytes as a name. They must not be written to any more: those of a message that was just decoded are not.
func Text[S ~string](name []byte) S { return S(unsafe.String(unsafe.SliceData(name), len(name))) }

// Moment is a time as the wire has it. What a count of nanoseconds cannot tell, before 1678 and after 2261, is the nearest
// that it can.
func Moment(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(earliest):
		return math.MinInt64
	case t.After(latest):
		return math.MaxInt64
	}
	return t.UnixNano()
}

var earliest, latest = time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)

// Time is the time of a moment.
func Time(moment int64) time.Time {
	if moment == 0 {
		return time.Time{}
	}
	return time.Unix(0, moment)
}

// Whole is a number as an int, which on some machines has 32 bits.
func Whole(n int64) int { return int(min(max(n, math.MinInt), math.MaxInt)) }

func refuse(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }
