//go:build !linux

package servers

import (
	"runtime"
	"time"
)

// sleeper sleeps precisely: the runtime's timers may be late by a millisecond or more, so it yields over the last two.
type sleeper struct{}

func (*sleeper) sleepUntil(due time.Time) {
	if early := time.Until(due) - 2*time.Millisecond; early > 0 {
		time.Sleep(early)
	}
	for time.Now().Before(due) {
		runtime.Gosched()
	}
}

func (*sleeper) stop() {}
