package rpc

import (
	"context"
	"io"

	"github.com/gobackplane/backplane/pubsub"
)

// prefix of the subjects that carry frames. Applications cannot publish to it: pubsub.PubSub refuses tokens that begin
// with "$".
const prefix = "$rpc."

// FromPubSub makes an RPC backend from any pub/sub backend: an address is a subject, a frame a message.
func FromPubSub(b *pubsub.Backend) *Backend {
	return &Backend{
		Driver: overPubSub{b},
		Capabilities: Capabilities{
			MaxFrame:   b.Capabilities.MaxPayload,
			NoReceiver: b.Capabilities.Receivers,
			Silence:    b.Capabilities.Silence,
		},
	}
}

type overPubSub struct{ bus *pubsub.Backend }

func (d overPubSub) Listen(ctx context.Context, address Address, deliver func([]Frame)) (io.Closer, error) {
	filter := pubsub.Filter{Subject: prefix + string(address)}
	return d.bus.Subscribe(ctx, filter, func(events []pubsub.Event) {
		frames := make([]Frame, len(events))
		for i, e := range events {
			if e.Gap != nil {
				frames[i] = Frame{To: address, Gap: true}
			} else {
				frames[i] = Frame{To: address, Payload: e.Message.Payload}
			}
		}
		deliver(frames)
	})
}

func (d overPubSub) Send(ctx context.Context, frames []Frame) ([]error, error) {
	messages := make([]pubsub.Message, len(frames))
	for i, f := range frames {
		messages[i] = pubsub.Message{Subject: prefix + string(f.To), Payload: f.Payload}
	}
	receipts, err := d.bus.Publish(ctx, messages)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(frames))
	for i, r := range receipts {
		switch {
		case r.Err != nil:
			errs[i] = r.Err
		case r.Receivers == 0 && d.bus.Capabilities.Receivers:
			errs[i] = noReceiver(frames[i].To)
		}
	}
	return errs, nil
}
