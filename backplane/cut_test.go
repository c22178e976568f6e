package backplane_test

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

// cut, while true, keeps everything on the bus from and to the nodes that were opened with "cuttable:NAME", which
// otherwise share a store with those of "memory:NAME".
var cut atomic.Bool

func init() {
	transports.Register("cuttable", func(ctx context.Context, s transports.Settings) (transports.Transport, error) {
		s.URL = strings.Replace(s.URL, "cuttable:", "memory:", 1)
		t, err := memory.Open(ctx, s)
		return cuttable{t}, err
	})
}

type cuttable struct{ *memory.Transport }

func (c cuttable) PubSub() *pubsub.Backend {
	b := *c.Transport.PubSub()
	b.Driver = cuttableBus{b.Driver}
	return &b
}

type cuttableBus struct{ pubsub.Driver }

func (b cuttableBus) Publish(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
	if cut.Load() {
		return nil, fault.New(fault.Unavailable, "the link is cut")
	}
	return b.Driver.Publish(ctx, messages)
}

func (b cuttableBus) Subscribe(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	return b.Driver.Subscribe(ctx, f, func(events []pubsub.Event) {
		if !cut.Load() {
			deliver(events)
		}
	})
}
