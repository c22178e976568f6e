package memory

import (
	"context"

	"github.com/gobackplane/backplane/pubsub"
)

// subscription is a live pubsub.Subscription.
type subscription struct {
	courier[pubsub.Event]
	node   *Transport
	filter pubsub.Filter
}

func (d *pubsubDriver) Subscribe(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	const op = "pubsub: subscribe"
	if err := d.node.ready(ctx, op, f.Subject); err != nil {
		return nil, err
	}
	if err := d.check.Filter(f, deliver); err != nil {
		return nil, err
	}
	s := &subscription{node: d.node, filter: f}
	s.deliver, s.overflow = deliver, gap
	s.capacity, s.bytes, s.weight = subscriptionCapacity, subscriptionBytes, eventWeight
	s.start()
	d.bus.add(s)
	if !d.node.keep(s) {
		_ = s.Close()
		return nil, closedFault(op, f.Subject)
	}
	return s, nil
}

func (b *bus) add(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscriptions.Add(s.filter.Subject, s)
	if name := s.filter.Group; name != "" {
		if b.groups[name] == nil {
			b.groups[name] = &group{}
		}
		b.groups[name].members++
	}
}

func (b *bus) remove(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.subscriptions.Remove(s.filter.Subject, s) {
		return // it was closed before
	}
	if g := b.groups[s.filter.Group]; g != nil {
		if g.members--; g.members == 0 {
			delete(b.groups, s.filter.Group)
		}
	}
}

// hand gives the subscription its own copy of a message.
func (s *subscription) hand(m *pubsub.Message) { s.send(pubsub.Event{Message: copied(m)}) }

func eventWeight(e pubsub.Event) int {
	if e.Message == nil {
		return 0
	}
	return weigh(e.Message)
}

// gap counts a message that found no room in the Gap at the end of what is held.
func gap(held []pubsub.Event, refused pubsub.Event) []pubsub.Event {
	if last := held[len(held)-1].Gap; last != nil {
		last.Lost++
		if last.Sender != refused.Message.Sender {
			last.Sender = ""
		}
		return held
	}
	return append(held, pubsub.Event{Gap: &pubsub.Gap{Cause: pubsub.Overflow, Sender: refused.Message.Sender, Lost: 1}})
}

// Close ends the subscription. What was not delivered yet is dropped.
func (s *subscription) Close() error {
	s.shut()
	s.node.drop(s)
	if done := s.ended(); done != nil {
		<-done
	}
	return nil
}

// shut also takes the subscription off the bus.
func (s *subscription) shut() {
	s.node.space.bus.remove(s)
	s.courier.shut()
}
