package plugin

import (
	"context"
	"io"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// pubsubDriver is a plugin's pub/sub, with the checks of [cacheDriver].
type pubsubDriver struct {
	node  *node
	check limits.PubSub
}

func (n *node) pubsubBackend() *pubsub.Backend {
	if n.offer.PubSub == nil {
		return nil
	}
	d := &pubsubDriver{node: n, check: limits.PubSub{Transport: Kind, Capabilities: *n.offer.PubSub}}
	return &pubsub.Backend{Driver: d, Capabilities: *n.offer.PubSub}
}

var publishMessages = batch[pubsub.Message, pubsub.Receipt, pb.Message, pb.Published]{
	lane: busLane, op: "pubsub: publish", to: translate.ToMessage, from: translate.FromPublished,
	ask: func(m []*pb.Message, r *pb.Request) {
		r.Call = &pb.Request_PublishMessages{PublishMessages: &pb.PublishMessages{Messages: m}}
	},
	answers: func(a *pb.Answer) []*pb.Published { return a.GetPublishMessages().GetResults() },
	errOf:   func(r *pubsub.Receipt) *error { return &r.Err },
}

func (d *pubsubDriver) Publish(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
	if len(messages) > d.check.MaxBatch {
		if _, err := d.node.ready(ctx, publishMessages.op, ""); err != nil {
			return nil, err
		}
		return nil, d.check.Batch(len(messages))
	}
	return publishMessages.call(ctx, d.node, messages, d.check.Message, how{})
}

func (d *pubsubDriver) Subscribe(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	const op = "pubsub: subscribe"
	if _, err := d.node.ready(ctx, op, f.Subject); err != nil {
		return nil, err
	}
	if err := d.check.Filter(f, deliver); err != nil {
		return nil, err
	}
	s := newSubscription(d.node, f, deliver)
	if err := s.open(ctx, op, f.Subject); err != nil {
		return nil, err
	}
	return s, nil
}

// rpcDriver is a plugin's own RPC.
type rpcDriver struct{ node *node }

func (n *node) rpcBackend() *rpc.Backend {
	if n.offer.RPC == nil {
		return nil
	}
	return &rpc.Backend{Driver: &rpcDriver{n}, Capabilities: *n.offer.RPC}
}

var sendFrames = batch[rpc.Frame, error, pb.Frame, pb.Done]{
	lane: busLane, op: "rpc: send", to: translate.ToFrame, from: translate.FromDone,
	ask: func(m []*pb.Frame, r *pb.Request) {
		r.Call = &pb.Request_SendFrames{SendFrames: &pb.SendFrames{Frames: m}}
	},
	answers: func(a *pb.Answer) []*pb.Done { return a.GetSendFrames().GetResults() },
	errOf:   itself,
}

func (d *rpcDriver) Send(ctx context.Context, frames []rpc.Frame) ([]error, error) {
	return sendFrames.call(ctx, d.node, frames, func(f *rpc.Frame) error {
		most := d.node.offer.RPC.MaxFrame
		if len(f.Payload) <= most {
			return nil
		}
		return &fault.Error{Code: fault.TooLarge, Op: sendFrames.op, Subject: string(f.To), Transport: Kind,
			Message: fault.New(fault.TooLarge, "the frame has %d bytes, %d are allowed; send it in parts", len(f.Payload), most).Message}
	}, how{})
}

func (d *rpcDriver) Listen(ctx context.Context, address rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
	l := newListener(d.node, address, deliver)
	if err := l.open(ctx, "rpc: listen", string(address)); err != nil {
		return nil, err
	}
	return l, nil
}
