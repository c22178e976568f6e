package nats

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/internal/wire"
	"github.com/gobackplane/backplane/pubsub"
)

// Pub/sub over core NATS. Its subjects:
//
//	bp.NS.ps.SUBJECT     messages, as frames of internal/wire
//	bp.NS.sys.$SUBJECT   those of subjects that begin with "$", which are the library's own: a filter that begins with a
//	                     wildcard must not match them
//
// Wildcards are those of NATS. A group is a queue group: the server chooses one of all matching subscriptions with the
// same group's name, whatever their filters.
//
// Publish hands messages to the link and does not wait: it costs what a publish of nats.go costs. When the link is known
// to be down it answers Unavailable; what was handed over just before is lost, at most once as it says.
type bus struct {
	core     *core
	limits   limits.PubSub
	subjects string
	reserved string
	intake   *intake
	complain complaint
	frames   sync.Pool // of *[]byte, emptied frames

	mu   sync.Mutex
	open map[*subscription]struct{} // nil after close
}

const (
	maxSubject    = 1024
	maxPublish    = 10_000
	frameReserve  = 8 << 10 // what a frame has beside payload and headers: a number's length per header, the sender, …
	leastPayload  = 64 << 10
	closePatience = 3 * time.Second
	leavePatience = 2 * time.Second
	longestSpare  = 64 << 10 // larger frames are not kept for the next message
)

func newPubSub(c *core) (*pubsub.Backend, closer, error) {
	room := int(c.nc.MaxPayload()) - frameReserve
	if room < leastPayload {
		return nil, nil, fault.New(fault.Invalid, "the server allows payloads of %d bytes; raise its max_payload to at least %d",
			c.nc.MaxPayload(), leastPayload+frameReserve)
	}
	b := &bus{
		core:     c,
		subjects: "bp." + c.ns + ".ps.",
		reserved: "bp." + c.ns + ".sys.",
		open:     map[*subscription]struct{}{},
	}
	b.frames.New = func() any { return new([]byte) }
	b.limits = limits.PubSub{Transport: Kind, Capabilities: pubsub.Capabilities{
		MaxPayload: room,
		MaxSubject: maxSubject,
		MaxBatch:   maxPublish,
		// A server alone has all subscriptions; of several, the others hear of one a moment later.
		ClusterWide: c.nc.ConnectedClusterName() == "",
		Silence:     c.silence,
	}}
	b.intake = newIntake(c, arrivedSize)
	if c.link != nil {
		throttle := b.intake.throttle
		c.link.hold.Store(&throttle)
	}
	return &pubsub.Backend{Driver: b, Capabilities: b.limits.Capabilities, Hand: b.hand}, b, nil
}

// prefixOf is what stands before a subject or filter.
func (b *bus) prefixOf(s string) string {
	if s[0] == '$' {
		return b.reserved
	}
	return b.subjects
}

// Publish hands messages to the link.
func (b *bus) Publish(ctx context.Context, messages []pubsub.Message) ([]pubsub.Receipt, error) {
	const op = "pubsub: publish"
	if err := b.limits.Batch(len(messages)); err != nil {
		return nil, err
	}
	if err := b.core.usable(ctx); err != nil {
		return nil, b.core.fault(err, op, subjectOf(messages))
	}
	receipts := make([]pubsub.Receipt, len(messages))
	buffer := b.frames.Get().(*[]byte)
	subject, full := "", ""
	sent := false
	for i := range messages {
		m := &messages[i]
		receipts[i].Receivers = -1
		if err := b.limits.Message(m); err != nil {
			receipts[i].Err = err
			continue
		}
		if m.Subject != subject {
			subject, full = m.Subject, b.prefixOf(m.Subject)+m.Subject
		}
		w := wire.Message{Payload: m.Payload, Headers: m.Headers, Sender: m.Sender, Seq: m.Seq, SubjectSeq: m.SubjectSeq}
		*buffer = wire.AppendMessage((*buffer)[:0], &w)
		err := b.core.nc.Publish(full, *buffer) // which copies it
		if err == nil {
			sent = true
			continue
		}
		err = b.core.fault(err, op, m.Subject)
		if !sent && fault.CodeOf(err) == fault.Unavailable {
			return nil, err // nothing was handed over, so the call can be made again
		}
		receipts[i].Err = err
	}
	if cap(*buffer) <= longestSpare {
		b.frames.Put(buffer)
	}
	return receipts, nil
}

