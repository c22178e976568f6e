package conformance

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

func subscriptionCases() []Case {
	return append(needing(NeedsPubSub, []Case{
		{Name: "pubsub/subscribe/is-a-barrier", Clause: clauseBarrier, Run: func(e *Env) { barrier(e, e.Node, e.Node) }},
		{Name: "pubsub/subscribe/with-a-wildcard-is-a-barrier", Clause: clauseBarrier, Run: wildBarrier},
		{Name: "pubsub/subscribe/in-a-group-is-a-barrier", Clause: clauseBarrier, Run: groupBarrier},
		{Name: "pubsub/subscribe/by-many-at-once-is-a-barrier-to-each", Clause: clauseBarrier, Run: manyBarriers},
		{Name: "pubsub/subscribe/a-thousand-subscriptions", Clause: clauseManySubs, Run: thousandSubscriptions},
		{Name: "pubsub/subscribe/coming-and-going-loses-nothing-for-those-that-stay", Clause: clauseManySubs, Run: churn},
		{Name: "pubsub/subscribe/again-to-the-same-subject", Clause: clauseManySubs, Run: subscribeAgain},
		{Name: "pubsub/close/nothing-comes-after-it", Clause: clauseQuiet, Run: quietAfterClose},
		{Name: "pubsub/close/waits-for-deliver", Clause: clauseQuiet, Run: closeWaits},
		{Name: "pubsub/close/twice", Clause: clauseCloseWithin, Run: closeSubscriptionTwice},
		{Name: "pubsub/close/from-within-deliver", Clause: clauseCloseWithin, Run: closeWithinDeliver},
		{Name: "pubsub/close/of-one-leaves-the-others", Clause: clauseQuiet, Run: closeLeavesSubscribers},
		{Name: "pubsub/close/of-the-node-is-quiet-too", Clause: clauseQuiet, Run: nodeCloseQuiet},
		{Name: "pubsub/slow/a-slow-subscriber-holds-up-nobody", Clause: clauseSlow, Run: slowSubscriber},
		{Name: "pubsub/slow/one-that-is-held-up-loses-nothing-unseen", Clause: clauseGap, Run: heldUp},
	}), needing(NeedsClusterWide, []Case{
		{Name: "pubsub/subscribe/is-a-barrier-for-other-nodes", Clause: clauseBarrierAll, Run: func(e *Env) { barrier(e, e.Node, e.Open()) }},
		{Name: "pubsub/subscribe/that-was-ended-by-others-is-still-a-barrier", Clause: clauseBarrierAll, Run: barrierAmongOthers},
	})...)
}

// barrier publishes as soon as Subscribe has returned.
func barrier(e *Env, here, there transports.Transport) {
	v := speak(e, there)
	for i := range 100 {
		subject := fmt.Sprint("s.", i%10)
		h := hear(e, here, subject)
		v.say(subject, fmt.Sprint(i))
		h.mustHear(fmt.Sprint(i))
		if i%3 != 0 {
			require.NoError(e, h.sub.Close())
		}
	}
}

func wildBarrier(e *Env) {
	v := speak(e, e.Node)
	for i := range 50 {
		h := hear(e, e.Node, []string{"a.*", "a.>", "*.x", ">"}[i%4])
		v.say("a.x", fmt.Sprint(i))
		h.mustHear(fmt.Sprint(i))
		require.NoError(e, h.sub.Close())
	}
}

func groupBarrier(e *Env) {
	v := speak(e, e.Node)
	for i := range 30 {
		h := hearAs(e, e.Node, pubsub.Filter{Subject: "s", Group: fmt.Sprint("g", i%3)})
		v.say("s", fmt.Sprint(i))
		h.mustHear(fmt.Sprint(i))
		require.NoError(e, h.sub.Close())
	}
}

