package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/internal/subject"
	"github.com/gobackplane/backplane/internal/wire"
	"github.com/gobackplane/backplane/pubsub"
)

// Pub/sub over PUBLISH. What it uses at the server:
//
//	bp:NS:ps:SUBJECT     channel  messages, as frames of internal/wire
//	bp:NS:sys:$SUBJECT   channel  those of subjects that begin with "$", which are the library's own
//	bp:NS:pg:…           string   which node won a message for a group, PX electionMemory   group.go
//
// A literal filter is a SUBSCRIBE. One with wildcards is a PSUBSCRIBE of its literal prefix, because a pattern's "*"
// crosses dots; what the filter does not match is dropped here. Each publish makes the server try every pattern, so
// filters with the same prefix share one. The library's own subjects have channels apart so that a "*" or ">" in the
// first place does not bring a node everybody's RPC, nor makes a dead node's inbox look alive.
//
// At most once: what is published while a subscriber's link is down is lost to it, and a Gap says so. Redis also cuts a
// subscriber that does not keep up, at 32 MiB of unsent output, or 8 MiB for 60 s (client-output-buffer-limit pubsub).
type bus struct {
	t        *Transport
	limits   limits.PubSub
	channels string
	reserved string
	groups   *elections
	complain complaint

	origin  [8]byte // random: with a count it identifies a message that has no sender
	stamped atomic.Uint64

	mu   sync.Mutex
	open map[*subscription]struct{}
}

const (
	maxMessage = 8 << 20 // a quarter of what makes Redis cut a subscriber
	maxSubject = 1024
	maxPublish = 10_000
)

func newPubSub(t *Transport) *pubsub.Backend {
	b := &bus{
		t:        t,
		channels: "bp:" + t.ns + ":ps:",
		reserved: "bp:" + t.ns + ":sys:",
		open:     map[*subscription]struct{}{},
	}
	b.limits = limits.PubSub{Transport: Kind, Capabilities: pubsub.Capabilities{
		MaxPayload:  maxMessage,
		MaxSubject:  maxSubject,
		MaxBatch:    maxPublish,
		Receivers:   true,
		ClusterWide: true,
		Silence:     t.receiver.silence,
	}}
	_, _ = rand.Read(b.origin[:]) // crypto/rand does not fail
	b.groups = newElections(b)
	t.closers = append(t.closers, b)
	return &pubsub.Backend{Driver: b, Capabilities: b.limits.Capabilities}
}

// channelsOf is the prefix of the channels of a subject or filter.
func (b *bus) channelsOf(s string) string {
	if s[0] == '$' {
		return b.reserved
	}
	return b.channels
}

// Publish sends all messages in one pipeline, which they may share with others.
func (b *bus) Publish(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
	if err := b.limits.Batch(len(messages)); err != nil {
		return nil, err
	}
	receipts := make([]pubsub.Receipt, len(messages))
	cmds := b.commands(ctx, messages, receipts)
	if len(cmds) == 0 {
		return receipts, b.closedOr(ctx)
	}
	if err := b.t.lane.do(ctx, cmds...); err != nil {
		return nil, b.t.fault(err, "pubsub: publish", subjectOf(messages))
	}
	next := 0
	for i := range receipts {
		if receipts[i].Err != nil {
			continue
		}
		count, err := cmds[next].(*redis.IntCmd).Result()
		next++
		receipts[i].Receivers = int(count)
		if err != nil {
			receipts[i] = pubsub.Receipt{Receivers: -1, Err: b.t.fault(err, "pubsub: publish", messages[i].Subject)}
		}
	}
	return receipts, nil
}

// commands makes one for each message that is right, and the receipts of the others.
func (b *bus) commands(ctx context.Context, messages []pubsub.Message, receipts []pubsub.Receipt) []redis.Cmder {
	cmds := make([]redis.Cmder, 0, len(messages))
	subject, channel := "", any(nil)
	for i := range messages {
		m := &messages[i]
		if err := b.limits.Message(m); err != nil {
			receipts[i] = pubsub.Receipt{Receivers: -1, Err: err}
			continue
		}
		if m.Subject != subject {
			subject, channel = m.Subject, b.channelsOf(m.Subject)+m.Subject
		}
		cmds = append(cmds, redis.NewIntCmd(ctx, "publish", channel, b.frame(m)))
	}
	return cmds
}

// closedOr is the fault of a call that has nothing to send.
func (b *bus) closedOr(ctx context.Context) error {
	if b.t.life.Err() != nil {
		return b.t.fault(errClosed, "pubsub: publish", "")
	}
	return b.t.fault(ctx.Err(), "pubsub: publish", "")
}

func subjectOf(messages []pubsub.Message) string {
	if len(messages) == 1 {
		return messages[0].Subject
	}
	return ""
}

