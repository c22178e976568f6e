package pubsub_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

type order struct {
	ID    int
	Total float64
}

func TestATopicCarriesValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1)[0]
		created := pubsub.NewTopic[order]("orders.created")
		s, err := created.Subscribe(t.Context(), bus)
		require.NoError(t, err)
		var handled []order
		h, err := pubsub.NewTopic[order]("orders.*").SubscribeFunc(t.Context(), bus, func(_ context.Context, e pubsub.TopicEvent[order]) {
			handled = append(handled, e.Value)
		})
		require.NoError(t, err)

		receipt, err := created.Publish(t.Context(), bus, order{1, 9.5})
		require.NoError(t, err)
		require.Equal(t, 2, receipt.Receivers)
		_, err = created.PublishMany(t.Context(), bus, []order{{2, 1}, {3, 2}})
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, h.Close())

		for i := range 3 {
			e, err := s.Next(t.Context())
			require.NoError(t, err)
			require.NoError(t, e.Err)
			require.Equal(t, i+1, e.Value.ID)
			require.Equal(t, "orders.created", e.Message.Subject)
		}
		require.Equal(t, []order{{1, 9.5}, {2, 1}, {3, 2}}, handled)
		require.NoError(t, s.Close())
	})
}

func TestAPayloadThatCannotBeDecodedDoesNotEndATopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1)[0]
		topic := pubsub.NewTopic[order]("o")
		s, err := topic.Subscribe(t.Context(), bus)
		require.NoError(t, err)

		_, err = bus.Publish(t.Context(), "o", []byte("{"))
		require.NoError(t, err)
		_, err = topic.Publish(t.Context(), bus, order{ID: 7})
		require.NoError(t, err)

		n := 0
		for e, err := range s.All(t.Context()) {
			require.NoError(t, err)
			if n++; n == 1 {
				require.ErrorIs(t, e.Err, fault.Corrupt)
				continue
			}
			require.Equal(t, 7, e.Value.ID)
			break
		}
		require.NoError(t, s.Close())
	})
}

type shout struct{}

func (shout) Encode(s string) ([]byte, error) {
	if s == "" {
		return nil, errors.New("nothing to shout")
	}
	return []byte(strings.ToUpper(s)), nil
}

func (shout) Decode(data []byte) (string, error) { return string(data), nil }

func TestATopicHasTheCodecItWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := overMemory(t, 1)[0]
		topic := pubsub.NewTopic[string]("t").WithCodec(shout{})
		s, err := topic.Subscribe(t.Context(), bus)
		require.NoError(t, err)

		receipts, err := topic.PublishMany(t.Context(), bus, []string{"a", "", "b"})

		require.NoError(t, err)
		require.ErrorIs(t, receipts[1].Err, fault.Invalid)
		for _, want := range []string{"A", "B"} {
			e, err := s.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, e.Value)
		}
		require.NoError(t, s.Close())
	})
}
