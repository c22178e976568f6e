package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

func pubsubStackCases() []Case {
	return onStack(append(needing(NeedsPubSub, []Case{
		{Name: "pubsub/stack/holes-in-a-senders-numbers-are-counted", Clause: clauseStreamGap, Run: holesCounted},
		{Name: "pubsub/stack/no-gap-where-nothing-is-missing", Clause: clauseStreamGap, Run: noFalseGaps},
		{Name: "pubsub/stack/what-comes-twice-is-given-once", Clause: clauseStreamOnce, Run: repeatsDropped},
		{Name: "pubsub/stack/callers-at-once-are-in-order", Clause: clauseStreamOnce, Run: streamsInOrder},
		{Name: "pubsub/stack/drop-oldest-tells-how-many", Clause: clauseStreamBuffer, Run: dropOldest},
		{Name: "pubsub/stack/drop-newest-tells-how-many", Clause: clauseStreamBuffer, Run: dropNewest},
		{Name: "pubsub/stack/end-stream-ends-it", Clause: clauseStreamBuffer, Run: endStream},
		{Name: "pubsub/stack/topics-carry-values", Clause: clauseTopics, Run: topicsCarry},
		{Name: "pubsub/stack/a-group-of-streams-shares", Clause: clauseGroup, Run: streamsShare},
		{Name: "pubsub/stack/the-librarys-subjects-are-refused-and-not-seen", Clause: clauseReserved, Run: reservedHidden},
		{Name: "pubsub/stack/close-ends-streams", Clause: clauseStreamsClosed, Run: closeEndsStreams},
	}), Case{Name: "pubsub/stack/what-is-not-offered-is-unsupported", Clause: clauseUnsupported, Run: func(e *Env) {
		e.Promptly("refusing", func() { refusePubSub(e, nil) })
	}}))
}

// busOn is the application's pub/sub on a node, closed before the node is.
func busOn(e *Env, node transports.Transport) *pubsub.PubSub {
	bus := pubsub.New(node.PubSub(), pubsub.Options{Logger: quiet()})
	e.Cleanup(func() { _ = bus.Close() })
	return bus
}

func stream(e *Env, bus *pubsub.PubSub, filter string, options ...pubsub.SubscribeOption) *pubsub.Stream {
	e.Helper()
	s, err := bus.Subscribe(e.Context(), filter, options...)
	require.NoError(e, err)
	return s
}

// mustRead requires that these are the next messages of a stream, with no gap before any.
func mustRead(e *Env, s *pubsub.Stream, texts ...string) {
	e.Helper()
	for _, want := range texts {
		event, err := s.Next(e.Within(e.Timing.Wait))
		require.NoError(e, err, "the message %q", want)
		require.Nil(e, event.Gap, "a gap where nothing is missing: %+v", event.Gap)
		require.Equal(e, want, string(event.Message.Payload))
	}
}

// mustReadGap requires that a gap is next.
func mustReadGap(e *Env, s *pubsub.Stream, cause pubsub.Cause, lost int) {
	e.Helper()
	event, err := s.Next(e.Within(e.Timing.Wait))
	require.NoError(e, err)
	require.NotNil(e, event.Gap, "a gap of %d: %+v", lost, event.Message)
	require.Equal(e, cause, event.Gap.Cause)
	require.Equal(e, lost, event.Gap.Lost)
}

func holesCounted(e *Env) {
	s := stream(e, busOn(e, e.Open()), "s")
	v := speak(e, e.Node)
	v.say("s", "1", "2")
	v.message("s", "lost")
	v.message("s", "lost")
	v.message("s", "lost")
	v.say("s", "6")
	v.message("s", "lost")
	v.say("s", "8", "9")
	mustRead(e, s, "1", "2")
	mustReadGap(e, s, pubsub.Skipped, 3)
	mustRead(e, s, "6")
	mustReadGap(e, s, pubsub.Skipped, 1)
	mustRead(e, s, "8", "9")
	require.Equal(e, uint64(4), s.Stats().Missed)
}

func noFalseGaps(e *Env) {
	there := busOn(e, e.Open())
	streams := []*pubsub.Stream{stream(e, there, "s.a"), stream(e, there, "s.*"), stream(e, busOn(e, e.Node), ">")}
	bus := busOn(e, e.Node)
	for i := range 40 {
		_, err := bus.PublishMany(e.Context(), []pubsub.Message{
			{Subject: "s.a", Payload: fmt.Append(nil, "a", i)}, {Subject: "other", Payload: []byte("x")}, {Subject: "s.b", Payload: fmt.Append(nil, "b", i)},
		})
		require.NoError(e, err)
	}
	mustRead(e, streams[0], texts("a", 40)...)
	for _, s := range streams[1:] {
		want := 80
		if s.Filter() == ">" {
			want = 120
		}
		for range want {
			event, err := s.Next(e.Within(e.Timing.Wait))
			require.NoError(e, err)
			require.Nil(e, event.Gap, "a gap where nothing is missing: %+v", event.Gap)
		}
	}
}

func repeatsDropped(e *Env) {
	s := stream(e, busOn(e, e.Open()), "s")
	v := speak(e, e.Node)
	m := v.message("s", "once")
	v.mustPublish(m, m)
	v.mustPublish(m)
	v.say("s", "next")
	mustRead(e, s, "once", "next")
	require.Equal(e, uint64(2), s.Stats().Duplicates)
}

