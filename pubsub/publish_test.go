package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

func TestPublishReachesWhoSubscribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buses := overMemory(t, 2)
		s := subscribe(t, buses[1], "orders.*")

		receipt, err := buses[0].Publish(t.Context(), "orders.eu", []byte("created"))

		require.NoError(t, err)
		require.Equal(t, 1, receipt.Receivers)
		m := next(t, s, 1)[0].Message
		require.Equal(t, "orders.eu", m.Subject)
		require.Equal(t, "created", string(m.Payload))
		require.Equal(t, buses[0].Sender(), m.Sender)
		require.Equal(t, []uint64{1, 1}, []uint64{m.Seq, m.SubjectSeq})
	})
}

func TestMessagesAreNumberedPerSubjectInTheOrderOfTheWire(t *testing.T) {
	d := &script{}
	bus := scripted(t, d, pubsub.Options{Sender: "me"})

	_, err := bus.Publish(t.Context(), "a", nil)
	require.NoError(t, err)
	_, err = bus.PublishMany(t.Context(), []pubsub.Message{{Subject: "b"}, {Subject: "a"}, {Subject: "b"}, {Subject: "a", Sender: "forged", Seq: 99}})
	require.NoError(t, err)

	var got []string
	for _, m := range d.wire() {
		require.Equal(t, "me", m.Sender)
		got = append(got, fmt.Sprintf("%s %d %d", m.Subject, m.Seq, m.SubjectSeq))
	}
	require.Equal(t, []string{"a 1 1", "b 2 1", "a 3 2", "b 4 2", "a 5 3"}, got)
}

// The transport here sends each batch on a connection of its own, as slow as it likes: batches that are under way
// together overtake each other. Nothing may come out of order all the same.
func TestConcurrentPublishersNeverMakeAFalseGap(t *testing.T) {
	for name, remembered := range map[string]int{"all subjects remembered": 0, "one subject remembered": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { publishConcurrently(t, remembered) })
		})
	}
}

func publishConcurrently(t *testing.T, remembered int) {
	const publishers, each = 64, 50
	d := &script{}
	var mu sync.Mutex
	turn := 0
	d.publish = func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
		mu.Lock()
		turn++
		delay := time.Duration(turn*7919%13) * time.Millisecond
		mu.Unlock()
		time.Sleep(delay)
		for i := range messages {
			m := messages[i]
			d.send(pubsub.Event{Message: &m})
		}
		return make([]pubsub.Receipt, len(messages)), nil
	}
	bus := scripted(t, d, pubsub.Options{Subjects: remembered})
	s := subscribe(t, bus, ">", pubsub.Buffer(1_000_000))
	subjects := []string{"a", "b", "c"}
	failed := make(chan error, publishers)
	for p := range publishers {
		go func() {
			for i := range each {
				var err error
				if p%4 == 0 { // some publish several subjects at once
					_, err = bus.PublishMany(context.Background(), []pubsub.Message{{Subject: subjects[(p+i)%3]}, {Subject: subjects[(p+i+1)%3]}})
				} else {
					_, err = bus.Publish(context.Background(), subjects[(p+i)%3], nil)
				}
				if err != nil {
					failed <- err
				}
			}
			failed <- nil
		}()
	}
	for range publishers {
		require.NoError(t, <-failed)
	}

	stats := s.Stats()
	require.EqualValues(t, publishers*each*5/4, stats.Received)
	require.Zero(t, stats.Gaps)
	require.Zero(t, stats.Duplicates)
	last := map[string]uint64{}
	for _, e := range waiting(t, s) {
		m := e.Message
		if m.SubjectSeq != 1 || remembered == 0 { // a forgotten subject begins again
			require.Equal(t, last[m.Subject]+1, m.SubjectSeq)
		}
		last[m.Subject] = m.SubjectSeq
	}
}

func TestThoseWhoComeWhileABatchIsUnderWayAreSentTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &script{}
		var batches []int
		release := make(chan struct{})
		d.publish = func(_ context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
			batches = append(batches, len(messages))
			<-release
			return make([]pubsub.Receipt, len(messages)), nil
		}
		bus := scripted(t, d)
		for range 10 {
			go func() { _, _ = bus.Publish(context.Background(), "a", nil) }()
		}
		synctest.Wait()
		close(release)
		synctest.Wait()

		require.Equal(t, []int{1, 9}, batches)
	})
}

func TestASlowSubjectHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &script{}
		release := make(chan struct{})
		d.publish = func(_ context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
			if messages[0].Subject == "slow" {
				<-release
			}
			return make([]pubsub.Receipt, len(messages)), nil
		}
		bus := scripted(t, d)
		go func() { _, _ = bus.Publish(context.Background(), "slow", nil) }()
		synctest.Wait()

		_, err := bus.Publish(t.Context(), "quick", nil)

		require.NoError(t, err)
		close(release)
	})
}

func TestACallerThatGivesUpWaitingSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &script{}
		release := make(chan struct{})
		d.publish = func(_ context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
			<-release
			return make([]pubsub.Receipt, len(messages)), nil
		}
		bus := scripted(t, d)
		go func() { _, _ = bus.Publish(context.Background(), "a", []byte("1")) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		_, err := bus.Publish(ctx, "a", []byte("2"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = bus.PublishMany(ctx, []pubsub.Message{{Subject: "0"}, {Subject: "a"}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(release)
		synctest.Wait()
		_, err = bus.Publish(t.Context(), "a", []byte("3"))
		require.NoError(t, err)

		wire := d.wire()
		require.Len(t, wire, 2)
		require.EqualValues(t, 2, wire[1].SubjectSeq, "no number is lost with it")
		_, err = bus.Publish(t.Context(), "0", nil)
		require.NoError(t, err, "the subject that it held is free again")
	})
}

func TestAPayloadMayBeReusedAsSoonAsPublishReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &script{}
		release := make(chan struct{})
		var sent []string
		d.publish = func(_ context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
			<-release
			for _, m := range messages {
				sent = append(sent, string(m.Payload))
			}
			return make([]pubsub.Receipt, len(messages)), nil
		}
		bus := scripted(t, d)
		go func() { _, _ = bus.Publish(context.Background(), "a", []byte("first")) }()
		synctest.Wait()
		go func() { _, _ = bus.Publish(context.Background(), "a", []byte("second")) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		payload := []byte("third")
		left := make(chan struct{})
		go func() { _, _ = bus.Publish(ctx, "a", payload); close(left) }()
		synctest.Wait()

		release <- struct{}{} // the first; the others are now under way
		synctest.Wait()
		cancel()
		<-left
		copy(payload, "XXXXX")
		close(release)
		synctest.Wait()

		require.Equal(t, []string{"first", "second", "third"}, sent)
	})
}

func TestPublishIsTriedAgainAsOftenAsAskedWithTheSameNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &script{}
		attempts := 0
		d.publish = func(_ context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
			if attempts++; attempts < 3 {
				return nil, fault.New(fault.Unavailable, "no answer")
			}
			return make([]pubsub.Receipt, len(messages)), nil
		}
		bus := scripted(t, d, pubsub.Options{Retries: 2})

		_, err := bus.Publish(t.Context(), "a", nil)

		require.NoError(t, err)
		wire := d.wire()
		require.Len(t, wire, 3)
		require.Equal(t, wire[0], wire[2])
		attempts = -10
		_, err = bus.Publish(t.Context(), "a", nil)
		require.ErrorIs(t, err, fault.Unavailable)
		require.Equal(t, -7, attempts)
	})
}

func TestPublishRefusesWhatIsWrongBeforeSending(t *testing.T) {
	d := &script{}
	bus := scripted(t, d)
	large := make([]byte, 1<<16)
	for subject, says := range map[string]string{
		"":                       "empty",
		"a..b":                   "token is empty",
		"a.*":                    "wildcard",
		"a b":                    "not allowed",
		"$rpc.all":               "reserved",
		"a.$b":                   "reserved",
		strings.Repeat("x", 513): "513 bytes, 512 are allowed",
	} {
		_, err := bus.Publish(t.Context(), subject, nil)
		require.ErrorIs(t, err, fault.Invalid, subject)
		require.ErrorContains(t, err, says)
	}

	receipts, err := bus.PublishMany(t.Context(), []pubsub.Message{
		{Subject: "a", Payload: large}, {Subject: "a", Payload: append(large, 1)},
		{Subject: "a", Payload: large, Headers: map[string]string{"k": ""}}, {Subject: "*"}, {Subject: "b"},
	})
	require.NoError(t, err)
	for i, code := range []fault.Code{fault.OK, fault.TooLarge, fault.TooLarge, fault.Invalid, fault.OK} {
		require.Equal(t, code, fault.CodeOf(receipts[i].Err), i)
	}
	require.Len(t, d.wire(), 2)

	_, err = bus.PublishMany(t.Context(), make([]pubsub.Message, 1001))
	require.ErrorIs(t, err, fault.TooLarge)
	receipts, err = bus.PublishMany(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, receipts)
}

func TestAFailureOfTheTransportIsTheCallersError(t *testing.T) {
	d := &script{publish: func(context.Context, []pubsub.Message) ([]pubsub.Receipt, error) {
		return nil, errors.New("the wire broke")
	}}
	bus := scripted(t, d)

	receipt, err := bus.Publish(t.Context(), "a", nil)

	require.ErrorContains(t, err, `pubsub: publish "a": internal: the wire broke`)
	require.Equal(t, -1, receipt.Receivers)
}

func TestWithoutABackendEverythingIsUnsupported(t *testing.T) {
	for _, bus := range []*pubsub.PubSub{pubsub.New(nil, pubsub.Options{}), pubsub.New(&pubsub.Backend{}, pubsub.Options{})} {
		_, err := bus.Publish(t.Context(), "a", nil)
		require.ErrorIs(t, err, fault.Unsupported)
		_, err = bus.Subscribe(t.Context(), "a")
		require.ErrorIs(t, err, fault.Unsupported)
		require.Nil(t, bus.Capabilities())
		require.NoError(t, bus.Close())
	}
}

func TestAfterCloseEveryCallIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &script{publish: func(ctx context.Context, _ []pubsub.Message) ([]pubsub.Receipt, error) {
			<-ctx.Done()
			return nil, fault.FromContext(ctx)
		}}
		bus := scripted(t, d)
		s := subscribe(t, bus, "a")
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 3)
		for range 3 { // one is under way, two wait
			go func() { _, err := bus.Publish(ctx, "a", nil); results <- err }()
			synctest.Wait()
		}

		require.NoError(t, bus.Close())
		require.NoError(t, bus.Close())
		cancel()

		for range 3 {
			require.Error(t, <-results)
		}
		_, err := bus.Publish(t.Context(), "a", nil)
		require.ErrorIs(t, err, fault.Closed)
		_, err = bus.Subscribe(t.Context(), "a")
		require.ErrorIs(t, err, fault.Closed)
		_, err = s.Next(t.Context())
		require.ErrorIs(t, err, fault.Closed)
	})
}
