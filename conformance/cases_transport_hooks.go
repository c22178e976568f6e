package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func transportHookCases() []Case {
	return []Case{
		{Name: "transport/links/work-again-after-a-cut", Clause: clauseLinkRecovers, Needs: NeedsCache, Hooks: []Hook{Cut}, Run: cutRecovers},
		{Name: "transport/links/a-cut-under-load-crosses-no-answers", Clause: clauseLinkRecovers, Needs: NeedsCache, Hooks: []Hook{Cut}, Run: cutUnderLoad},
		{Name: "transport/links/a-swallowed-call-ends-with-its-context", Clause: clauseContexts, Needs: NeedsCache, Hooks: []Hook{Partition}, Run: partitionedCallEnds},
		{Name: "transport/links/work-again-after-a-partition", Clause: clauseLinkRecovers, Needs: NeedsCache, Hooks: []Hook{Partition}, Run: partitionHeals},
		{Name: "transport/links/a-partition-leaves-other-nodes-alone", Clause: clauseLinkRecovers, Needs: NeedsCache, Hooks: []Hook{Partition}, Run: partitionLeavesOthers},
		{Name: "transport/links/health-tells-of-a-partition", Clause: clauseHealth, Needs: NeedsCache, Hooks: []Hook{Partition}, Run: partitionIsUnhealthy},
		{Name: "transport/links/a-partitioned-node-closes", Clause: clauseCloseEnds, Needs: NeedsCache, Hooks: []Hook{Partition}, Run: partitionedNodeCloses},
		{Name: "transport/store/calls-to-a-paused-store-end-with-their-context", Clause: clauseContexts, Needs: NeedsCache, Hooks: []Hook{Pause}, Run: pausedCallEnds},
		{Name: "transport/store/a-paused-store-goes-on", Clause: clauseLinkRecovers, Needs: NeedsCache, Hooks: []Hook{Pause}, Run: pauseHeals},
		{Name: "transport/store/open-nodes-use-a-restarted-store", Clause: clauseStoreRestarts, Needs: NeedsCache, Hooks: []Hook{Restart}, Run: restartUsed},
		{Name: "transport/store/a-restart-under-load-breaks-no-node", Clause: clauseStoreRestarts, Needs: NeedsCache, Hooks: []Hook{Restart}, Run: restartUnderLoad},
	}
}

// mustRecover requires that writing and reading work before long. Until then only what a lost link explains may be
// answered.
func mustRecover(e *Env, c cacheOn) {
	e.Helper()
	bound := time.Now().Add(e.Timing.Wait)
	for n := 0; ; n++ {
		value := fmt.Sprint("again ", n)
		ctx, cancel := context.WithTimeout(e.Context(), e.Timing.Prompt)
		err := roundTrip(ctx, c, "recover", value)
		cancel()
		if err == nil {
			return
		}
		requireLinkFault(e, err)
		require.Less(e, time.Now(), bound, "the link does not come back: %v", err)
		e.sleep(10 * time.Millisecond)
	}
}

// roundTrip writes and reads one entry.
func roundTrip(ctx context.Context, c cacheOn, key, value string) error {
	w, err := c.Set(ctx, []cache.Write{{Key: key, Value: []byte(value)}})
	if err := first(w, err, func(w cache.Written) error { return w.Err }); err != nil {
		return err
	}
	r, err := c.Get(ctx, []cache.Read{{Key: key}})
	if err := first(r, err, func(g cache.Got) error { return g.Err }); err != nil {
		return err
	}
	if got := string(r[0].Entry.Value); got != value {
		return fault.New(fault.Corrupt, "%s is %q, not %q", key, got, value)
	}
	return nil
}

func isLinkFault(err error) bool {
	switch fault.CodeOf(err) {
	case fault.Unavailable, fault.DeadlineExceeded, fault.Canceled:
		return true
	}
	return false
}

func requireLinkFault(e *Env, err error) {
	e.Helper()
	require.Truef(e, isLinkFault(err), "without a link calls answer Unavailable, or end with their context; this one: %v", err)
}

func cutRecovers(e *Env) {
	here := on(e, e.Node)
	for range 3 {
		here.mustSet("k", "before")
		e.Cut(0)
		mustRecover(e, here)
		here.mustHave("k", "before")
	}
}

