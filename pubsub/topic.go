package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"iter"

	"github.com/gobackplane/backplane/fault"
)

// Codec turns values of one type into bytes and back. It must be safe for concurrent use.
type Codec[T any] interface {
	Encode(value T) ([]byte, error)
	Decode(data []byte) (T, error) // must not retain data
}

// JSON is the codec of encoding/json.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(value T) ([]byte, error) { return json.Marshal(value) }

func (jsonCodec[T]) Decode(data []byte) (value T, err error) {
	err = json.Unmarshal(data, &value)
	return value, err
}

// Topic is a subject whose messages have a type. It is a plain value, meant to be declared once and shared:
//
//	var created = pubsub.NewTopic[Order]("orders.created")
//
//	_, err := created.Publish(ctx, bus, order)
//	stream, err := created.Subscribe(ctx, bus)
//
// A topic of a filter with wildcards can only be subscribed to.
type Topic[T any] struct {
	subject string
	codec   Codec[T]
}

// NewTopic makes a topic whose values travel as JSON.
func NewTopic[T any](subject string) Topic[T] { return Topic[T]{subject: subject, codec: JSON[T]()} }

// WithCodec is the same topic with another codec, which must not be nil.
func (t Topic[T]) WithCodec(c Codec[T]) Topic[T] {
	t.codec = c
	return t
}

// Subject is the topic's subject or filter.
func (t Topic[T]) Subject() string { return t.subject }

// Publish sends a value. One that cannot be encoded is Invalid, and nothing is sent.
func (t Topic[T]) Publish(ctx context.Context, bus *PubSub, value T) (Receipt, error) {
	receipts, err := t.PublishMany(ctx, bus, []T{value})
	if err != nil {
		return Receipt{Receivers: -1, Err: err}, err
	}
	return receipts[0], receipts[0].Err
}

// PublishMany sends values in one batch, in order, and answers a receipt for each.
func (t Topic[T]) PublishMany(ctx context.Context, bus *PubSub, values []T) ([]Receipt, error) {
	receipts := make([]Receipt, len(values))
	messages := make([]Message, 0, len(values))
	places := make([]int, 0, len(values))
	for i, v := range values {
		payload, err := t.codec.Encode(v)
		if err != nil {
			err = &fault.Error{Code: fault.Invalid, Op: opPublish, Subject: t.subject, Message: "the value cannot be encoded", Err: err}
			receipts[i] = Receipt{Receivers: -1, Err: err}
			continue
		}
		messages, places = append(messages, Message{Subject: t.subject, Payload: payload}), append(places, i)
	}
	answers, err := bus.PublishMany(ctx, messages)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		receipts[place] = answers[i]
	}
	return receipts, nil
}

// Subscribe is [PubSub.Subscribe] to the topic.
func (t Topic[T]) Subscribe(ctx context.Context, bus *PubSub, options ...SubscribeOption) (*TopicStream[T], error) {
	s, err := bus.Subscribe(ctx, t.subject, options...)
	if err != nil {
		return nil, err
	}
	return &TopicStream[T]{Stream: s, codec: t.codec}, nil
}

// SubscribeFunc is [PubSub.SubscribeFunc] to the topic.
func (t Topic[T]) SubscribeFunc(ctx context.Context, bus *PubSub, handle func(context.Context, TopicEvent[T]), options ...SubscribeOption) (*Stream, error) {
	var each func(context.Context, Event)
	if handle != nil {
		each = func(ctx context.Context, e Event) { handle(ctx, decode(t.codec, e)) }
	}
	return bus.SubscribeFunc(ctx, t.subject, each, options...)
}

// TopicEvent is an Event with its value.
type TopicEvent[T any] struct {
	Event
	Value T     // of a message, if Err is nil
	Err   error // Corrupt: the message's payload cannot be decoded
}

func decode[T any](codec Codec[T], e Event) TopicEvent[T] {
	typed := TopicEvent[T]{Event: e}
	if e.Message == nil {
		return typed
	}
	var err error
	if typed.Value, err = codec.Decode(e.Message.Payload); err != nil {
		typed.Err = &fault.Error{Code: fault.Corrupt, Op: opNext, Subject: e.Message.Subject, Message: "the payload cannot be decoded", Err: err}
	}
	return typed
}

// TopicStream is a Stream of typed events.
type TopicStream[T any] struct {
	*Stream
	codec Codec[T]
}

// Next is [Stream.Next]. A payload that cannot be decoded is no error of it: the event says so, and the stream goes on.
func (s *TopicStream[T]) Next(ctx context.Context) (TopicEvent[T], error) {
	e, err := s.Stream.Next(ctx)
	if err != nil {
		return TopicEvent[T]{}, err
	}
	return decode(s.codec, e), nil
}

// All is [Stream.All].
func (s *TopicStream[T]) All(ctx context.Context) iter.Seq2[TopicEvent[T], error] {
	return func(yield func(TopicEvent[T], error) bool) {
		for {
			e, err := s.Next(ctx)
			if errors.Is(err, fault.Closed) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