func manyBarriers(e *Env) {
	errs := together(16, func(i int) error {
		for n := range 10 {
			subject, heard := fmt.Sprintf("s.%d.%d", i, n%2), make(chan string, 64)
			sub, err := e.Node.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: subject}, func(events []pubsub.Event) {
				for _, event := range events {
					if event.Message != nil {
						heard <- string(event.Message.Payload)
					}
				}
			})
			if err != nil {
				return err
			}
			v := speak(e, e.Node)
			_, err = v.Publish(e.Context(), []pubsub.Message{v.message(subject, fmt.Sprint(n))})
			if err != nil {
				return err
			}
			limit := time.NewTimer(e.Timing.Wait)
			select {
			case text := <-heard:
				if text != fmt.Sprint(n) {
					err = fmt.Errorf("%s heard %q, not %d", subject, text, n)
				}
			case <-limit.C:
				err = fmt.Errorf("%s did not hear what was published after it had subscribed", subject)
			}
			limit.Stop()
			if err := errors.Join(err, sub.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
}

// barrierAmongOthers subscribes while others on the node unsubscribe from the same subject.
func barrierAmongOthers(e *Env) {
	v := speak(e, e.Open())
	for i := range 60 {
		first := hear(e, e.Node, "s")
		closed := make(chan error, 1)
		go func() { closed <- first.sub.Close() }()
		second := hear(e, e.Node, "s")
		v.say("s", fmt.Sprint(i))
		second.mustHear(fmt.Sprint(i))
		require.NoError(e, Await(e, closed, "the end of Close"))
		v.say("s", "again")
		second.mustHear("again")
		require.NoError(e, second.sub.Close())
	}
}

func thousandSubscriptions(e *Env) {
	there := e.Open()
	const n = 1000
	heard := make([]atomic.Int32, n)
	wrong := make(chan string, n)
	subs := make([]pubsub.Subscription, n)
	errs := together(20, func(i int) error {
		for k := i; k < n; k += 20 {
			subject := fmt.Sprintf("s.%d", k)
			sub, err := there.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: subject}, func(events []pubsub.Event) {
				for _, event := range events {
					if event.Message != nil && event.Message.Subject != subject {
						wrong <- subject + " heard what was sent to " + event.Message.Subject
					} else if event.Message != nil {
						heard[k].Add(1)
					}
				}
			})
			if err != nil {
				return err
			}
			subs[k] = sub
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))

	v := speak(e, e.Node)
	for k := 0; k < n; k += 100 {
		var batch []pubsub.Message
		for i := range 100 {
			batch = append(batch, v.message(fmt.Sprintf("s.%d", k+i), "x"))
		}
		v.mustPublish(batch...)
	}
	for k := range n {
		e.Eventually(func() bool { return heard[k].Load() > 0 }, "subscription %d of %d hears its message", k, n)
	}
	require.Empty(e, wrong)
	errs = together(20, func(i int) error {
		var all []error
		for k := i; k < n; k += 20 {
			all = append(all, subs[k].Close())
		}
		return errors.Join(all...)
	})
	require.NoError(e, errors.Join(errs...))
	for k := range n {
		require.Equal(e, int32(1), heard[k].Load(), "times that subscription %d heard its message", k)
	}
}

// churn has subscriptions come and go on the subjects of others that stay.
func churn(e *Env) {
	there := e.Open()
	stay := []*ear{hear(e, there, "s.a"), hear(e, there, "s.*"), hear(e, there, "s.>"), hearAs(e, there, pubsub.Filter{Subject: "s.a", Group: "g"})}
	enough, result := make(chan struct{}), make(chan error, 1)
	go func() {
		result <- errors.Join(together(6, func(i int) error {
			for n := 0; e.Context().Err() == nil; n++ {
				select {
				case <-enough:
					return nil
				default:
				}
				filter := pubsub.Filter{Subject: []string{"s.a", "s.*", "s.>", "s.b", ">"}[(i+n)%5]}
				if (i+n)%4 == 0 {
					filter.Group = "other"
				}
				sub, err := there.PubSub().Subscribe(e.Context(), filter, func([]pubsub.Event) {})
				if err != nil {
					return err
				}
				e.sleepHere(50 * time.Microsecond) // a bubble's clock stands still while anybody is busy
				if err := sub.Close(); err != nil {
					return err
				}
			}
			return nil
		})...)
	}()
	v := speak(e, e.Node)
	all := texts("t", 150)
	for _, text := range all {
		v.say("s.a", text)
		e.sleep(100 * time.Microsecond)
	}
	close(enough)
	require.NoError(e, Await(e, result, "the end of those that come and go"))
	for _, h := range stay {
		h.mustHear(all...)
	}
}

func subscribeAgain(e *Env) {
	there := e.Open()
	v := speak(e, e.Node)
	for i := range 20 {
		a, b := hear(e, there, "s"), hear(e, there, "s")
		v.say("s", fmt.Sprint("both ", i))
		a.mustHear(fmt.Sprint("both ", i))
		b.mustHear(fmt.Sprint("both ", i))
		require.NoError(e, a.sub.Close())
		v.say("s", fmt.Sprint("one ", i))
		b.mustHear(fmt.Sprint("one ", i))
		require.NoError(e, b.sub.Close())
	}
}

func quietAfterClose(e *Env) {
	there := e.Open()
	witness := hear(e, there, "s.*")
	v := speak(e, e.Node)
	for i := range 20 {
		var closed atomic.Bool
		late := make(chan struct{}, 64)
		filter := pubsub.Filter{Subject: []string{"s.a", "s.*"}[i%2], Group: []string{"", "", "g"}[i%3]}
		sub, err := there.PubSub().Subscribe(e.Context(), filter, func([]pubsub.Event) {
			if closed.Load() {
				late <- struct{}{}
			}
		})
		require.NoError(e, err)
		v.say("s.a", "while it closes", "while it closes", "while it closes")
		require.NoError(e, sub.Close())
		closed.Store(true)
		v.say("s.a", "after")
		witness.mustHear("while it closes", "while it closes", "while it closes", "after")
		e.sleep(time.Millisecond) // two goroutines that wake each other can keep a processor from what comes late
		require.Empty(e, late, "deliver was called after Close had returned")
	}
}

// closeWaits closes a subscription while deliver runs.
func closeWaits(e *Env) {
	there := e.Open()
	begun := make(chan struct{}, 64)
	var inside atomic.Bool
	sub, err := there.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {
		inside.Store(true)
		begun <- struct{}{}
		e.sleepHere(e.Timing.Beat / 5)
		inside.Store(false)
	})
	require.NoError(e, err)
	speak(e, e.Node).say("s", "x")
	Await(e, begun, "deliver")
	require.NoError(e, sub.Close())
	require.False(e, inside.Load(), "Close has returned while deliver was running")
}

