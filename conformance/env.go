package conformance

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/transports"
)

// Env is what a case works with: its T, its nodes, and the bounds of its waiting.
type Env struct {
	T
	// Node is the first node of the case, number 0.
	Node   transports.Transport
	Timing Timing

	cluster   Cluster
	namespace string
	drawings  func() (string, error) // the folder for drawings of histories; empty: none is wanted
	attach    func(path string)      // to the result
	trace     *trace
	opened    atomic.Int32 // nodes
}

// Open opens another node in the case's namespace.
func (e *Env) Open() transports.Transport {
	e.Helper()
	return e.OpenIn(e.namespace)
}

// OpenIn opens a node in another namespace of the same store.
func (e *Env) OpenIn(namespace string) transports.Transport {
	e.Helper()
	inner := e.cluster.Open(e.T, namespace)
	require.NotNil(e, inner, "the cluster opened no node")
	node := e.trace.node(inner, int(e.opened.Add(1))-1)
	e.Cleanup(func() {
		if err := node.Close(); err != nil {
			e.Errorf("closing a node: %v", err)
		}
	})
	return node
}

// freshNamespace is a name that no other case or run has.
func freshNamespace() string { return "conform-" + uuid.NewString() }

// Within is a context that ends after d.
func (e *Env) Within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(e.Context(), d)
	e.Cleanup(cancel)
	return ctx
}

// Ended is a context that was cancelled already.
func (e *Env) Ended() context.Context {
	ctx, cancel := context.WithCancel(e.Context())
	cancel()
	return ctx
}

// Eventually polls on the case's own goroutine until the condition holds, and fails when it does not within
// Timing.Wait. The condition may require things.
func (e *Env) Eventually(condition func() bool, what string, args ...any) {
	e.Helper()
	e.EventuallyWithin(e.Timing.Wait, condition, what, args...)
}

// EventuallyWithin is Eventually with a bound of its own.
func (e *Env) EventuallyWithin(bound time.Duration, condition func() bool, what string, args ...any) {
	e.Helper()
	pause, limit := time.Millisecond, time.Now().Add(bound)
	for !condition() {
		if time.Now().After(limit) {
			e.Errorf("did not happen within %v: %s", bound, fmt.Sprintf(what, args...))
			e.FailNow()
		}
		e.sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// Promptly calls f on the case's own goroutine, and fails if it took longer than Timing.Prompt.
func (e *Env) Promptly(what string, f func()) {
	e.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > e.Timing.Prompt {
		e.Errorf("%s took %v, at most %v is prompt", what, took.Round(time.Millisecond), e.Timing.Prompt)
	}
}

// Await receives one value, and fails when none comes within Timing.Wait.
func Await[V any](e *Env, from <-chan V, what string, args ...any) V {
	e.Helper()
	timer := time.NewTimer(e.Timing.Wait)
	defer timer.Stop()
	select {
	case v := <-from:
		return v
	case <-timer.C:
		e.Errorf("did not come within %v: %s", e.Timing.Wait, fmt.Sprintf(what, args...))
		e.FailNow()
	}
	panic("unreachable")
}

// sleep lets time pass, and no more: nothing may be concluded from having slept.
func (e *Env) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.Context().Done():
		e.Errorf("the case took too long: %v", context.Cause(e.Context()))
		e.FailNow()
	}
}

// sleepHere is sleep on any goroutine: it ends early with the case.
func (e *Env) sleepHere(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.Context().Done():
	}
}

// Restart restarts the store.
func (e *Env) Restart() {
	e.Helper()
	e.does("restarts the store")
	require.NoError(e, e.cluster.(Restarter).Restart(e.Context()), "the harness could not restart the store")
}

// Partition makes the link of a node swallow packets until heal is called, or the case ends.
func (e *Env) Partition(node int) (heal func()) {
	e.Helper()
	e.does("partitions node %d", node)
	restore, err := e.cluster.(Partitioner).Partition(e.Context(), node)
	require.NoError(e, err, "the harness could not partition node %d", node)
	e.Cleanup(restore)
	return func() {
		e.does("heals the link of node %d", node)
		restore()
	}
}

// Cut closes the connections of a node.
func (e *Env) Cut(node int) {
	e.Helper()
	e.does("cuts the link of node %d", node)
	require.NoError(e, e.cluster.(Cutter).Cut(e.Context(), node), "the harness could not cut the link of node %d", node)
}

// Crash ends a node without a goodbye.
func (e *Env) Crash(node int) {
	e.Helper()
	e.does("crashes node %d", node)
	require.NoError(e, e.cluster.(Crasher).Crash(e.Context(), node), "the harness could not crash node %d", node)
}

// Pause stops the store until resume is called, or the case ends.
func (e *Env) Pause() (resume func()) {
	e.Helper()
	e.does("pauses the store")
	restore, err := e.cluster.(Pauser).Pause(e.Context())
	require.NoError(e, err, "the harness could not pause the store")
	e.Cleanup(restore)
	return func() {
		e.does("resumes the store")
		restore()
	}
}

// AdvanceClock moves the store's clock.
func (e *Env) AdvanceClock(d time.Duration) {
	e.does("moves the clock by %v", d)
	e.cluster.(ClockAdvancer).AdvanceClock(d)
}

// does notes in the trace what the harness does.
func (e *Env) does(format string, args ...any) {
	e.trace.event(harness, fmt.Sprintf(format, args...), nil)
}
