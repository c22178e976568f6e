// Package pubsub carries messages from publishers to whoever listens at the moment: on subjects with wildcards, to all
// or to one of a group, at most once, and with an event wherever something is missing.
//
//	bus := pubsub.New(transport.PubSub(), pubsub.Options{})
//	stream, err := bus.Subscribe(ctx, "orders.*")
//	receipt, err := bus.Publish(ctx, "orders.eu", []byte("created"))
//	for event, err := range stream.All(ctx) {
//		if event.Gap != nil { … }           // messages may be missing here: ask the source of truth again
//		use(event.Message.Subject, event.Message.Payload)
//	}
//
// # What is promised
//
// A subject is tokens joined by dots; in a filter "*" stands for one token and ">" for the rest. Tokens that begin with
// "$" belong to the library. Subscribe returns when the subscription is confirmed. Delivery is at most once: nothing is
// stored for those who do not listen. Messages of one sender on one subject arrive in its order, for concurrent callers
// of Publish in the order of their numbers, and never twice.
//
// # Gaps
//
// A stream's buffer is bounded. What it drops is counted and told in one Gap at the place of the loss. Each sender
// numbers its messages per subject, so what was lost on the way is found when the same sender is next heard there, with
// its exact number; a reconnect gives a Gap without one, at once. The same loss may thus be told twice, but counted only
// once. A publish that failed has used its number: subscribers may be told of a message that the publisher knows to have
// failed. In a group, nobody sees all numbers: there a loss on the way is known by the reconnect alone.
//
// # Seals
//
// With a [Seal] of the cluster's keys messages are signed, or encrypted, and none is believed that was forged, changed or
// replayed: it is dropped and counted in Stats.Refused, or in Stats.Duplicates where the sender's numbers show a repeat.
// A sender's first message on a subject, as far as a stream remembers, must have been sealed within 30 s of the
// receiver's clock. In a group every message must, and one that went to another member may within that time be replayed
// to this one, as far as the transport's election allows it.
//
// # Order without a lock
//
// The numbers on a subject must be in order on the wire, or receivers would see gaps that are none. So of one subject
// one batch is under way at a time: a lone publisher sends by itself, and those who come meanwhile are sent together,
// numbered as they leave. Other subjects are not held up. Where the transport does not answer a publish, numbering and
// handing over are one short step under a lock.
package pubsub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/complaints"
	"github.com/gobackplane/backplane/internal/subject"
)

// PubSub publishes and subscribes over a transport. All methods may be called concurrently.
type PubSub struct {
	backend *Backend // nil: not offered
	o       Options
	seal    *sealer
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup // what Close waits for
	lines   *lines
	hand    *hand // nil where the transport answers each publish

	complaints complaints.Box

	mu      sync.Mutex
	streams map[*Stream]struct{} // nil once closed
}

// Options of a PubSub. The zero value works.
type Options struct {
	// Sender names one life of one publisher, and must never repeat: receivers tell its messages apart by their
	// numbers. No two PubSubs may share one. Empty: a random one.
	Sender string
	// Retries is how often a publish that found the transport unavailable is tried again, after 50 ms and then twice as
	// long each time, as long as its context lasts. Receivers drop what so comes twice. Default 0.
	Retries int
	// Subjects is how many subjects' numbers are remembered. Beyond it the one longest unused is forgotten, and its
	// numbers begin again, which receivers understand; a loss just before that stays unseen. Default 65,536.
	Subjects int
	// Senders is how many pairs of sender and subject each stream remembers the last numbers of. Default 4,096.
	Senders int
	// Seal signs what is published, or encrypts it, and says what is believed of others. Nil: messages are sent as they
	// are, and sealed ones are refused.
	Seal *Seal
	// Logger is told of what happens in the background. Default slog.Default().
	Logger *slog.Logger
}

// New makes a PubSub of what a transport offers. With a nil backend every call answers Unsupported.
func New(b *Backend, o Options) *PubSub {
	if o.Sender == "" {
		var random [12]byte
		_, _ = rand.Read(random[:]) // crypto/rand does not fail
		o.Sender = hex.EncodeToString(random[:])
	}
	if o.Subjects <= 0 {
		o.Subjects = 65_536
	}
	if o.Senders <= 0 {
		o.Senders = 4_096
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if b != nil && b.Driver == nil {
		b = nil
	}
	p := &PubSub{backend: b, o: o, seal: newSealer(o.Seal), lines: newLines(o.Subjects), streams: map[*Stream]struct{}{}}
	p.hand = newHand(b, o, p.lines)
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// Capabilities are the transport's bounds: the largest payload and batch, the longest subject. Nil when it offers no
// pub/sub.
func (p *PubSub) Capabilities() *Capabilities {
	if p.backend == nil {
		return nil
	}
	c := p.backend.Capabilities
	return &c
}

// Sender is the name under which messages are published.
func (p *PubSub) Sender() string { return p.o.Sender }

// Close ends all streams, and waits for their handlers, unless a handler calls it, and for what is being sent for callers
// that wait. Every other call after it answers Closed. It may be called twice. The transport stays open.
func (p *PubSub) Close() error {
	p.mu.Lock()
	streams := p.streams
	p.streams = nil
	p.mu.Unlock()
	p.end()
	for s := range streams {
		_ = s.Close()
	}
	p.running.Wait()
	if p.hand != nil {
		p.hand.wait()
	}
	return nil
}

// usable is nil when calls can be served.
func (p *PubSub) usable(ctx context.Context, op, subject string) error {
	switch {
	case p.backend == nil:
		return &fault.Error{Code: fault.Unsupported, Op: op, Subject: subject, Message: "the transport offers no pub/sub; choose another one for it"}
	case p.life.Err() != nil:
		return errClosed(op, subject)
	}
	return fault.In(fault.FromContext(ctx), op, subject)
}

func errClosed(op, subject string) error {
	return &fault.Error{Code: fault.Closed, Op: op, Subject: subject, Message: "it was closed"}
}

// checkReserved refuses tokens that are the library's own.
func checkReserved(op, s string) error {
	if isReserved(s) {
		return &fault.Error{Code: fault.Invalid, Op: op, Subject: s, Message: `a token begins with "$", which is reserved for the library; begin it otherwise`}
	}
	return nil
}

func isReserved(s string) bool { return s != "" && s[0] == '$' || strings.Contains(s, ".$") }

func (p *PubSub) checkSubject(s string) error {
	const op = "pubsub: publish"
	if err := subject.Check(s, p.backend.Capabilities.MaxSubject); err != nil {
		return &fault.Error{Code: fault.Invalid, Op: op, Subject: shorten(s), Message: err.Error() + "; a subject is tokens joined by dots, such as orders.eu.created"}
	}
	return checkReserved(op, s)
}

func (p *PubSub) checkFilter(s string) error {
	const op = "pubsub: subscribe"
	if err := subject.CheckFilter(s, p.backend.Capabilities.MaxSubject); err != nil {
		return &fault.Error{Code: fault.Invalid, Op: op, Subject: shorten(s), Message: err.Error() + `; a filter is tokens joined by dots, "*" is one token, ">" the rest`}
	}
	return checkReserved(op, s)
}

// shorten keeps an over-long name from filling logs.
func shorten(s string) string {
	const enough = 64
	if len(s) <= enough {
		return s
	}
	return strings.ToValidUTF8(s[:enough], "") + "…"
}