func closeSubscriptionTwice(e *Env) {
	there := e.Open()
	for _, filter := range []pubsub.Filter{{Subject: "s"}, {Subject: "s.*"}, {Subject: "s", Group: "g"}} {
		h := hearAs(e, there, filter)
		require.NoError(e, h.sub.Close())
		e.Promptly("the second Close", func() { require.NoError(e, h.sub.Close()) })
		other := hearAs(e, there, filter)
		require.NoError(e, h.sub.Close(), "a third one, which must leave the other alone")
		v := speak(e, e.Node)
		if filter.Subject == "s" {
			v.say("s", "x")
		} else {
			v.say("s.t", "x")
		}
		other.mustHear("x")
		require.NoError(e, errors.Join(together(8, func(int) error { return other.sub.Close() })...))
	}
}

func closeWithinDeliver(e *Env) {
	there := e.Open()
	witness := hear(e, there, "s")
	for range 5 {
		given, closed := make(chan pubsub.Subscription, 1), make(chan error, 64)
		var calls atomic.Int32
		sub, err := there.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {
			calls.Add(1)
			me := <-given
			closed <- me.Close()
		})
		require.NoError(e, err)
		given <- sub
		v := speak(e, e.Node)
		v.say("s", "first")
		require.NoError(e, Await(e, closed, "the end of a Close from within deliver"))
		v.say("s", "second")
		witness.mustHear("first", "second")
		e.Promptly("closing it from outside as well", func() { require.NoError(e, sub.Close()) })
		require.Equal(e, int32(1), calls.Load(), "calls of deliver: it was closed in the first")
	}
}