// cutUnderLoad has many callers at work while the link is cut: each call works or says that the link was lost, and none
// gets the answer of another.
func cutUnderLoad(e *Env) {
	here := on(e, e.Node)
	working, enough := make(chan struct{}, 1), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- errors.Join(together(16, func(i int) error {
			for n := 0; e.Context().Err() == nil; n++ {
				select {
				case <-enough:
					return nil
				default:
				}
				if err := roundTrip(e.Context(), here, fmt.Sprintf("own-%d", i), fmt.Sprintf("%d/%d", i, n)); err != nil && !isLinkFault(err) {
					return err
				}
				select {
				case working <- struct{}{}:
				default:
				}
			}
			return nil
		})...)
	}()
	for range 5 {
		Await(e, working, "a call, with the link being cut now and then")
		e.Cut(0)
	}
	mustRecover(e, here)
	close(enough)

	require.NoError(e, Await(e, result, "the end of the callers"))
}

// mustEndWithContext requires that every call of the cache ends soon after its context, though nothing answers.
func mustEndWithContext(e *Env, c cacheOn) {
	e.Helper()
	for _, call := range cacheCalls(c.Backend) {
		ctx, cancel := context.WithTimeout(e.Context(), e.Timing.Beat)
		start := time.Now()
		err := call.do(ctx)
		took := time.Since(start)
		cancel()
		requireLinkFault(e, err)
		require.Less(e, took, e.Timing.Beat+e.Timing.Prompt, "%s did not end with its context", call.name)
	}
	ctx, cancel := context.WithCancel(e.Context())
	timer := time.AfterFunc(e.Timing.Beat, cancel)
	defer timer.Stop()
	e.Promptly("a call that is cancelled", func() { requireLinkFault(e, roundTrip(ctx, c, "k", "v")) })
}

func partitionedCallEnds(e *Env) {
	here := on(e, e.Node)
	here.mustSet("k", "before")
	e.Partition(0)

	mustEndWithContext(e, here)
}

func partitionHeals(e *Env) {
	here := on(e, e.Node)
	here.mustSet("k", "before")
	heal := e.Partition(0)
	requireLinkFault(e, roundTrip(e.Within(e.Timing.Beat), here, "lost", "?"))
	heal()

	mustRecover(e, here)
	here.mustHave("k", "before")
}

func partitionLeavesOthers(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustSet("k", "before")
	e.Partition(0)

	for range 10 {
		e.Promptly("a call of the other node", func() { there.mustHave("k", "before") })
	}
	there.mustSet("k", "during")
}

func partitionIsUnhealthy(e *Env) {
	require.NoError(e, e.Node.Health(e.Context()))
	heal := e.Partition(0)

	ctx := e.Within(e.Timing.Beat)
	e.Promptly("Health", func() { requireLinkFault(e, e.Node.Health(ctx)) })

	heal()
	e.Eventually(func() bool { return e.Node.Health(e.Context()) == nil }, "Health is good again")
}

func partitionedNodeCloses(e *Env) {
	node := e.Open()
	on(e, node).mustSet("k", "before")
	heal := e.Partition(1)

	start := time.Now()
	_ = node.Close() // it may say that it could not say goodbye
	require.Less(e, time.Since(start), e.Timing.Wait, "Close takes at most a few seconds, even without a link")
	requireCode(e, fault.Closed, node.Health(e.Context()), "Health after Close")
	heal()
}

func pausedCallEnds(e *Env) {
	here := on(e, e.Node)
	here.mustSet("k", "before")
	resume := e.Pause()
	defer resume()

	mustEndWithContext(e, here)
}

func pauseHeals(e *Env) {
	here := on(e, e.Node)
	here.mustSet("k", "before")
	resume := e.Pause()
	requireLinkFault(e, roundTrip(e.Within(e.Timing.Beat), here, "late", "?"))
	resume()

	mustRecover(e, here)
	here.mustHave("k", "before")
}

func restartUsed(e *Env) {
	here, there := on(e, e.Node), on(e, e.Open())
	here.mustSet("k", "1")
	there.mustHave("k", "1")
	e.Restart()

	mustRecover(e, here)
	mustRecover(e, there)
	here.mustSet("k", "2")
	there.mustHave("k", "2")
}

func restartUnderLoad(e *Env) {
	here := on(e, e.Node)
	enough, result := make(chan struct{}), make(chan error, 1)
	go func() {
		result <- errors.Join(together(8, func(i int) error {
			for n := 0; e.Context().Err() == nil; n++ {
				select {
				case <-enough:
					return nil
				default:
				}
				ctx, cancel := context.WithTimeout(e.Context(), e.Timing.Prompt)
				err := roundTrip(ctx, here, fmt.Sprintf("own-%d", i), fmt.Sprintf("%d/%d", i, n))
				cancel()
				// What was written may be lost with the restart, between the write and the read.
				if err != nil && !isLinkFault(err) && !errors.Is(err, fault.Corrupt) {
					return err
				}
			}
			return nil
		})...)
	}()
	e.Restart()
	mustRecover(e, here)
	close(enough)

	require.NoError(e, Await(e, result, "the end of the callers"))
}
