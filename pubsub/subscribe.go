package pubsub

import (
	"context"
	"fmt"

	"github.com/gobackplane/backplane/fault"
)

const opSubscribe = "pubsub: subscribe"

// SubscribeOption changes how a stream is subscribed.
type SubscribeOption func(*subscribing)

type subscribing struct {
	group  string
	events int
	bytes  int
	policy Policy
}

// Group shares the messages among all streams of the cluster that name the same group, each message going to one of
// them, whatever their filters. The empty name is no group.
func Group(name string) SubscribeOption { return func(s *subscribing) { s.group = name } }

// Buffer is how many messages the stream holds for a slow consumer. Default 1,024.
func Buffer(messages int) SubscribeOption { return func(s *subscribing) { s.events = messages } }

// BufferBytes is how many bytes of payloads and headers the stream holds at most; a single message always fits. Default
// 64 MiB.
func BufferBytes(bytes int) SubscribeOption { return func(s *subscribing) { s.bytes = bytes } }

// OnOverflow is what happens to a message that finds the buffer full. Default DropOldest.
func OnOverflow(p Policy) SubscribeOption { return func(s *subscribing) { s.policy = p } }

// Policy is what a stream does when its buffer is full. Every message dropped is counted in Stats, and told in a Gap.
type Policy uint8

// The policies.
const (
	// DropOldest makes room: the consumer loses what it would have read first.
	DropOldest Policy = iota
	// DropNewest keeps what is there: the consumer loses what has just come.
	DropNewest
	// EndStream ends the stream with Exhausted, after what is in the buffer has been read.
	EndStream
	// Block would hold up the transport until there is room. It needs a connection for the stream alone, which no
	// transport offers: Subscribe answers Unsupported.
	Block
)

// Subscribe returns when every message will be delivered that is published afterwards to a subject that the filter
// matches. ctx bounds the subscribing only: the stream lasts until its Close.
func (p *PubSub) Subscribe(ctx context.Context, filter string, options ...SubscribeOption) (*Stream, error) {
	if err := p.usable(ctx, opSubscribe, filter); err != nil {
		return nil, err
	}
	o := subscribing{events: 1024, bytes: 64 << 20}
	for _, option := range options {
		option(&o)
	}
	if err := p.checkFilter(filter); err != nil {
		return nil, err
	}
	if err := p.checkOptions(filter, o); err != nil {
		return nil, err
	}
	s := newStream(p, filter, o)
	sub, err := p.backend.Subscribe(ctx, Filter{Subject: filter, Group: o.group}, s.accept)
	if err != nil {
		s.stop(errClosed(opNext, filter), true)
		return nil, fault.In(err, opSubscribe, filter)
	}
	if !s.attach(sub) {
		_ = s.Close()
		return nil, errClosed(opSubscribe, filter)
	}
	return s, nil
}

// SubscribeFunc is Subscribe with a handler, called for one event after another on a goroutine of the stream's own. The
// handler's context ends when the stream is closed. A panic of the handler is logged and counted, and the next event
// comes. The stream's Next and All are not to be used beside it.
func (p *PubSub) SubscribeFunc(ctx context.Context, filter string, handle func(context.Context, Event), options ...SubscribeOption) (*Stream, error) {
	if handle == nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: opSubscribe, Subject: filter, Message: "the handler is nil; give one"}
	}
	s, err := p.Subscribe(ctx, filter, options...)
	if err != nil {
		return nil, err
	}
	s.serve(handle)
	return s, nil
}

func (p *PubSub) checkOptions(filter string, o subscribing) error {
	refuse := func(code fault.Code, format string, args ...any) error {
		return &fault.Error{Code: code, Op: opSubscribe, Subject: filter, Message: fmt.Sprintf(format, args...)}
	}
	switch max := p.backend.Capabilities.MaxSubject; {
	case o.policy == Block:
		return refuse(fault.Unsupported, "the policy Block needs a connection for the stream alone, which the transport does not offer; choose DropOldest, DropNewest or EndStream")
	case o.policy > Block:
		return refuse(fault.Invalid, "overflow policy %d is not known; choose DropOldest, DropNewest or EndStream", o.policy)
	case o.events < 1:
		return refuse(fault.Invalid, "the buffer has room for %d messages; it must be at least 1", o.events)
	case o.bytes < 1:
		return refuse(fault.Invalid, "the buffer has room for %d bytes; it must be at least 1", o.bytes)
	case len(o.group) > max:
		return refuse(fault.Invalid, "the group's name has %d bytes, %d are allowed", len(o.group), max)
	}
	return nil
}
