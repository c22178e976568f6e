package conformance

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// recorder is the T of one attempt at a case, in both front ends: it keeps what the case says, and judges nothing.
type recorder struct {
	name  string
	trace *trace

	mu       sync.Mutex
	ctx      context.Context
	failed   bool
	notes    []note
	cleanups []func()
	drawn    []string // files
}

// note is what a case said, and whether it was that it failed.
type note struct {
	failed bool
	text   string
}

func (r *recorder) Helper() {}

func (r *recorder) Name() string { return r.name }

func (r *recorder) Context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctx
}

func (r *recorder) Logf(format string, args ...any) { r.note(false, fmt.Sprintf(format, args...)) }

func (r *recorder) Errorf(format string, args ...any) { r.note(true, fmt.Sprintf(format, args...)) }

func (r *recorder) FailNow() {
	r.trace.freeze()
	r.mu.Lock()
	r.failed = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) note(failed bool, text string) {
	if failed {
		r.trace.freeze()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || failed
	r.notes = append(r.notes, note{failed, strings.TrimSpace(text)})
}

// attach notes a file that shows what went wrong.
func (r *recorder) attach(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drawn = append(r.drawn, path)
}

// begin starts the clock of the trace: in the bubble, if there is one.
func (r *recorder) begin() { r.trace.start = time.Now() }

// play runs body and then the cleanups, the last one first, each until it returns, fails or panics. Their context ends
// with parent, and before the cleanups begin.
func (r *recorder) play(parent context.Context, body func()) {
	ctx, cancel := context.WithCancel(parent)
	r.mu.Lock()
	r.ctx = ctx
	r.mu.Unlock()
	r.step(body)
	cancel()
	for {
		r.mu.Lock()
		last := len(r.cleanups) - 1
		if last < 0 {
			r.mu.Unlock()
			return
		}
		cleanup := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		r.mu.Unlock()
		r.step(cleanup)
	}
}

// step runs f on a goroutine of its own, so that FailNow ends only that, and turns a panic into a failure.
func (r *recorder) step(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				r.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}()
		f()
	}()
	<-done
}

// verdict is what was recorded so far. It may be asked while an attempt that hangs is still at it.
func (r *recorder) verdict() (failed bool, notes []note, drawn []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed, slices.Clone(r.notes), slices.Clone(r.drawn)
}
