package saboteurs

import (
	"context"
	"slices"

	"github.com/gobackplane/backplane/pubsub"
)

func pubsubSaboteurs() []Saboteur {
	return slices.Concat(matchSaboteurs(), messageSaboteurs(), subscriptionSaboteurs(), groupSaboteurs())
}

// bus is a pub/sub driver with single methods replaced; nil is the honest one.
type bus struct {
	pubsub.Driver
	publish   func(context.Context, []pubsub.Message) ([]pubsub.Receipt, error)
	subscribe func(context.Context, pubsub.Filter, func([]pubsub.Event)) (pubsub.Subscription, error)
}

// broadcasting makes a saboteur's function from one that replaces methods of every node, which it is given with the
// node's number. The RPC that is made from pub/sub stays honest.
func broadcasting(f func(node int, honest pubsub.Backend, b *bus)) func(*sabotaged) {
	return func(s *sabotaged) {
		nodes := &counter{}
		s.pubsub = func(b *pubsub.Backend) {
			d := &bus{Driver: b.Driver}
			f(nodes.next(), *b, d)
			b.Driver = d
		}
	}
}

func (b *bus) Publish(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
	if b.publish != nil {
		return b.publish(ctx, messages)
	}
	return b.Driver.Publish(ctx, messages)
}

func (b *bus) Subscribe(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	if b.subscribe != nil && deliver != nil {
		return b.subscribe(ctx, f, deliver)
	}
	return b.Driver.Subscribe(ctx, f, deliver)
}

// changingMessages sabotages what is published.
func changingMessages(change func(*pubsub.Message)) func(*sabotaged) {
	return broadcasting(func(_ int, honest pubsub.Backend, b *bus) {
		b.publish = func(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
			return honest.Publish(ctx, altered(messages, change))
		}
	})
}

// changingFilters sabotages what is subscribed to.
func changingFilters(change func(node int, f *pubsub.Filter)) func(*sabotaged) {
	return broadcasting(func(node int, honest pubsub.Backend, b *bus) {
		b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
			change(node, &f)
			return honest.Subscribe(ctx, f, deliver)
		}
	})
}

// changingDelivery sabotages what is delivered. made is called for every subscription, and gives what is done to its
// events; it is not called concurrently with itself.
func changingDelivery(made func(node int, f pubsub.Filter) func([]pubsub.Event) []pubsub.Event) func(*sabotaged) {
	return broadcasting(func(node int, honest pubsub.Backend, b *bus) {
		b.subscribe = func(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
			change := made(node, f)
			return honest.Subscribe(ctx, f, func(events []pubsub.Event) {
				if events = change(events); len(events) > 0 {
					deliver(events)
				}
			})
		}
	})
}

// subscription is one whose Close is replaced.
type subscription func() error

func (s subscription) Close() error { return s() }
