package conformance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

func pubsubHookCases() []Case {
	return needing(NeedsPubSub, []Case{
		{Name: "pubsub/links/a-cut-is-told-to-every-subscription", Clause: clauseGap, Hooks: []Hook{Cut}, Run: func(e *Env) { gapAfter(e, func() { e.Cut(1) }) }},
		{Name: "pubsub/links/a-restart-is-told-to-every-subscription", Clause: clauseGap, Hooks: []Hook{Restart}, Run: func(e *Env) { gapAfter(e, e.Restart) }},
		{Name: "pubsub/links/a-swallowing-link-is-noticed-in-the-declared-time", Clause: clauseGap, Hooks: []Hook{Partition}, Run: swallowNoticed},
		{Name: "pubsub/links/delivery-goes-on-after-cuts", Clause: clauseAgain, Hooks: []Hook{Cut}, Run: againAfterCuts},
		{Name: "pubsub/links/delivery-goes-on-after-a-restart", Clause: clauseAgain, Hooks: []Hook{Restart}, Run: againAfterRestart},
		{Name: "pubsub/links/delivery-goes-on-after-a-partition", Clause: clauseAgain, Hooks: []Hook{Partition}, Run: againAfterPartition},
		{Name: "pubsub/links/nothing-is-lost-unseen-under-cuts", Clause: clauseGap, Hooks: []Hook{Cut}, Run: accountedUnderCuts},
		{Name: "pubsub/links/a-subscription-made-without-a-link-is-live-when-it-returns", Clause: clauseBarrier, Hooks: []Hook{Cut}, Run: barrierUnderCuts},
		{Name: "pubsub/links/a-partition-leaves-other-nodes-alone", Clause: clauseSlow, Hooks: []Hook{Partition}, Run: partitionLeavesHearers},
		{Name: "pubsub/links/calls-without-a-link-end-with-their-context", Clause: clauseContexts, Hooks: []Hook{Partition}, Run: pubsubWithoutLink},
		{Name: "pubsub/links/a-subscription-without-a-link-closes", Clause: clauseQuiet, Hooks: []Hook{Partition}, Run: closeWithoutLink},
		{Name: "pubsub/store/calls-to-a-paused-store-end-with-their-context", Clause: clauseContexts, Hooks: []Hook{Pause}, Run: pubsubOnPaused},
		{Name: "pubsub/group/a-crashed-members-group-goes-on", Clause: clauseGroup, Hooks: []Hook{Crash}, Run: crashedMember},
		{Name: "pubsub/group/goes-on-after-a-cut", Clause: clauseGroup, Hooks: []Hook{Cut}, Run: groupAfterCut},
	})
}

// kinds of filters that a node may serve in different ways.
var everyFilter = []pubsub.Filter{{Subject: "s.a"}, {Subject: "s.*"}, {Subject: ">"}, {Subject: "s.a", Group: "g"}, {Subject: "s.>", Group: "h"}}

func hearAll(e *Env, node transports.Transport) []*ear {
	e.Helper()
	ears := make([]*ear, len(everyFilter))
	for i, filter := range everyFilter {
		ears[i] = hearAs(e, node, filter)
	}
	return ears
}

// gapAfter breaks the link of node 1, and requires that all of its subscriptions are told.
func gapAfter(e *Env, breakLink func()) {
	e.Helper()
	there := e.Open()
	ears := hearAll(e, there)
	v := speak(e, there)
	v.say("s.a", "before")
	for _, h := range ears {
		h.mustHear("before")
	}
	for range 2 {
		breakLink()
		for _, h := range ears {
			h.mustGap(e.Timing.Wait)
		}
		mustBeHeard(e, speak(e, e.Node), ears)
	}
}

// mustBeHeard publishes again and again until every ear has heard it.
func mustBeHeard(e *Env, v *voice, ears []*ear) {
	e.Helper()
	round := v.sender
	heard := make([]bool, len(ears))
	e.Eventually(func() bool {
		_, err := v.Publish(e.Within(e.Timing.Prompt), []pubsub.Message{v.message("s.a", round)})
		if err != nil {
			requireLinkFault(e, err)
		}
		all := true
		for i, h := range ears {
			for _, text := range h.drained() {
				heard[i] = heard[i] || text == round
			}
			h.check()
			all = all && heard[i]
		}
		return all
	}, "every subscription is delivered to again: %v", everyFilter)
}

func swallowNoticed(e *Env) {
	there := e.Open()
	ears := hearAll(e, there)
	heal := e.Partition(1)
	silence := there.PubSub().Capabilities.Silence
	e.sleep(silence + e.Timing.Beat) // as long as it may go unnoticed
	heal()
	for _, h := range ears {
		h.mustGap(e.Timing.Wait)
	}
	mustBeHeard(e, speak(e, e.Node), ears)
}

func againAfterCuts(e *Env) {
	there := e.Open()
	ears := hearAll(e, there)
	for i := range 4 {
		e.Cut(1)
		if i%2 == 0 {
			e.Cut(0)
		}
		mustBeHeard(e, speak(e, e.Node), ears)
	}
	late := hear(e, there, "s.a")
	mustBeHeard(e, speak(e, there), append(ears, late))
}

func againAfterRestart(e *Env) {
	there := e.Open()
	ears := append(hearAll(e, there), hearAll(e, e.Node)[:3]...)
	e.Restart()
	mustBeHeard(e, speak(e, e.Node), ears)
	mustBeHeard(e, speak(e, there), ears)
}

