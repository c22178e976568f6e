package pubsub_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

func TestAHoleInASendersNumbersIsAGapWithItsCount(t *testing.T) {
	d := &script{}
	s := subscribe(t, scripted(t, d), "s")

	d.send(from("n", 5, 3), from("n", 6, 4), from("n", 20, 8), from("m", 1, 7), from("n", 21, 9), from("m", 3, 9))

	require.Equal(t, []pubsub.Event{
		from("n", 5, 3), from("n", 6, 4),
		gap(pubsub.Skipped, "n", 3), from("n", 20, 8),
		from("m", 1, 7), from("n", 21, 9),
		gap(pubsub.Skipped, "m", 1), from("m", 3, 9),
	}, next(t, s, 8))
	require.EqualValues(t, 4, s.Stats().Missed)
}

func TestAfterAReconnectTheLossIsCountedWhenItsSenderIsNextHeard(t *testing.T) {
	d := &script{}
	s := subscribe(t, scripted(t, d), "s")

	d.send(from("n", 1, 1))
	d.send(reconnect(), from("n", 6, 6))

	require.Equal(t, []pubsub.Event{from("n", 1, 1), reconnect(), gap(pubsub.Skipped, "n", 4), from("n", 6, 6)}, next(t, s, 4))
}

func TestWhatTheTransportsBufferDroppedIsCountedOnce(t *testing.T) {
	d := &script{}
	s := subscribe(t, scripted(t, d), "s")

	d.send(from("n", 1, 1), gap(pubsub.Overflow, "", 2), from("n", 4, 4))

	require.Equal(t, []pubsub.Event{
		from("n", 1, 1), gap(pubsub.Overflow, "", pubsub.Unknown), gap(pubsub.Skipped, "n", 2), from("n", 4, 4),
	}, next(t, s, 4))
	require.EqualValues(t, 2, s.Stats().Missed)
}

func TestARepeatIsDropped(t *testing.T) {
	d := &script{}
	for _, options := range [][]pubsub.SubscribeOption{nil, {pubsub.Group("g")}} {
		s := subscribe(t, scripted(t, d), "*", options...)

		d.send(from("n", 1, 1), from("n", 2, 2), from("n", 1, 1), from("n", 2, 2), on("other", "n", 3, 1), from("n", 4, 3))

		require.Equal(t, []pubsub.Event{from("n", 1, 1), from("n", 2, 2), on("other", "n", 3, 1), from("n", 4, 3)}, next(t, s, 4))
		require.EqualValues(t, 2, s.Stats().Duplicates)
		d.deliver = nil
	}
}

func TestASenderThatBeginsAgainMakesNoGap(t *testing.T) {
	d := &script{}
	s := subscribe(t, scripted(t, d), "s")

	d.send(from("n", 1, 10), from("n", 90, 1), from("n", 91, 2)) // it had forgotten the subject
	d.send(from("n", 200, 2))                                    // again, and the first is lost

	require.Equal(t, []pubsub.Event{from("n", 1, 10), from("n", 90, 1), from("n", 91, 2), gap(pubsub.Skipped, "n", pubsub.Unknown), from("n", 200, 2)}, next(t, s, 5))
}

func TestInAGroupOthersNumbersAreNoGap(t *testing.T) {
	d := &script{}
	s := subscribe(t, scripted(t, d), "s", pubsub.Group("g"))

	d.send(from("n", 1, 1), from("n", 7, 7), gap(pubsub.Overflow, "", 3))

	require.Equal(t, []pubsub.Event{from("n", 1, 1), from("n", 7, 7), gap(pubsub.Overflow, "", 3)}, next(t, s, 3))
}

func TestAForgottenSubjectBeginsAgainAndIsHeardWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1, pubsub.Options{Subjects: 2})[0]
		s := subscribe(t, bus, ">")

		for i := range 30 {
			_, err := bus.Publish(t.Context(), fmt.Sprint("s", i%7), nil)
			require.NoError(t, err)
		}

		for _, e := range next(t, s, 30) {
			require.NotNil(t, e.Message)
		}
	})
}

