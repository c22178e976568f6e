package postgres

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
)

const (
	maxMessage = 8 << 20
	maxSubject = 1024
	maxPublish = 1000
)

// bus is the pubsub.Driver of one node: Publish here, what comes in dispatch.go.
//
// At most once: what is published while a subscriber's link is down is lost to it, and a Gap says so.
type bus struct {
	t       *Transport
	origin  [8]byte // random: with a count it identifies a message
	stamped atomic.Uint64
	votes   *elections
	inbox   inbox

	undecodable, unfetched sparing

	mu      sync.Mutex
	literal map[string][]*subscription
	wild    []*subscription
	open    map[*subscription]struct{} // nil when closed
}

func newPubSub(t *Transport, silence time.Duration) (*bus, *pubsub.Backend) {
	b := &bus{t: t, literal: map[string][]*subscription{}, open: map[*subscription]struct{}{}}
	copy(b.origin[:], random(8))
	b.votes = newElections(b)
	b.inbox.init()
	return b, &pubsub.Backend{Driver: b, Capabilities: pubsub.Capabilities{
		MaxPayload:  maxMessage,
		MaxSubject:  maxSubject,
		MaxBatch:    maxPublish,
		Receivers:   false, // a server does not tell who listens
		ClusterWide: true,  // a commit is one for all sessions of the primary
		Silence:     silence,
	}}
}

func (b *bus) stamp() (id messageID) {
	copy(id[:], b.origin[:])
	binary.BigEndian.PutUint64(id[8:], b.stamped.Add(1))
	return id
}

func checkMessage(m *pubsub.Message) error {
	at := check{"pubsub: publish", cut(m.Subject, 64)}
	if err := checkSubject(m.Subject, maxSubject, false); err != nil {
		return at.refuse(fault.Invalid, "%w; a subject is tokens joined by dots, such as orders.eu.created", err)
	}
	return at.size("payload with headers", len(m.Payload)+headerSize(m.Headers), maxMessage, smallerPayload)
}

// Publish is one statement for all messages, or several where they are large together.
func (b *bus) Publish(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
	const op = "pubsub: publish"
	if err := b.t.ready(ctx, op, ""); err != nil {
		return nil, err
	}
	if err := (check{op: op}).batch(len(messages), maxPublish); err != nil {
		return nil, err
	}
	receipts := make([]pubsub.Receipt, len(messages))
	order := make([]int, 0, len(messages))
	for i := range messages {
		receipts[i] = pubsub.Receipt{Receivers: -1, Err: checkMessage(&messages[i])}
		if receipts[i].Err == nil {
			order = append(order, i)
		}
	}
	for part := range parts(order, func(i int) int { return len(messages[i].Payload) + headerSize(messages[i].Headers) + 128 }) {
		if err := b.publish(ctx, messages, part); err != nil {
			return nil, b.t.fault(err, op, "")
		}
	}
	return receipts, nil
}

func (b *bus) publish(ctx context.Context, messages []pubsub.Message, part []int) error {
	names, notes := make([]string, len(part)), make([]string, len(part))
	ids, frames := [][]byte{}, [][]byte{}
	var scratch []byte
	for n, i := range part {
		m := &messages[i]
		id := b.stamp()
		scratch = appendFrame(scratch[:0], id, m)
		var parcel bool
		names[n] = b.t.receiver.channels.of(m.Subject)
		if notes[n], parcel = note(scratch, id, m.Subject); parcel {
			ids, frames = append(ids, id[:]), append(frames, slices.Clone(scratch))
		}
	}
	return b.t.store.exec(ctx, "SELECT publish($1, $2, $3, $4, $5)", b.t.ns, names, notes, ids, frames)
}

// Subscribe returns when the server has confirmed that it will send what is published from now on.
func (b *bus) Subscribe(ctx context.Context, f pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	const op = "pubsub: subscribe"
	at := check{op, cut(f.Subject, 64)}
	if err := b.t.ready(ctx, op, f.Subject); err != nil {
		return nil, err
	}
	if deliver == nil {
		return nil, at.refuse(fault.Invalid, "the function to deliver to is nil; give one")
	}
	if err := checkSubject(f.Subject, maxSubject, true); err != nil {
		return nil, at.refuse(fault.Invalid, `%w; a filter is tokens joined by dots, "*" is one token, ">" the rest`, err)
	}
	if err := at.length("group's name", f.Group, maxSubject); err != nil {
		return nil, err
	}
	s := &subscription{bus: b, filter: f, box: mailbox{deliver: deliver}}
	if !b.admit(s) {
		return nil, b.t.fault(errClosed, op, f.Subject)
	}
	names := b.t.receiver.channels.matching(f.Subject)
	if err := b.t.receiver.listen(ctx, names, b, func() { b.inbox.put(arrival{live: s}) }); err != nil {
		_ = s.Close()
		return nil, b.t.fault(err, op, f.Subject)
	}
	return s, nil
}

// admit keeps a subscription for close; false after it.
func (b *bus) admit(s *subscription) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		return false
	}
	b.open[s] = struct{}{}
	b.inbox.start(b.dispatch)
	return true
}

// enlist has a subscription get messages from here on, unless it was closed.
func (b *bus) enlist(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, open := b.open[s]; !open {
		return
	}
	if isLiteral(s.filter.Subject) {
		b.literal[s.filter.Subject] = append(b.literal[s.filter.Subject], s)
	} else {
		b.wild = append(b.wild, s)
	}
	s.live = true
}

func (b *bus) forget(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, s)
	if !s.live {
		return
	}
	s.live = false
	isIt := func(other *subscription) bool { return other == s }
	if !isLiteral(s.filter.Subject) {
		b.wild = slices.DeleteFunc(b.wild, isIt)
	} else if left := slices.DeleteFunc(b.literal[s.filter.Subject], isIt); len(left) > 0 {
		b.literal[s.filter.Subject] = left
	} else {
		delete(b.literal, s.filter.Subject)
	}
}

// matching appends the subscriptions whose filters match.
func (b *bus) matching(subject string, found []*subscription) []*subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	found = append(found, b.literal[subject]...)
	for _, s := range b.wild {
		if matches(s.filter.Subject, subject) {
			found = append(found, s)
		}
	}
	return found
}

// close ends all subscriptions and what dispatches. A deliver that blocks is against the contract, and is not waited for
// longer than deliverPatience.
func (b *bus) close() {
	b.mu.Lock()
	open := b.open
	b.open = nil
	b.mu.Unlock()
	b.inbox.close()
	b.votes.close()
	for s := range open {
		s.box.shut()
	}
	if withinDeliver() {
		return
	}
	all := make(chan struct{})
	go func() {
		defer close(all)
		for s := range open {
			s.box.await()
		}
	}()
	timer := time.NewTimer(deliverPatience)
	defer timer.Stop()
	select {
	case <-all:
	case <-timer.C:
		b.t.log.Error("postgres: a subscription's deliver blocks; it was left behind by Close")
	}
}

const deliverPatience = 3 * time.Second

// subscription is a live pubsub.Subscription.
type subscription struct {
	bus     *bus
	filter  pubsub.Filter
	box     mailbox
	live    bool // it is in the bus's lists; guarded by bus.mu
	leaving bool // a group's member that is being closed; guarded by elections.mu
}

// Close ends it. A member of a group first delivers what it has won, because no other will get it.
func (s *subscription) Close() error {
	s.bus.forget(s)
	if s.filter.Group != "" {
		s.bus.votes.leave(s)
	}
	s.box.shut()
	s.box.await()
	return nil
}
