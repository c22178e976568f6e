package pubsub_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// overMemory gives a bus to each of n nodes on one memory store.
func overMemory(t *testing.T, n int, o ...pubsub.Options) []*pubsub.PubSub {
	t.Helper()
	buses := make([]*pubsub.PubSub, n)
	for i := range buses {
		tr, err := memory.Open(t.Context(), transports.Settings{Kind: memory.Kind, URL: "memory:" + t.Name(), Namespace: "test"})
		require.NoError(t, err)
		var options pubsub.Options
		if len(o) > 0 {
			options = o[0]
		}
		buses[i] = pubsub.New(tr.PubSub(), options)
		t.Cleanup(func() {
			_ = buses[i].Close()
			_ = tr.Close()
		})
	}
	return buses
}

// script is a driver of which a test plays the transport: it sees what is published, and delivers what it likes.
type script struct {
	publish func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error)

	mu        sync.Mutex
	published []pubsub.Message
	deliver   []func([]pubsub.Event)
	closed    int
}

func scripted(t *testing.T, d *script, o ...pubsub.Options) *pubsub.PubSub {
	t.Helper()
	var options pubsub.Options
	if len(o) > 0 {
		options = o[0]
	}
	bus := pubsub.New(&pubsub.Backend{Driver: d, Capabilities: pubsub.Capabilities{
		MaxPayload: 1 << 16, MaxSubject: 512, MaxBatch: 1000,
	}}, options)
	t.Cleanup(func() { _ = bus.Close() })
	return bus
}

func (d *script) Publish(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
	d.mu.Lock()
	d.published = append(d.published, messages...)
	d.mu.Unlock()
	if d.publish != nil {
		return d.publish(ctx, messages)
	}
	return make([]pubsub.Receipt, len(messages)), nil
}

func (d *script) wire() []pubsub.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.published)
}

func (d *script) Subscribe(ctx context.Context, _ pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.FromContext(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deliver = append(d.deliver, deliver)
	return d, nil
}

func (d *script) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed++
	return nil
}

// send delivers events to the only subscription.
func (d *script) send(events ...pubsub.Event) {
	d.mu.Lock()
	deliver := d.deliver[0]
	d.mu.Unlock()
	deliver(events)
}

// from is a message of a sender, with its numbers.
func from(sender string, seq, subjectSeq uint64) pubsub.Event {
	return on("s", sender, seq, subjectSeq)
}

func on(subject, sender string, seq, subjectSeq uint64) pubsub.Event {
	return pubsub.Event{Message: &pubsub.Message{Subject: subject, Sender: sender, Seq: seq, SubjectSeq: subjectSeq, Payload: []byte{byte(seq)}}}
}

func gap(cause pubsub.Cause, sender string, lost int) pubsub.Event {
	return pubsub.Event{Gap: &pubsub.Gap{Cause: cause, Sender: sender, Lost: lost}}
}

func reconnect() pubsub.Event { return gap(pubsub.Reconnected, "", pubsub.Unknown) }

func subscribe(t *testing.T, bus *pubsub.PubSub, filter string, options ...pubsub.SubscribeOption) *pubsub.Stream {
	t.Helper()
	s, err := bus.Subscribe(t.Context(), filter, options...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// waiting reads all events that are there, without waiting for more.
func waiting(t *testing.T, s *pubsub.Stream) []pubsub.Event {
	t.Helper()
	var events []pubsub.Event
	for s.Stats().Buffered > 0 {
		e, err := s.Next(t.Context())
		require.NoError(t, err)
		events = append(events, e)
	}
	return events
}

// next reads n events.
func next(t *testing.T, s *pubsub.Stream, n int) []pubsub.Event {
	t.Helper()
	events := make([]pubsub.Event, n)
	for i := range events {
		var err error
		events[i], err = s.Next(t.Context())
		require.NoError(t, err)
	}
	return events
}
