// Package reentry lets a Close that waits for a callback be called from within that callback.
//
// Such a Close must not wait there, or it waits for itself. Go has no name for the goroutine that runs, so the stack is
// asked: it costs microseconds, and only where a Close meets a callback that is under way.
package reentry

import (
	"runtime"
	"strings"
)

// Within reports whether the caller was called, however deep, by the function of that name on this goroutine. The name
// is as the runtime has it, or its end: "redis.(*mailbox).drain".
func Within(function string) bool {
	callers := make([]uintptr, 64)
	for {
		n := runtime.Callers(2, callers)
		if n < len(callers) {
			callers = callers[:n]
			break
		}
		callers = make([]uintptr, 2*len(callers))
	}
	frames := runtime.CallersFrames(callers)
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, function) {
			return true
		}
		if !more {
			return false
		}
	}
}