func TestOverflowDropsAndTellsExactly(t *testing.T) {
	numbered := func(lo, hi uint64) (events []pubsub.Event) {
		for i := lo; i <= hi; i++ {
			events = append(events, from("n", i, i))
		}
		return events
	}
	overflow := func(n int) pubsub.Event { return gap(pubsub.Overflow, "", n) }
	for name, c := range map[string]struct {
		policy      pubsub.Policy
		first, then []pubsub.Event
	}{
		"oldest": {pubsub.DropOldest, append([]pubsub.Event{overflow(6)}, numbered(7, 10)...), numbered(11, 11)},
		"newest": {pubsub.DropNewest, append(numbered(1, 4), overflow(6)), numbered(11, 11)},
	} {
		t.Run(name, func(t *testing.T) {
			d := &script{}
			s := subscribe(t, scripted(t, d), "s", pubsub.Buffer(4), pubsub.OnOverflow(c.policy))

			d.send(numbered(1, 10)...)
			require.EqualValues(t, 6, s.Stats().Dropped)
			require.Equal(t, 4, s.Stats().Buffered)
			require.Equal(t, c.first, next(t, s, len(c.first)))
			d.send(numbered(11, 11)...)

			require.Equal(t, c.then, next(t, s, len(c.then)))
		})
	}
}

func TestEndStreamGivesOutWhatItHasAndThenSaysWhy(t *testing.T) {
	d := &script{}
	s := subscribe(t, scripted(t, d), "s", pubsub.Buffer(2), pubsub.OnOverflow(pubsub.EndStream))

	d.send(from("n", 1, 1), from("n", 2, 2), from("n", 3, 3), from("n", 4, 4))

	<-s.Done()
	require.Equal(t, []pubsub.Event{from("n", 1, 1), from("n", 2, 2), gap(pubsub.Overflow, "", 1)}, next(t, s, 3))
	_, err := s.Next(t.Context())
	require.ErrorIs(t, err, fault.Exhausted)
	require.ErrorIs(t, s.Err(), fault.Exhausted)
	require.Positive(t, d.closed, "the transport's subscription is ended")
}

func TestABufferIsBoundedInBytesToo(t *testing.T) {
	d := &script{}
	s := subscribe(t, scripted(t, d), "s", pubsub.BufferBytes(10))
	sized := func(seq uint64, n int) pubsub.Event {
		e := from("n", seq, seq)
		e.Message.Payload = make([]byte, n)
		return e
	}

	d.send(sized(1, 100)) // a single one always fits
	require.Len(t, waiting(t, s), 1)
	d.send(sized(2, 6), sized(3, 6), sized(4, 4))

	require.Equal(t, []pubsub.Event{gap(pubsub.Overflow, "", 1), sized(3, 6), sized(4, 4)}, waiting(t, s))
}

// Whatever comes, and whenever it is read: what is given out and what gaps count is all that was sent, in order.
func TestEveryLossIsCountedAtItsPlace(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := &script{}
		bus := pubsub.New(&pubsub.Backend{Driver: d, Capabilities: pubsub.Capabilities{MaxPayload: 100, MaxSubject: 100, MaxBatch: 1}}, pubsub.Options{})
		defer bus.Close()
		policy := rapid.SampledFrom([]pubsub.Policy{pubsub.DropOldest, pubsub.DropNewest}).Draw(r, "policy")
		s, err := bus.Subscribe(context.Background(), "s", pubsub.Buffer(rapid.IntRange(1, 5).Draw(r, "buffer")), pubsub.OnOverflow(policy))
		require.NoError(r, err)
		d.send(from("n", 1, 1))
		sent, accounted := uint64(1), uint64(0)
		read := func() bool {
			if s.Stats().Buffered == 0 {
				return false // a gap at the end is read with the next message
			}
			e, err := s.Next(context.Background())
			require.NoError(r, err)
			switch {
			case e.Message != nil:
				accounted++
				require.Equal(r, e.Message.Seq, accounted)
			case e.Gap.Cause != pubsub.Reconnected:
				accounted += uint64(e.Gap.Lost)
			}
			return true
		}

		for range rapid.IntRange(0, 60).Draw(r, "steps") {
			switch rapid.IntRange(0, 4).Draw(r, "step") {
			case 0:
				read()
			case 1: // a loss on the way
				sent += uint64(rapid.IntRange(1, 3).Draw(r, "lost"))
			case 2:
				d.send(reconnect())
			default:
				sent++
				d.send(from("n", sent, sent))
			}
		}
		for read() {
		}
		sent++
		d.send(from("n", sent, sent)) // finds room, and has all gaps before it
		for read() {
		}

		require.Equal(r, sent, accounted)
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := subscribe(t, overMemory(t, 1)[0], "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()

		_, err := s.Next(ctx)

		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestAllEndsWithCloseAndTellsOfItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1)[0]
		s := subscribe(t, bus, "a")
		var heard []string
		over := make(chan error, 1)
		go func() {
			for e, err := range s.All(t.Context()) {
				if err != nil {
					over <- err
					return
				}
				heard = append(heard, string(e.Message.Payload))
			}
			over <- nil
		}()
		for i := range 3 {
			_, err := bus.Publish(t.Context(), "a", fmt.Append(nil, i))
			require.NoError(t, err)
		}
		synctest.Wait()

		require.NoError(t, s.Close())
		require.NoError(t, s.Close())

		require.NoError(t, <-over)
		require.Equal(t, []string{"0", "1", "2"}, heard)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range subscribe(t, bus, "a").All(ctx) {
			require.ErrorIs(t, err, context.Canceled)
		}
	})
}

func TestSeveralReadersShareTheEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1)[0]
		s := subscribe(t, bus, "a")
		got := make(chan uint64, 100)
		for range 4 {
			go func() {
				for e := range s.All(context.Background()) {
					got <- e.Message.Seq
				}
			}()
		}

		_, err := bus.PublishMany(t.Context(), func() (all []pubsub.Message) {
			for range 100 {
				all = append(all, pubsub.Message{Subject: "a"})
			}
			return all
		}())
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, s.Close())

		require.Len(t, got, 100)
	})
}

func TestAnApplicationDoesNotHearTheLibrarysOwnSubjects(t *testing.T) {
	d := &script{}
	bus := scripted(t, d)
	s := subscribe(t, bus, ">")

	d.send(on("$rpc.all", "n", 1, 1), on("a.$b", "n", 2, 1), on("a", "n", 3, 1))

	require.Equal(t, []pubsub.Event{on("a", "n", 3, 1)}, next(t, s, 1))
	_, err := bus.Subscribe(t.Context(), "$rpc.>")
	require.ErrorIs(t, err, fault.Invalid)
}

func TestSubscribeRefusesWhatIsWrong(t *testing.T) {
	bus := scripted(t, &script{})
	for name, c := range map[string]struct {
		filter string
		option pubsub.SubscribeOption
		code   fault.Code
	}{
		"filter":     {"a.>.b", pubsub.Group(""), fault.Invalid},
		"no room":    {"a", pubsub.Buffer(0), fault.Invalid},
		"no bytes":   {"a", pubsub.BufferBytes(0), fault.Invalid},
		"long group": {"a", pubsub.Group(string(make([]byte, 513))), fault.Invalid},
		"block":      {"a", pubsub.OnOverflow(pubsub.Block), fault.Unsupported},
		"no policy":  {"a", pubsub.OnOverflow(9), fault.Invalid},
	} {
		_, err := bus.Subscribe(t.Context(), c.filter, c.option)
		require.ErrorIs(t, err, c.code, name)
	}
	_, err := bus.SubscribeFunc(t.Context(), "a", nil)
	require.ErrorIs(t, err, fault.Invalid)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = bus.Subscribe(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
}

func TestAHandlerGetsEventsOneByOneAndCloseWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1)[0]
		busy, heard := 0, 0
		s, err := bus.SubscribeFunc(t.Context(), "a", func(ctx context.Context, e pubsub.Event) {
			busy++
			require.Equal(t, 1, busy)
			select {
			case <-time.After(time.Second):
				heard++
			case <-ctx.Done():
			}
			busy--
		})
		require.NoError(t, err)
		for range 5 {
			_, err := bus.Publish(t.Context(), "a", nil)
			require.NoError(t, err)
		}

		time.Sleep(2500 * time.Millisecond)
		require.NoError(t, s.Close())

		require.Equal(t, 2, heard)
		require.Zero(t, busy)
	})
}

func TestAHandlerMayCloseItsStreamAndTheBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1)[0]
		calls := 0
		var stream *pubsub.Stream
		s, err := bus.SubscribeFunc(t.Context(), "a", func(context.Context, pubsub.Event) {
			calls++
			_ = stream.Close()
			_ = bus.Close()
		})
		require.NoError(t, err)
		stream = s

		_, err = bus.PublishMany(t.Context(), []pubsub.Message{{Subject: "a"}, {Subject: "a"}})
		require.NoError(t, err)
		synctest.Wait()

		require.Equal(t, 1, calls)
		_, err = bus.Publish(t.Context(), "a", nil)
		require.ErrorIs(t, err, fault.Closed)
	})
}

func TestAHandlersPanicIsCountedAndTheNextEventComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1)[0]
		var heard []string
		s, err := bus.SubscribeFunc(t.Context(), "a", func(_ context.Context, e pubsub.Event) {
			if heard = append(heard, string(e.Message.Payload)); len(heard) == 1 {
				panic("oh")
			}
		})
		require.NoError(t, err)

		_, err = bus.PublishMany(t.Context(), []pubsub.Message{{Subject: "a", Payload: []byte("1")}, {Subject: "a", Payload: []byte("2")}})
		require.NoError(t, err)
		synctest.Wait()

		require.Equal(t, []string{"1", "2"}, heard)
		require.EqualValues(t, 1, s.Stats().Panics)
		require.NoError(t, s.Close())
	})
}
