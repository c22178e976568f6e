package conformance

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// attempt is one run of one case. The case plays on goroutines of its own, in a bubble if there is one; the attempt
// watches from outside, because a goroutine that is stuck on a mutex stops a bubble's clock.
type attempt struct {
	Case
	harness Harness
	timing  Timing
	bubble  *testing.T // not nil: play in a synctest bubble of this test

	drawings func() (string, error) // the folder for drawings of histories; empty: none is wanted
}

// run plays the case and tells how it ended. An attempt that hangs is left behind.
func (a attempt) run(ctx context.Context) Result {
	rec := &recorder{name: a.Name, trace: &trace{}}
	var ending atomic.Value // of Outcome: how it ends unless it fails
	ending.Store(Pass)
	limit := a.limit(a.timing)

	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { // a bubble whose goroutines cannot go on panics
			if v := recover(); v != nil {
				rec.Errorf("panic: %v\n%s", v, dump())
			}
		}()
		if a.bubble == nil {
			rec.begin()
			rec.play(ctx, func() { ending.Store(a.play(rec)) })
			return
		}
		// A channel from outside, such as ctx's, would keep the bubble's clock from moving.
		synctest.Test(a.bubble, func(t *testing.T) {
			rec.begin()
			rec.play(t.Context(), func() { ending.Store(a.play(rec)) })
		})
	}()

	watchdog := time.NewTimer(limit)
	defer watchdog.Stop()
	select {
	case <-done:
	case <-watchdog.C:
		rec.Errorf("hung: not over after %v; it is left behind\n%s", limit, dump())
	case <-ctx.Done():
		rec.Errorf("the run was ended: %v", context.Cause(ctx))
	}
	r := a.result(rec, ending.Load().(Outcome))
	r.Took, r.Limit = time.Since(start), limit
	return r
}

// play is the case itself, on the case's goroutine.
func (a attempt) play(rec *recorder) Outcome {
	e := &Env{
		T: rec, Timing: a.timing, cluster: a.harness.New(rec), namespace: freshNamespace(),
		drawings: a.drawings, attach: rec.attach, trace: rec.trace,
	}
	e.Node = e.Open()
	if !a.Needs.offeredBy(e.Node) {
		a.Needs.refusal(e)
		return Refused
	}
	for _, hook := range a.Hooks {
		if !hook.offeredBy(e.cluster) {
			rec.Logf("the harness cannot do it: %s", hook)
			return NotExercised
		}
	}
	a.Run(e)
	return Pass
}

func (a attempt) result(rec *recorder, ending Outcome) Result {
	failed, notes, drawn := rec.verdict()
	r := Result{Case: a.Case, Outcome: ending, Drawings: drawn, Runs: 1}
	if failed {
		r.Outcome = Fail
	}
	switch r.Outcome {
	case Fail:
		r.Failed = 1
		r.Reason = textOf(notes)
		if r.Reason == "" {
			r.Reason = "failed without saying why"
		}
		r.Failures = failuresOf(notes)
		r.Calls, r.CallsBefore = rec.trace.led()
	case Refused:
		r.Reason = fmt.Sprintf("%s is not declared, and is refused", a.Needs)
	case NotExercised:
		r.Reason = textOf(notes)
	}
	return r
}

// dump is the stacks of all goroutines, cut to what a person will read.
func dump() string {
	const enough = 64 << 10
	stacks := make([]byte, enough)
	n := runtime.Stack(stacks, true)
	text := string(stacks[:n])
	if n == enough {
		text = text[:strings.LastIndexByte(text, '\n')+1] + "… (cut)"
	}
	return text
}
