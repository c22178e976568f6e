package memory

import (
	"bytes"
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/internal/subject"
	"github.com/gobackplane/backplane/pubsub"
)

var pubsubCapabilities = pubsub.Capabilities{
	MaxPayload:  1 << 20,
	MaxSubject:  1 << 10,
	MaxBatch:    10_000,
	Receivers:   true,
	ClusterWide: true,
}

// What a subscription holds for a deliver that is slower than the publishers. Beyond it messages are lost, and a Gap
// says how many.
const (
	subscriptionCapacity = 8192
	subscriptionBytes    = 64 << 20
)

// bus is what connects publishers and subscriptions of a namespace.
type bus struct {
	// mu is held for reading while a message is handed to subscriptions, so that one which is closed was either chosen
	// before or is not found.
	mu            sync.RWMutex
	subscriptions subject.Trie[*subscription]
	groups        map[string]*group
}

// group is what is known of the members with one name.
type group struct {
	members int
	turn    atomic.Uint64 // whose turn it is
}

func newBus() *bus { return &bus{groups: map[string]*group{}} }

func (t *Transport) pubsubBackend() *pubsub.Backend {
	return &pubsub.Backend{
		Driver: &pubsubDriver{
			node: t, bus: t.space.bus,
			check: limits.PubSub{Transport: Kind, Capabilities: pubsubCapabilities},
		},
		Capabilities: pubsubCapabilities,
	}
}

// pubsubDriver is one node's pubsub.Driver.
type pubsubDriver struct {
	node  *Transport
	bus   *bus
	check limits.PubSub
}

func (d *pubsubDriver) Publish(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
	if err := d.node.ready(ctx, "pubsub: publish", ""); err != nil {
		return nil, err
	}
	if err := d.check.Batch(len(messages)); err != nil {
		return nil, err
	}
	receipts := make([]pubsub.Receipt, len(messages))
	var matching []*subscription
	for i := range messages {
		m := &messages[i]
		if receipts[i].Err = d.check.Message(m); receipts[i].Err == nil {
			matching, receipts[i].Receivers = d.bus.publish(m, matching[:0])
		}
	}
	return receipts, nil
}

// publish hands a message to the subscriptions that are to have it, and counts them. matching is scratch space.
func (b *bus) publish(m *pubsub.Message, matching []*subscription) ([]*subscription, int) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	matching = b.subscriptions.Match(m.Subject, matching)
	var members map[string][]*subscription
	receivers := 0
	for _, s := range matching {
		if name := s.filter.Group; name != "" {
			if members == nil {
				members = map[string][]*subscription{}
			}
			members[name] = append(members[name], s)
			continue
		}
		s.hand(m)
		receivers++
	}
	for name, of := range members {
		b.groups[name].next(of, weigh(m)).hand(m)
		receivers++
	}
	return matching, receivers
}

// next chooses the member whose turn it is, passing over those that are full while others are not.
func (g *group) next(members []*subscription, weight int) *subscription {
	turn := g.turn.Add(1) - 1
	for i := range uint64(len(members)) {
		if m := members[(turn+i)%uint64(len(members))]; m.hasRoom(weight) {
			return m
		}
	}
	return members[turn%uint64(len(members))]
}

// weigh is what a message counts in a buffer's bytes.
func weigh(m *pubsub.Message) int { return len(m.Payload) + limits.HeaderSize(m.Headers) }

// copied is a message that shares nothing with the publisher's.
func copied(m *pubsub.Message) *pubsub.Message {
	own := *m
	own.Payload = bytes.Clone(m.Payload)
	own.Headers = maps.Clone(m.Headers)
	return &own
}