// hand makes a function that does what Publish does for one message, with a buffer of its own.
func (b *bus) hand() func(*pubsub.Message) error {
	var buffer []byte
	subject, full := "", ""
	return func(m *pubsub.Message) error {
		if b.core.life.Err() != nil {
			return b.core.fault(errClosed, "pubsub: publish", m.Subject)
		}
		if m.Subject != subject {
			subject, full = m.Subject, b.prefixOf(m.Subject)+m.Subject
		}
		w := wire.Message{Payload: m.Payload, Headers: m.Headers, Sender: m.Sender, Seq: m.Seq, SubjectSeq: m.SubjectSeq}
		buffer = wire.AppendMessage(buffer[:0], &w)
		err := b.core.nc.Publish(full, buffer) // which copies it
		if cap(buffer) > longestSpare {
			buffer = nil
		}
		return b.core.fault(err, "pubsub: publish", m.Subject)
	}
}

func subjectOf(messages []pubsub.Message) string {
	if len(messages) == 1 {
		return messages[0].Subject
	}
	return ""
}

// Subscribe returns when the server has confirmed it.
func (b *bus) Subscribe(ctx context.Context, filter pubsub.Filter, deliver func([]pubsub.Event)) (pubsub.Subscription, error) {
	const op = "pubsub: subscribe"
	if err := b.limits.Filter(filter, deliver); err != nil {
		return nil, err
	}
	if err := b.core.usable(ctx); err != nil {
		return nil, b.core.fault(err, op, filter.Subject)
	}
	prefix := b.prefixOf(filter.Subject)
	s := &subscription{bus: b, group: filter.Group != "", prefix: len(prefix), closed: make(chan struct{})}
	s.box.deliver, s.box.open = deliver, s.read
	if !b.admit(s) {
		return nil, b.core.fault(errClosed, op, filter.Subject)
	}
	at, err := b.intake.listen(prefix+filter.Subject, groupName(filter.Group), &s.box)
	if err == nil {
		s.at = at
		err = b.core.confirm(ctx, prefix+filter.Subject)
	}
	if err != nil {
		s.abandon()
		return nil, b.core.fault(err, op, filter.Subject)
	}
	return s, nil
}

// groupName makes a queue group's name of a group's: those of NATS have no white space.
func groupName(group string) string {
	if group == "" {
		return ""
	}
	const hexed = "0123456789ABCDEF"
	name := []byte("g-")
	for i := range len(group) {
		c := group[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			name = append(name, c)
		} else {
			name = append(name, '=', hexed[c>>4], hexed[c&15])
		}
	}
	if len(name) <= 200 {
		return string(name)
	}
	sum := sha256.Sum256([]byte(group))
	return "h-" + hex.EncodeToString(sum[:])
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
	if !patiently(func() {
		for s := range open {
			_ = s.Close() // always nil
		}
		b.intake.close()
	}) {
		b.core.log.Error("nats: a subscription's deliver blocks; it was left behind by Close")
	}
}

// subscription is a live subscription.
type subscription struct {
	bus    *bus
	group  bool
	prefix int // length of what stands before the subject
	at     *outlet
	box    mailbox

	sender string // the last one heard, so that its name is not copied for each message; the drainer's own

	began  sync.Once
	closed chan struct{}
}

// read is called by the mailbox, on one goroutine at a time.
func (s *subscription) read(l letter, m *pubsub.Message) bool {
	w, err := wire.OpenMessage(l.message.Data, s.sender)
	if err != nil {
		s.bus.undecodable(l.message.Subject, err)
		return false
	}
	s.sender = w.Sender
	m.Subject, m.Payload, m.Headers = l.message.Subject[s.prefix:], w.Payload, w.Headers
	m.Sender, m.Seq, m.SubjectSeq = w.Sender, w.Seq, w.SubjectSeq
	if l.shared {
		m.Payload = bytes.Clone(m.Payload)
	}
	return true
}

func (b *bus) undecodable(subject string, err error) {
	if n := b.complain.due(time.Now()); n > 0 {
		b.core.log.Error("nats: messages dropped: they cannot be decoded", "subject", subject, "error", err, "messages", n)
	}
}

// Close ends it. A member of a group first delivers what it was chosen for, because no other will get it.
func (s *subscription) Close() error {
	within := withinDeliver()
	first := false
	s.began.Do(func() { first = true })
	if !first {
		if !within {
			<-s.closed
		}
		return nil
	}
	defer close(s.closed)
	if s.group && !within && s.bus.core.life.Err() == nil {
		s.bus.intake.leave(s.at, &s.box)
		s.box.finish()
	} else {
		s.bus.intake.unlisten(s.at, &s.box)
	}
	s.box.close()
	s.bus.forget(s)
	return nil
}

// abandon ends a subscription that was not confirmed.
func (s *subscription) abandon() {
	s.began.Do(func() {})
	if s.at != nil {
		s.bus.intake.unlisten(s.at, &s.box)
	}
	s.box.close()
	s.bus.forget(s)
	close(s.closed)
}
