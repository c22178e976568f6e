package pubsub

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// loopback is a driver with one subscription, which hears everything.
type loopback struct{ deliver func([]Event) }

func (l *loopback) Publish(_ context.Context, messages []Message) ([]Receipt, error) {
	for i := range messages {
		l.deliver([]Event{{Message: &messages[i]}})
	}
	return make([]Receipt, len(messages)), nil
}

func (l *loopback) Subscribe(_ context.Context, _ Filter, deliver func([]Event)) (Subscription, error) {
	l.deliver = deliver
	return l, nil
}

func (l *loopback) Close() error { return nil }

// stamp is a seal in name only.
type stamp string

func (s stamp) seal(m *Message) error {
	m.Payload = append([]byte(s), m.Payload...)
	return nil
}

func (s stamp) open(m *Message) error {
	payload, ours := bytes.CutPrefix(m.Payload, []byte(s))
	if !ours {
		return errors.New("not sealed by us")
	}
	m.Payload = payload
	return nil
}

func TestSealedPayloadsAreOpenedAndOthersRefused(t *testing.T) {
	l := &loopback{}
	bus := New(&Backend{Driver: l, Capabilities: Capabilities{MaxPayload: 10, MaxSubject: 10, MaxBatch: 10}}, Options{})
	defer bus.Close()
	bus.seal = stamp("key:")
	s, err := bus.Subscribe(t.Context(), "a")
	require.NoError(t, err)

	l.deliver([]Event{{Message: &Message{Subject: "a", Payload: []byte("forged")}}})
	_, err = bus.Publish(t.Context(), "a", []byte("1234567"))
	require.ErrorContains(t, err, "11 bytes, 10 are allowed")
	_, err = bus.Publish(t.Context(), "a", []byte("123456"))
	require.NoError(t, err)

	e, err := s.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, "123456", string(e.Message.Payload))
	require.EqualValues(t, 1, s.Stats().Refused)
}