func againAfterPartition(e *Env) {
	there := e.Open()
	ears := hearAll(e, there)
	heal := e.Partition(1)
	v := speak(e, e.Node)
	v.say("s.a", "while it is away")
	heal()
	mustBeHeard(e, v, ears)
}

// accountedUnderCuts publishes while the subscriber's link is cut again and again.
func accountedUnderCuts(e *Env) {
	there := e.Open()
	ears := []*ear{hear(e, there, "s.a"), hear(e, there, "s.*")}
	v := speak(e, e.Node)
	for range 8 {
		for range 20 {
			v.say("s.a", "x")
			e.sleep(100 * time.Microsecond)
		}
		e.Cut(1)
	}
	// The last ones may be lost too: more are published until everybody hears again.
	e.Eventually(func() bool {
		v.say("s.a", "x")
		e.sleep(time.Millisecond)
		return !slices.ContainsFunc(ears, func(h *ear) bool { return h.newest.Load() < v.seq })
	}, "the subscriptions hear again")
	v.say("s.a", "last")
	for _, h := range ears {
		mustAccount(h, "last")
	}
}

func barrierUnderCuts(e *Env) {
	there := e.Open()
	v := speak(e, e.Node)
	for i := range 10 {
		e.Cut(1)
		subject := fmt.Sprint("s.", i)
		h := &ear{e: e, events: make(chan pubsub.Event, 1<<10)}
		e.Eventually(func() bool {
			sub, err := there.PubSub().Subscribe(e.Within(e.Timing.Wait), pubsub.Filter{Subject: subject}, h.take)
			if err != nil {
				requireLinkFault(e, err)
				return false
			}
			e.Cleanup(func() { _ = sub.Close() })
			return true
		}, "a subscription")
		v.say(subject, "x")
		h.mustHear("x")
	}
}

func partitionLeavesHearers(e *Env) {
	there, third := e.Open(), e.Open()
	hear(e, there, "s")
	ears := []*ear{hear(e, e.Node, "s"), hear(e, third, "*")}
	e.Partition(1)
	all := texts("t", 50)
	speak(e, e.Node).say("s", all...)
	for _, h := range ears {
		h.mustHear(all...)
	}

}

// mustEndPubSub requires that calls end with their context, though nothing answers. Where receivers are not known, a
// Publish may be over as soon as the link has the message.
func mustEndPubSub(e *Env, b *pubsub.Backend) {
	e.Helper()
	for _, c := range pubsubCalls(b) {
		ctx := e.Within(e.Timing.Beat)
		start := time.Now()
		err := c.do(ctx)
		require.Less(e, time.Since(start), e.Timing.Beat+e.Timing.Prompt, "%s did not end with its context", c.name)
		if err != nil || c.name != "Publish" || b.Capabilities.Receivers {
			requireLinkFault(e, err)
		}
	}
}

func pubsubWithoutLink(e *Env) {
	h := hear(e, e.Node, "s.a")
	heal := e.Partition(0)
	mustEndPubSub(e, e.Node.PubSub())
	heal()
	mustBeHeard(e, speak(e, e.Node), []*ear{h})
}

func pubsubOnPaused(e *Env) {
	h := hear(e, e.Node, "s.a")
	resume := e.Pause()
	mustEndPubSub(e, e.Node.PubSub())
	resume()
	mustBeHeard(e, speak(e, e.Node), []*ear{h})
}

func closeWithoutLink(e *Env) {
	ears := hearAll(e, e.Node)
	e.Partition(0)
	start := time.Now()
	errs := together(len(ears), func(i int) error { return ears[i].sub.Close() })
	require.Less(e, time.Since(start), e.Timing.Wait, "Close waits for no answer")
	_ = errors.Join(errs...) // it may say that it could not tell the store
}

// crashedMember requires that what is published after a member's node has crashed goes to those that are left, as soon as
// the store knows.
func crashedMember(e *Env) {
	dying := e.Open()
	stays := member(e, e.Node, "s", "g")
	member(e, dying, "s", "g")
	third := member(e, e.Open(), "s", "g")
	v := speak(e, e.Node)
	v.say("s", texts("before", 10)...)
	e.Crash(1)

	// While the store does not know of the crash some may go to the dead: at most once is all that is promised. After a
	// while none does.
	run := 0
	e.EventuallyWithin(2*e.Timing.Wait, func() bool {
		text := fmt.Sprint(v.sender, v.seq)
		v.say("s", text)
		heard := 0
		limit := time.Now().Add(e.Timing.Beat)
		for heard == 0 && time.Now().Before(limit) {
			for _, got := range append(stays.drained(), third.drained()...) {
				if got == text {
					heard++
				}
			}
			e.sleep(time.Millisecond)
		}
		if heard == 1 {
			run++
		} else {
			run = 0
		}
		return run == 20
	}, "20 messages one after another come to a member that is left")
}

func groupAfterCut(e *Env) {
	there := e.Open()
	members := []*ear{member(e, e.Node, "s.a", "g"), member(e, there, "s.*", "g")}
	e.Cut(0)
	e.Cut(1)
	witnesses := []*ear{hear(e, e.Node, "s.a"), hear(e, there, "s.a")}
	mustBeHeard(e, speak(e, e.Node), witnesses)
	for _, h := range members {
		h.mustGap(e.Timing.Wait)
	}
	e.sleep(e.Timing.Beat)
	for _, h := range members {
		h.drained()
	}
	all := texts("t", 40)
	speak(e, e.Node).say("s.a", all...)
	mustShare(e, members, all)
}
