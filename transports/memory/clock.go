package memory

import (
	"math"
	"time"

	"github.com/gobackplane/backplane/transports"
)

// machine is the clock of the machine, or of the synctest bubble that it is used in.
type machine struct{}

func (machine) Now() time.Time { return time.Now() }

func (machine) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}

// instant is the store's time: nanoseconds since 1970. Unlike time.Time it orders in one way only, with or without a
// monotonic part.
type instant int64

// never is later than every other instant.
const never instant = math.MaxInt64

func instantOf(t time.Time) instant {
	const limit = math.MaxInt64 / int64(time.Second)
	switch seconds := t.Unix(); {
	case seconds >= limit:
		return never
	case seconds <= -limit:
		return -never
	}
	return instant(t.UnixNano())
}

// in is the instant d later; never rather than an overflow.
func (i instant) in(d time.Duration) instant {
	if d > 0 && i > never-instant(d) {
		return never
	}
	return i + instant(d)
}

// lifetime is the end of something that lives for d from i on; 0 is for ever.
func (i instant) lifetime(d time.Duration) instant {
	if d == 0 {
		return never
	}
	return i.in(d)
}

// until is the time from i to the other instant.
func (i instant) until(other instant) time.Duration {
	if i < 0 && other > never+i {
		return math.MaxInt64
	}
	return time.Duration(other - i)
}

// time is the instant for people to read; zero for never.
func (i instant) time() time.Time {
	if i == never {
		return time.Time{}
	}
	return time.Unix(0, int64(i))
}

// now reads the store's clock.
func now(c transports.Clock) instant { return instantOf(c.Now()) }

// bell is rung to wake one waiting call. Ringing never blocks, and what is rung before anybody waits is not lost.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}