func streamsInOrder(e *Env) {
	there := busOn(e, e.Open())
	const callers, each = 8, 40
	streams := []*pubsub.Stream{stream(e, there, "s"), stream(e, there, "*"), stream(e, busOn(e, e.Node), "s")}
	bus := busOn(e, e.Node)
	errs := together(callers, func(i int) error {
		for n := range each {
			if _, err := bus.Publish(e.Context(), "s", fmt.Append(nil, i, " ", n)); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	for _, s := range streams {
		for n := range callers * each {
			event, err := s.Next(e.Within(e.Timing.Wait))
			require.NoError(e, err)
			require.Nil(e, event.Gap, "a gap where nothing is missing: %+v", event.Gap)
			require.Equal(e, uint64(n+1), event.Message.SubjectSeq)
		}
	}
}

// flood publishes 10 messages to a stream whose buffer has room for 4, and waits until all have come.
func flood(e *Env, policy pubsub.Policy) *pubsub.Stream {
	e.Helper()
	s := stream(e, busOn(e, e.Open()), "s", pubsub.Buffer(4), pubsub.OnOverflow(policy))
	speak(e, e.Node).say("s", texts("t", 10)...)
	if policy != pubsub.EndStream {
		e.Eventually(func() bool { return s.Stats().Received == 10 }, "all messages come")
	}
	return s
}

func dropOldest(e *Env) {
	s := flood(e, pubsub.DropOldest)
	mustReadGap(e, s, pubsub.Overflow, 6)
	mustRead(e, s, "t6", "t7", "t8", "t9")
	require.Equal(e, uint64(6), s.Stats().Dropped)
}

func dropNewest(e *Env) {
	s := flood(e, pubsub.DropNewest)
	mustRead(e, s, "t0", "t1", "t2", "t3")
	mustReadGap(e, s, pubsub.Overflow, 6)
	require.Equal(e, uint64(6), s.Stats().Dropped)
}

func endStream(e *Env) {
	s := flood(e, pubsub.EndStream)
	Await(e, s.Done(), "the end of a stream that overflows")
	mustRead(e, s, "t0", "t1", "t2", "t3")
	_, err := s.Next(e.Within(e.Timing.Wait))
	if err == nil { // the gap first
		_, err = s.Next(e.Within(e.Timing.Wait))
	}
	requireCode(e, fault.Exhausted, err, "reading on")
}

func topicsCarry(e *Env) {
	type order struct {
		ID    int
		Items []string
	}
	topic := pubsub.NewTopic[order]("orders.created")
	s, err := topic.Subscribe(e.Context(), busOn(e, e.Open()))
	require.NoError(e, err)
	want := order{42, []string{"tea", "ключ"}}
	_, err = topic.Publish(e.Context(), busOn(e, e.Node), want)
	require.NoError(e, err)
	speak(e, e.Node).say("orders.created", "no order")

	event, err := s.Next(e.Within(e.Timing.Wait))
	require.NoError(e, err)
	require.NoError(e, event.Err)
	require.Equal(e, want, event.Value)
	event, err = s.Next(e.Within(e.Timing.Wait))
	require.NoError(e, err)
	requireCode(e, fault.Corrupt, event.Err, "a payload that is no order")
}

func streamsShare(e *Env) {
	here, there := busOn(e, e.Node), busOn(e, e.Open())
	streams := []*pubsub.Stream{stream(e, here, "s", pubsub.Group("g")), stream(e, there, "*", pubsub.Group("g"))}
	for i := range 60 {
		_, err := here.Publish(e.Context(), "s", fmt.Append(nil, i))
		require.NoError(e, err)
	}
	count := func() (n uint64) {
		for _, s := range streams {
			n += s.Stats().Received
			require.Zero(e, s.Stats().Gaps, "gaps in a group, whose members each see only some numbers")
		}
		return n
	}
	e.Eventually(func() bool { return count() >= 60 }, "every message comes to a stream")
	e.sleep(e.Timing.Beat / 5)
	require.Equal(e, uint64(60), count())
}

func reservedHidden(e *Env) {
	bus := busOn(e, e.Open())
	s := stream(e, bus, ">")
	for _, subject := range []string{"$rpc.all", "$", "a.$b", "$rpc.>"} {
		_, err := bus.Publish(e.Context(), subject, []byte("x"))
		requireCode(e, fault.Invalid, err, "publishing to %q", subject)
		_, err = bus.Subscribe(e.Context(), subject)
		requireCode(e, fault.Invalid, err, "subscribing to %q", subject)
	}
	v := speak(e, e.Node)
	v.say("$rpc.all", "a frame")
	v.say("s", "a message")
	mustRead(e, s, "a message")
}

func closeEndsStreams(e *Env) {
	bus := busOn(e, e.Open())
	s := stream(e, bus, "s")
	ended := make(chan error, 1)
	go func() {
		_, err := s.Next(e.Context())
		ended <- err
	}()
	require.NoError(e, bus.Close())
	requireCode(e, fault.Closed, Await(e, ended, "the end of Next"), "Next")
	_, err := bus.Publish(e.Context(), "s", nil)
	requireCode(e, fault.Closed, err, "Publish")
	_, err = bus.Subscribe(e.Context(), "s")
	requireCode(e, fault.Closed, err, "Subscribe")
	require.NoError(e, bus.Close())
}

func refusePubSub(e *Env, b *pubsub.Backend) {
	bus := pubsub.New(b, pubsub.Options{})
	e.Cleanup(func() { _ = bus.Close() })
	_, err := bus.Publish(e.Context(), "s", nil)
	requireCode(e, fault.Unsupported, err, "Publish")
	_, err = bus.PublishMany(e.Context(), []pubsub.Message{{Subject: "s"}})
	requireCode(e, fault.Unsupported, err, "PublishMany")
	_, err = bus.Subscribe(e.Context(), "s")
	requireCode(e, fault.Unsupported, err, "Subscribe")
	_, err = bus.SubscribeFunc(e.Context(), "s", func(context.Context, pubsub.Event) {})
	requireCode(e, fault.Unsupported, err, "SubscribeFunc")
}
