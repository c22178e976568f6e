package envelope

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// An incarnation is nine digits of base 36 that tell the start in Unix milliseconds (enough until the year 5188), then
// thirteen that hold 64 random bits. So incarnations sort by their start, and are one token of a subject.
const (
	startDigits       = 9
	randomDigits      = 13
	incarnationLength = startDigits + randomDigits
)

// NewIncarnation names one life of a node that starts now. No two are equal.
func NewIncarnation(now time.Time) string {
	var random [8]byte
	rand.Read(random[:])
	var b strings.Builder
	b.Grow(incarnationLength)
	write := func(n uint64, digits int) {
		text := strconv.FormatUint(n, 36)
		b.WriteString(strings.Repeat("0", digits-len(text)))
		b.WriteString(text)
	}
	write(uint64(min(max(now.UnixMilli(), 0), 36*36*36*36*36*36*36*36*36-1)), startDigits)
	write(binary.BigEndian.Uint64(random[:]), randomDigits)
	return b.String()
}

// Started is when an incarnation began, by its node's clock, to the millisecond. Text that is none is Invalid.
func Started(incarnation string) (time.Time, error) {
	if ms, ok := startMillis(incarnation); ok {
		return time.UnixMilli(ms), nil
	}
	return time.Time{}, fault.New(fault.Invalid, "%.64q is no incarnation: it has %d of a-z and 0-9", incarnation, incarnationLength)
}

func startMillis[T string | []byte](incarnation T) (int64, bool) {
	if len(incarnation) != incarnationLength {
		return 0, false
	}
	var ms int64
	for i := range len(incarnation) {
		var digit int64
		switch c := incarnation[i]; {
		case c >= '0' && c <= '9':
			digit = int64(c - '0')
		case c >= 'a' && c <= 'z':
			digit = int64(c-'a') + 10
		default:
			return 0, false
		}
		if i < startDigits {
			ms = ms*36 + digit
		}
	}
	return ms, ms < math.MaxInt64
}
