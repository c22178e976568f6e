package memory_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

// heard collects what a subscription was given. Read it when the bubble is idle.
type heard struct{ events []pubsub.Event }

func subscribe(t *testing.T, b *pubsub.Backend, f pubsub.Filter) (*heard, pubsub.Subscription) {
	t.Helper()
	h := &heard{}
	s, err := b.Subscribe(background, f, func(events []pubsub.Event) { h.events = append(h.events, events...) })
	require.NoError(t, err)
	return h, s
}

func publish(t *testing.T, b *pubsub.Backend, subject string, seq uint64) pubsub.Receipt {
	t.Helper()
	receipts, err := b.Publish(background, []pubsub.Message{{Subject: subject, Seq: seq, Sender: "s", Payload: []byte(subject)}})
	return one(t, receipts, err)
}

func TestMessagesReachMatchingSubscriptionsInOrderAndOneMemberOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := cluster(t, 2)
		a, b := pair[0].PubSub(), pair[1].PubSub()
		all, _ := subscribe(t, a, pubsub.Filter{Subject: "orders.>"})
		other, _ := subscribe(t, b, pubsub.Filter{Subject: "orders"})
		m1, _ := subscribe(t, a, pubsub.Filter{Subject: "orders.*", Group: "g"})
		m2, left := subscribe(t, b, pubsub.Filter{Subject: "orders.>", Group: "g"})

		for i := range 100 {
			require.Equal(t, 2, publish(t, b, "orders.eu", uint64(i)).Receivers)
		}
		synctest.Wait()
		require.NoError(t, left.Close())
		require.NoError(t, left.Close())
		require.Equal(t, 2, publish(t, b, "orders.eu", 100).Receivers)
		require.Zero(t, publish(t, b, "elsewhere", 101).Receivers)
		synctest.Wait()

		require.Len(t, all.events, 101)
		for i, e := range all.events {
			require.Equal(t, uint64(i), e.Message.Seq)
		}
		require.Empty(t, other.events)
		require.Len(t, m1.events, 51)
		require.Len(t, m2.events, 50)
	})
}

func TestEverySubscriptionOwnsItsCopyOfAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].PubSub()
		first, _ := subscribe(t, b, pubsub.Filter{Subject: "s"})
		second, _ := subscribe(t, b, pubsub.Filter{Subject: "*"})
		m := pubsub.Message{
			Subject: "s", Payload: []byte("payload"), Headers: map[string]string{"Key": "value"},
			Sender: "me", Seq: 3, SubjectSeq: 2,
		}
		want := pubsub.Message{
			Subject: "s", Payload: []byte("payload"), Headers: map[string]string{"Key": "value"},
			Sender: "me", Seq: 3, SubjectSeq: 2,
		}

		_, err := b.Publish(background, []pubsub.Message{m, {Subject: "s", Payload: []byte{}}, {Subject: "s"}})
		require.NoError(t, err)
		m.Payload[0], m.Headers["Key"] = 'X', "X"
		synctest.Wait()
		first.events[0].Message.Payload[1], first.events[0].Message.Headers["Key"] = 'X', "X"

		require.Equal(t, want, *second.events[0].Message)
		require.NotNil(t, second.events[1].Message.Payload)
		require.Nil(t, second.events[2].Message.Payload)
	})
}

func TestOneBadMessageDoesNotStopTheOthersOfABatch(t *testing.T) {
	b := cluster(t, 1)[0].PubSub()

	receipts, err := b.Publish(background, []pubsub.Message{
		{Subject: "s", Payload: make([]byte, b.Capabilities.MaxPayload)}, {Subject: "a.*"},
		{Subject: "s", Payload: make([]byte, b.Capabilities.MaxPayload), Headers: map[string]string{"k": ""}},
	})

	require.NoError(t, err)
	require.NoError(t, receipts[0].Err)
	require.Equal(t, fault.Invalid, fault.CodeOf(receipts[1].Err))
	require.Equal(t, fault.TooLarge, fault.CodeOf(receipts[2].Err))
}

