package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

func rpcHookCases() []Case {
	return append(needing(NeedsRPC, []Case{
		{Name: "rpc/links/a-cut-is-told-and-frames-come-again", Clause: clauseFrameGap, Hooks: []Hook{Cut}, Run: func(e *Env) { framesAgain(e, func() { e.Cut(1) }) }},
		{Name: "rpc/links/a-restart-is-told-and-frames-come-again", Clause: clauseFrameGap, Hooks: []Hook{Restart}, Run: func(e *Env) { framesAgain(e, e.Restart) }},
		{Name: "rpc/links/calls-without-a-link-end-with-their-context", Clause: clauseContexts, Hooks: []Hook{Partition}, Run: sendWithoutLink},
	}), onStack(needing(NeedsRPC, []Case{
		{Name: "rpc/stack/a-crashed-node-is-dead-and-gone", Clause: clauseGone, Hooks: []Hook{Crash}, Run: crashedGone},
		{Name: "rpc/stack/a-crash-amid-a-call-completes-its-slot", Clause: clauseGone, Hooks: []Hook{Crash}, Run: crashedAmidCall},
		{Name: "rpc/stack/a-node-without-a-link-is-unavailable-and-comes-back", Clause: clauseFenced, Hooks: []Hook{Partition}, Run: fencedAndBack},
		{Name: "rpc/stack/calls-go-on-after-a-restart", Clause: clauseFrameGap, Hooks: []Hook{Restart}, Run: callsAfterRestart},
		{Name: "rpc/stack/a-large-call-survives-a-cut-or-says-so", Clause: clauseLargeCalls, Hooks: []Hook{Cut}, Run: largeOverCut},
		{Name: "rpc/stack/calls-under-cuts-are-answered-rightly-or-fail", Clause: clauseReplies, Hooks: []Hook{Cut}, Run: callsUnderCuts},
	}))...)
}

// framesAgain breaks the link of node 1, and requires that its listeners are told and hear again.
func framesAgain(e *Env, breakLink func()) {
	e.Helper()
	there := e.Open()
	boxes := []*box{listen(e, there, inbox()), listen(e, there, rpc.Broadcast)}
	from := post(e, e.Node)
	for round := range 2 {
		breakLink()
		for i, b := range boxes {
			gap, heard := false, false
			text := fmt.Sprint(round, ".", i)
			e.Eventually(func() bool {
				_, err := from.Send(e.Within(e.Timing.Prompt), []rpc.Frame{{To: b.to, Payload: []byte(text)}})
				if err != nil {
					requireLinkFault(e, err)
				}
				for len(b.frames) > 0 {
					f := <-b.frames
					gap = gap || f.Gap
					heard = heard || string(f.Payload) == text
				}
				return gap && heard
			}, "a listener at %s is told of the gap (%v) and hears again (%v)", b.to, gap, heard)
		}
	}
}

// sendWithoutLink requires that calls end with their context, though nothing answers. Where receivers are not known, a Send
// may be over as soon as the link has the frame.
func sendWithoutLink(e *Env) {
	e.Partition(0)
	b := transports.RPCOf(e.Node)
	for _, c := range rpcCalls(b) {
		ctx := e.Within(e.Timing.Beat)
		start := time.Now()
		err := c.do(ctx)
		require.Less(e, time.Since(start), e.Timing.Beat+e.Timing.Prompt, "%s did not end with its context", c.name)
		if err != nil || c.name != "Send" || b.Capabilities.NoReceiver {
			requireLinkFault(e, err)
		}
	}
}

// quick are peers that notice a death within seconds.
func quick(e *Env, n int, setup func(i int, p *rpc.Peer)) []*rpc.Peer {
	e.Helper()
	return cluster(e, n, setup, func(o *rpc.Options) { o.DeadAfter = 8 * e.Timing.Beat })
}

func crashedGone(e *Env) {
	peers := quick(e, 3, nil)
	events := watching(e, peers[0])
	e.Crash(1)
	mustSee(e, events, rpc.Dead, peers[1].Self().Incarnation)
	atOnce(e, fault.NodeGone, "calling who is dead", func(ctx context.Context) error {
		_, err := nameOf(ctx, peers[0], at(peers[1]))
		return err
	})
	for range 10 {
		name, err := nameOf(e.Within(e.Timing.Wait), peers[0], rpc.Any())
		require.NoError(e, err)
		require.NotEqual(e, "node-1", name)
	}
}