func closeLeavesSubscribers(e *Env) {
	there := e.Open()
	v := speak(e, e.Node)
	stay := []*ear{hear(e, there, "s.a"), hear(e, there, "s.*"), hear(e, e.Node, "s.a")}
	for _, filter := range []string{"s.a", "s.*", "s.>", ">"} {
		h := hear(e, there, filter)
		v.say("s.a", "with "+filter)
		h.mustHear("with " + filter)
		require.NoError(e, h.sub.Close())
		v.say("s.a", "without "+filter)
		for _, one := range stay {
			one.mustHear("with "+filter, "without "+filter)
		}
	}
}

func nodeCloseQuiet(e *Env) {
	v, witness := speak(e, e.Node), hear(e, e.Node, "s")
	for range 5 {
		node := e.Open()
		var closed atomic.Bool
		late := make(chan struct{}, 64)
		_, err := node.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {
			if closed.Load() {
				late <- struct{}{}
			}
		})
		require.NoError(e, err)
		v.say("s", "before")
		require.NoError(e, node.Close())
		closed.Store(true)
		v.say("s", "after")
		witness.mustHear("before", "after")
		e.sleep(time.Millisecond) // as above
		require.Empty(e, late, "deliver was called after its node was closed")
	}
}

// slowSubscriber has one subscription that is stuck in deliver until the others have heard everything.
func slowSubscriber(e *Env) {
	there := e.Open()
	begun, release := make(chan struct{}, 1), make(chan struct{})
	slow, err := there.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {
		select {
		case begun <- struct{}{}:
		default:
		}
		select {
		case <-release:
		case <-e.Context().Done():
		}
	})
	require.NoError(e, err)
	ears := []*ear{hear(e, there, "s"), hear(e, there, "*"), hear(e, e.Node, "s")}
	v := speak(e, e.Node)
	v.say("s", "first")
	Await(e, begun, "the slow subscriber")
	all := texts("t", 100)
	v.say("s", all...)
	for _, h := range ears {
		h.mustHear("first")
		h.mustHear(all...)
	}
	after := hear(e, there, "other") // nor does it hold up who subscribes
	v.say("other", "x")
	after.mustHear("x")
	close(release)
	require.NoError(e, slow.Close())
}

// heldUp publishes far more to a subscription that is stuck than anybody needs to hold: what it then misses, a gap tells.
func heldUp(e *Env) {
	there := e.Open()
	begun, release := make(chan struct{}, 1), make(chan struct{})
	h := &ear{e: e, events: make(chan pubsub.Event, 1<<16)}
	sub, err := there.PubSub().Subscribe(e.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) {
		select {
		case begun <- struct{}{}:
		default:
		}
		select {
		case <-release:
		case <-e.Context().Done():
		}
		h.take(events)
	})
	require.NoError(e, err)
	e.Cleanup(func() { _ = sub.Close() })
	v := speak(e, e.Node)
	v.say("s", "first")
	Await(e, begun, "the subscriber that is held up")
	for range 20 {
		batch := make([]pubsub.Message, 1000)
		for i := range batch {
			batch[i] = v.message("s", "x")
		}
		v.mustPublish(batch...)
	}
	close(release)
	e.sleep(e.Timing.Beat)
	v.say("s", "last")
	mustAccount(h, "last")
}

// mustAccount requires of everything up to a last message, all of one sender on one subject, that it comes in order and
// that where some are missing a gap says so.
func mustAccount(h *ear, last string) {
	h.e.Helper()
	var heard uint64
	gap := false
	for {
		event := Await(h.e, h.events, "what comes after message %d", heard)
		h.check()
		if event.Gap != nil {
			gap = true
			continue
		}
		m := event.Message
		require.Greater(h.e, m.Seq, heard, "in its sender's order, and once")
		if m.Seq != heard+1 {
			require.Truef(h.e, gap, "messages %d to %d are missing, and no gap says so", heard+1, m.Seq-1)
		}
		heard, gap = m.Seq, false
		if string(m.Payload) == last {
			return
		}
	}
}