func TestASlowSubscriberNeverBlocksAPublisherAndGetsAGapWhereItMissedMessages(t *testing.T) {
	for name, size := range map[string]int{"by number": 0, "by bytes": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := cluster(t, 1)[0].PubSub()
				slow, entered := make(chan struct{}), make(chan struct{}, 10_000)
				var events []pubsub.Event
				_, err := b.Subscribe(background, pubsub.Filter{Subject: "s"}, func(batch []pubsub.Event) {
					entered <- struct{}{}
					<-slow
					events = append(events, batch...)
				})
				require.NoError(t, err)
				publish(t, b, "s", 0)
				<-entered

				const sent = 9000
				payload := make([]byte, size)
				for seq := range uint64(sent) {
					if size > 0 && seq == 100 {
						break
					}
					_, err := b.Publish(background, []pubsub.Message{{Subject: "s", Sender: "me", Seq: seq + 1, Payload: payload}})
					require.NoError(t, err)
				}
				close(slow)
				synctest.Wait()
				publish(t, b, "s", sent+1)
				synctest.Wait()

				last := uint64(0)
				var gaps []pubsub.Gap
				for _, e := range events[1:] {
					if e.Gap != nil {
						gaps = append(gaps, *e.Gap)
						last += uint64(e.Gap.Lost)
						continue
					}
					require.True(t, e.Message.Seq == last+1 || e.Message.Seq == sent+1)
					last = e.Message.Seq
				}
				require.Len(t, gaps, 1)
				require.Equal(t, pubsub.Overflow, gaps[0].Cause)
				require.Equal(t, "me", gaps[0].Sender)
				require.Positive(t, gaps[0].Lost)
				require.Equal(t, uint64(sent+1), last)
			})
		})
	}
}

func TestAFullMemberIsPassedOverWhileAnotherHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].PubSub()
		slow := make(chan struct{})
		_, err := b.Subscribe(background, pubsub.Filter{Subject: "s", Group: "g"}, func([]pubsub.Event) { <-slow })
		require.NoError(t, err)
		quick, _ := subscribe(t, b, pubsub.Filter{Subject: "s", Group: "g"})

		const sent = 30_000
		for seq := range uint64(sent) {
			publish(t, b, "s", seq)
			if seq%1000 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()

		require.Greater(t, len(quick.events), sent-10_000)
		for _, e := range quick.events {
			require.Nil(t, e.Gap)
		}
		close(slow)
	})
}

func TestASubscriptionCanBeClosedFromWithinDeliverAndIsNotCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := cluster(t, 1)[0].PubSub()
		var s pubsub.Subscription
		calls := 0
		ready := make(chan struct{})
		s, err := b.Subscribe(background, pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {
			<-ready
			calls++
			_ = s.Close()
			_ = s.Close()
		})
		require.NoError(t, err)
		publish(t, b, "s", 1)
		synctest.Wait()
		publish(t, b, "s", 2)
		close(ready)
		synctest.Wait()

		require.Equal(t, 1, calls)
		require.Zero(t, publish(t, b, "s", 3).Receivers)
		require.NoError(t, s.Close())
	})
}

func TestCloseReturnsOnlyWhenDeliverHasReturned(t *testing.T) {
	b := cluster(t, 1)[0].PubSub()
	for range 200 {
		closed := false
		inside := make(chan struct{}, 1000)
		s, err := b.Subscribe(background, pubsub.Filter{Subject: "s"}, func([]pubsub.Event) {
			if closed {
				panic("delivered after Close")
			}
			inside <- struct{}{}
		})
		require.NoError(t, err)
		publish(t, b, "s", 1)
		<-inside
		publish(t, b, "s", 2)
		require.NoError(t, s.Close())
		closed = true // the race detector tells if a deliver still reads it
	}
}

func TestPublishersKeepTheirOrderWhileSubscriptionsComeAndGo(t *testing.T) {
	pair := cluster(t, 2)
	const publishers, sent = 4, 500
	var mu sync.Mutex
	last := map[string]uint64{}
	disorder, done := []string{}, make(chan struct{})
	_, err := pair[0].PubSub().Subscribe(background, pubsub.Filter{Subject: ">"}, func(events []pubsub.Event) {
		mu.Lock()
		defer mu.Unlock()
		total := uint64(0)
		for _, e := range events {
			if e.Message.Seq != last[e.Message.Sender]+1 {
				disorder = append(disorder, fmt.Sprint(e.Message))
			}
			last[e.Message.Sender] = e.Message.Seq
		}
		for _, seq := range last {
			total += seq
		}
		if total == publishers*sent {
			close(done)
		}
	})
	require.NoError(t, err)
	var all sync.WaitGroup
	for p := range publishers {
		all.Go(func() {
			for seq := range uint64(sent) {
				_, _ = pair[p%2].PubSub().Publish(background, []pubsub.Message{{Subject: "s.x", Sender: fmt.Sprint(p), Seq: seq + 1}})
			}
		})
	}
	all.Go(func() {
		for range 100 {
			s, err := pair[1].PubSub().Subscribe(background, pubsub.Filter{Subject: "s.*", Group: "g"}, func([]pubsub.Event) {})
			if err == nil {
				_ = s.Close()
			}
		}
	})
	all.Wait()
	<-done

	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, disorder)
}
