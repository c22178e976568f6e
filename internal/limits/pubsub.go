package limits

import (
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/subject"
	"github.com/gobackplane/backplane/pubsub"
)

// PubSub checks what is given to a pubsub.Driver.
type PubSub struct {
	Transport string // named in errors
	pubsub.Capabilities
}

// Batch checks the number of messages of one Publish.
func (p PubSub) Batch(n int) error {
	return at{transport: p.Transport, op: "pubsub: publish"}.batch(n, p.MaxBatch)
}

// Message checks one element of Driver.Publish.
func (p PubSub) Message(m *pubsub.Message) error {
	a := at{p.Transport, "pubsub: publish", shorten(m.Subject)}
	if err := subject.Check(m.Subject, p.MaxSubject); err != nil {
		return a.refuse(fault.Invalid, "%w; a subject is tokens joined by dots, such as orders.eu.created", err)
	}
	return a.size("payload with headers", len(m.Payload)+HeaderSize(m.Headers), p.MaxPayload, smallerPayload)
}

// Filter checks a subscription.
func (p PubSub) Filter(f pubsub.Filter, deliver func([]pubsub.Event)) error {
	a := at{p.Transport, "pubsub: subscribe", shorten(f.Subject)}
	if deliver == nil {
		return a.refuse(fault.Invalid, "the function to deliver to is nil; give one")
	}
	if err := subject.CheckFilter(f.Subject, p.MaxSubject); err != nil {
		return a.refuse(fault.Invalid, `%w; a filter is tokens joined by dots, "*" is one token, ">" the rest`, err)
	}
	return a.length("group's name", f.Group, p.MaxSubject)
}