// frame is what is published. A message that has no number of its sender's gets an identity of its own, for the elections
// of groups.
func (b *bus) frame(m *pubsub.Message) []byte {
	w := wire.Message{Payload: m.Payload, Headers: m.Headers, Sender: m.Sender, Seq: m.Seq, SubjectSeq: m.SubjectSeq}
	if m.Sender == "" || m.Seq == 0 {
		copy(w.ID[:8], b.origin[:])
		binary.BigEndian.PutUint64(w.ID[8:], b.stamped.Add(1))
	}
	return wire.AppendMessage(make([]byte, 0, wire.MessageSize(&w)), &w)
}

// read is the inverse of frame. What cannot be read was published by something else, or by a newer node.
func (b *bus) read(subject, frame string) (*pubsub.Message, wire.MessageID, bool) {
	w, err := wire.ReadMessage(frame)
	if err != nil {
		b.undecodable(subject, err)
		return nil, w.ID, false
	}
	return &pubsub.Message{
		Subject: subject, Payload: w.Payload, Headers: w.Headers, Sender: w.Sender, Seq: w.Seq, SubjectSeq: w.SubjectSeq,
	}, w.ID, true
}

// Subscribe returns when the server has confirmed it.
func (b *bus) Subscribe(ctx context.Context, filter pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	if err := b.limits.Filter(filter, deliver); err != nil {
		return nil, err
	}
	s := &subscription{bus: b, filter: filter}
	s.box = mailbox{deliver: deliver, open: func(l letter) (*pubsub.Message, bool) {
		m, _, ok := b.read(l.subject, l.frame)
		return m, ok
	}}
	receive := s.receive
	if filter.Group != "" {
		receive = b.groups.listener(s)
	}
	cancel, err := b.listen(ctx, filter.Subject, receive)
	if err != nil {
		return nil, b.t.fault(err, "pubsub: subscribe", filter.Subject)
	}
	s.cancel = cancel
	if !b.admit(s) {
		cancel()
		return nil, b.t.fault(errClosed, "pubsub: subscribe", filter.Subject)
	}
	if filter.Group != "" {
		b.groups.join(s)
	}
	return s, nil
}

func (b *bus) listen(ctx context.Context, filter string, deliver func(subject, payload string, gap bool)) (func(), error) {
	channels := b.channelsOf(filter)
	if !subject.IsLiteral(filter) {
		return b.t.receiver.psubscribe(ctx, channels, filter, deliver)
	}
	return b.t.receiver.subscribe(ctx, channels+filter, func(payload string, gap bool) { deliver(filter, payload, gap) })
}

// admit keeps a subscription for close; false after it.
func (b *bus) admit(s *subscription) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		return false
	}
	b.open[s] = struct{}{}
	return true
}

func (b *bus) forget(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, s)
}

// close ends all subscriptions, and waits for what delivers, unless it is called from there. A deliver that blocks is
// against the contract, and is not waited for longer than closePatience.
func (b *bus) close() {
	b.mu.Lock()
	open := b.open
	b.open = nil
	b.mu.Unlock()
	b.groups.close()
	if withinDeliver() {
		for s := range open {
			_ = s.Close()
		}
		return
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for s := range open {
			_ = s.Close()
		}
	}()
	select {
	case <-closed:
	case <-time.After(closePatience):
		b.t.log.Error("redis: a subscription's deliver blocks; it was left behind by Close")
	}
}

const closePatience = 3 * time.Second

func (b *bus) undecodable(subject string, err error) {
	if n := b.complain.due(time.Now()); n > 0 {
		b.t.log.Error("redis: messages dropped: they cannot be decoded", "subject", subject, "error", err, "messages", n)
	}
}

// complaint bounds how often the same thing is logged, and counts it. The zero value is ready.
type complaint struct {
	mu    sync.Mutex
	all   int
	count int // since last
	last  time.Time
}

const complaintEvery = 10 * time.Second

// due counts one, and gives the number to log now: all since the last time, or 0.
func (c *complaint) due(now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all++
	c.count++
	if now.Sub(c.last) < complaintEvery {
		return 0
	}
	n := c.count
	c.count, c.last = 0, now
	return n
}

func (c *complaint) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// subscription is a live subscription.
type subscription struct {
	bus    *bus
	filter pubsub.Filter
	cancel func()
	box    mailbox

	leaving bool // a group's member that is being closed; guarded by elections.mu
}

// receive is called by the reader.
func (s *subscription) receive(subject, frame string, gap bool) {
	l := letter{subject: subject, frame: frame}
	if gap {
		l.gap = reconnected()
	}
	s.box.post(l)
}

func reconnected() *pubsub.Gap { return &pubsub.Gap{Cause: pubsub.Reconnected, Lost: pubsub.Unknown} }

// Close ends it. A member of a group first delivers what it has won, because no other will get it.
func (s *subscription) Close() error {
	s.cancel()
	if s.filter.Group != "" {
		s.bus.groups.leave(s)
	}
	s.box.close()
	s.bus.forget(s)
	return nil
}