func crashedAmidCall(e *Env) {
	begun := make(chan struct{}, 4)
	peers := quick(e, 3, func(i int, p *rpc.Peer) {
		handling(e, "wait", func(ctx context.Context, _ *rpc.Incoming) ([]byte, error) {
			begun <- struct{}{}
			if i == 1 {
				<-ctx.Done()
			}
			return nil, ctx.Err()
		})(p)
	})
	result := make(chan []rpc.Reply, 1)
	failed := make(chan error, 1)
	go func() {
		replies, err := peers[0].Gather(e.Context(), rpc.All(), "wait", nil, rpc.Timeout(time.Hour))
		result <- replies
		failed <- err
	}()
	for range 3 {
		Await(e, begun, "every handler")
	}
	e.Crash(1)
	replies := Await(e, result, "the answers, without the node that has died")
	requireCode(e, fault.NodeGone, <-failed, "a call to all, of whom one has died")
	require.Len(e, replies, 3, "every node is accounted for")
	for _, r := range replies {
		if r.Member.Name == "node-1" {
			requireCode(e, fault.NodeGone, r.Err, "the node that has died")
		} else {
			require.NoError(e, r.Err)
		}
	}
}

func fencedAndBack(e *Env) {
	peers := quick(e, 2, nil)
	events := watching(e, peers[1])
	heal := e.Partition(1)
	mustSee(e, events, rpc.Fenced, peers[1].Self().Incarnation)
	atOnce(e, fault.Unavailable, "a call by a node that takes itself for dead", func(ctx context.Context) error {
		_, err := nameOf(ctx, peers[1], at(peers[0]))
		return err
	})
	require.True(e, peers[1].Fenced())
	heal()
	e.EventuallyWithin(2*e.Timing.Wait, func() bool { return !peers[1].Fenced() }, "it hears itself again")
	reachable(e, peers[1], peers[0])
	reachable(e, peers[0], peers[1])
}

// reachable requires that calls come through before long.
func reachable(e *Env, from, to *rpc.Peer) {
	e.Helper()
	e.EventuallyWithin(2*e.Timing.Wait, func() bool {
		name, err := nameOf(e.Context(), from, at(to), rpc.Timeout(e.Timing.Prompt))
		if err == nil {
			require.Equal(e, to.Self().Name, name)
		}
		return err == nil
	}, "%s reaches %s", from.Self().Name, to.Self().Name)
}

func callsAfterRestart(e *Env) {
	peers := cluster(e, 3, nil)
	e.Restart()
	for _, from := range peers {
		for _, to := range peers {
			reachable(e, from, to)
		}
	}
}

func largeOverCut(e *Env) {
	peers := cluster(e, 2, nil)
	for i := range 3 {
		result := make(chan error, 1)
		go func() {
			payload := patterned(6 << 20)
			got, err := peers[0].Call(e.Context(), at(peers[1]), "echo", payload, rpc.Timeout(e.Timing.Wait/2)) // so that its end is awaited longer
			if err == nil && string(got) != string(payload) {
				err = fault.New(fault.Corrupt, "%d bytes became %d, or others", len(payload), len(got))
			}
			result <- err
		}()
		e.sleep(e.Timing.Beat / 10)
		e.Cut(i % 2)
		err := Await(e, result, "the end of a large call whose link was cut")
		require.NotContains(e, []fault.Code{fault.Corrupt, fault.Internal, fault.Invalid}, fault.CodeOf(err), "it ended with: %v", err)
		reachable(e, peers[0], peers[1])
	}
	e.Eventually(func() bool {
		_, err := peers[0].Call(e.Context(), at(peers[1]), "echo", patterned(1<<20), rpc.Timeout(e.Timing.Wait))
		return err == nil
	}, "large calls work again")
}

func callsUnderCuts(e *Env) {
	peers := cluster(e, 2, nil)
	underCuts(e, func(i, n int) error {
		want := fmt.Sprint("call ", i, ".", n)
		got, err := peers[i%2].Call(e.Context(), at(peers[1-i%2]), "echo", []byte(want), rpc.Timeout(e.Timing.Beat))
		switch {
		case err == nil && string(got) != want:
			return fmt.Errorf("%q was answered with %q", want, got)
		case err == nil, errors.Is(err, fault.NodeGone), errors.Is(err, fault.NoReceiver), isLinkFault(err):
		default:
			return err
		}
		return nil
	})
	reachable(e, peers[0], peers[1])
}
