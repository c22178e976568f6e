package servers

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper sleeps to within tens of microseconds. Timers of the Go runtime do not: an idle program waits in epoll, which
// counts whole milliseconds, so a sleep of 1.25 ms takes 2.
type sleeper struct{ ready bool }

func (s *sleeper) sleepUntil(due time.Time) {
	if !s.ready {
		// The kernel may add 50 µs to a sleep unless the thread says otherwise, so the goroutine keeps a thread.
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0)
		s.ready = true
	}
	for left := time.Until(due); left > 0; left = time.Until(due) {
		spec := unix.NsecToTimespec(int64(left))
		_ = unix.Nanosleep(&spec, nil) // a signal may end it early; the loop goes on
	}
}

// stop gives the thread back as it was.
func (s *sleeper) stop() {
	if s.ready {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // 0: the default
		runtime.UnlockOSThread()
	}
}
