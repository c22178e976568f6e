package memory_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

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
