package pubsub

import (
	"context"
	"time"
)

// Driver is the pub/sub half of a transport. Typed topics, buffers, overflow policies and exact gap counting stand above
// it, in [PubSub].
//
// Delivery is at most once, to every live subscription whose filter matches; among subscriptions with the same Group,
// to at most one, and to exactly one while its members and the links stand. Messages of one Publish caller on one
// subject arrive in the order of its calls, and in the order of the slice.
//
// Methods may be called concurrently. A context that ends makes them return promptly; after the transport's Close each
// answers Closed.
type Driver interface {
	// Publish sends messages and answers one receipt for each, in order; the error beside the slice means that nothing
	// is known of any. A driver does not retain the slice or the payloads after it has returned. It carries every field
	// of Message unchanged.
	Publish(ctx context.Context, messages []Message) ([]Receipt, error)

	// Subscribe returns when every message published afterwards through the same server will be delivered
	// ([Capabilities].ClusterWide: through any server). From then on deliver is called, never concurrently for one
	// subscription, with messages in order, and with a Gap wherever messages may have been missed: every reconnect
	// gives one. deliver must not block, and owns what it is given: payloads and headers are shared with nobody.
	// After Subscription.Close has returned deliver is not called again.
	Subscribe(ctx context.Context, filter Filter, deliver func([]Event)) (Subscription, error)
}

// Subscription is a live subscription of a driver.
type Subscription interface {
	// Close ends it. It may be called twice, and from within deliver; in that one case it returns at once, and deliver
	// is not called again after it has returned.
	Close() error
}

// Backend is what a transport offers as pub/sub.
type Backend struct {
	Driver
	Capabilities Capabilities

	// Hand is there when Publish never waits for an answer: it hands messages to the link, and is done. The function
	// that it makes does so for one message, which costs less than a batch of one. That function is called by one caller
	// at a time, after the message was checked against the Capabilities, and keeps nothing of it. Nil: Publish does it.
	Hand func() func(*Message) error
}

// Capabilities says what a pub/sub transport can do, and within which bounds.
type Capabilities struct {
	MaxPayload  int           // largest payload with headers, in bytes; at least 64 KiB
	MaxSubject  int           // longest subject, in bytes; at least 512
	MaxBatch    int           // most messages of one Publish; at least 1,000
	Receivers   bool          // Receipt.Receivers is known when it is 0 (it is a number of subscriptions, no proof of life)
	ClusterWide bool          // Subscribe's promise holds for messages published through any server
	Silence     time.Duration // how long a dead link can go unnoticed; a Gap follows within this and a reconnect. 0: no link
}

// Message is one message. The publishing side fills all but Received in.
type Message struct {
	Subject string
	Payload []byte
	Headers map[string]string // keys keep their case

	// Sender is the publishing node's incarnation: it names one life of one publisher, and never repeats.
	Sender string
	// Seq numbers the sender's messages over all subjects, from 1: (Sender, Seq) identifies a message.
	Seq uint64
	// SubjectSeq numbers the sender's messages on this subject, from 1, so that a subscriber can count what it missed.
	SubjectSeq uint64
}

// Receipt answers a published message.
type Receipt struct {
	Receivers int // subscriptions reached, or nodes that hold some; -1: not known
	Err       error
}

// Filter says which messages a subscription gets. Subjects that begin with "$" are the library's own: a filter that
// begins with a wildcard does not match them.
type Filter struct {
	Subject string // tokens joined by dots; "*" is one token, ">" the rest, at least one token
	Group   string // empty: every matching subscription gets every message
}

// Event is a Message or a Gap: exactly one is not nil.
type Event struct {
	Message *Message
	Gap     *Gap
}

// Gap says that messages may be missing at this place of the stream.
type Gap struct {
	Cause  Cause
	Sender string // whose messages are missing, where it is known
	Lost   int    // how many, or Unknown
}

// Unknown is a Gap's Lost when the count cannot be known; it may then be that nothing was lost.
const Unknown = -1

// Cause of a gap.
type Cause string

// The causes.
const (
	Reconnected Cause = "reconnected" // the link was lost and is back
	Overflow    Cause = "overflow"    // a buffer of this node was full
	Skipped     Cause = "skipped"     // a sender's numbers show a hole: lost on the way
)
