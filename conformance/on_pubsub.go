package conformance

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

// voice publishes on a node as one sender, who numbers its messages.
type voice struct {
	e *Env
	*pubsub.Backend
	sender   string
	seq      uint64
	subjects map[string]uint64
}

func speak(e *Env, node transports.Transport) *voice {
	return &voice{e: e, Backend: node.PubSub(), sender: "sender-" + uuid.NewString(), subjects: map[string]uint64{}}
}

// message is the sender's next message on a subject.
func (v *voice) message(subject, text string) pubsub.Message {
	v.seq++
	v.subjects[subject]++
	return pubsub.Message{Subject: subject, Payload: []byte(text), Sender: v.sender, Seq: v.seq, SubjectSeq: v.subjects[subject]}
}

// publish sends messages in one batch.
func (v *voice) publish(messages ...pubsub.Message) []pubsub.Receipt {
	v.e.Helper()
	receipts, err := v.Publish(v.e.Context(), messages)
	require.NoError(v.e, err, "publish")
	require.Len(v.e, receipts, len(messages), "one receipt for each message")
	return receipts
}

func (v *voice) mustPublish(messages ...pubsub.Message) {
	v.e.Helper()
	for i, r := range v.publish(messages...) {
		require.NoErrorf(v.e, r.Err, "publish to %.60q", messages[i].Subject)
	}
}

// say sends one message for each text.
func (v *voice) say(subject string, texts ...string) {
	v.e.Helper()
	for _, text := range texts {
		v.mustPublish(v.message(subject, text))
	}
}

// ear is a subscription with what it heard.
type ear struct {
	e      *Env
	events chan pubsub.Event
	sub    pubsub.Subscription
	newest atomic.Uint64 // the last number that has come

	mu     sync.Mutex
	broken string // what is wrong with the events themselves
}

func hear(e *Env, node transports.Transport, filter string) *ear {
	e.Helper()
	return hearAs(e, node, pubsub.Filter{Subject: filter})
}

func hearAs(e *Env, node transports.Transport, filter pubsub.Filter) *ear {
	e.Helper()
	h := &ear{e: e, events: make(chan pubsub.Event, 1<<12)}
	sub, err := node.PubSub().Subscribe(e.Context(), filter, h.take)
	require.NoErrorf(e, err, "subscribe to %+.60q", filter)
	require.NotNil(e, sub, "the subscription")
	e.Cleanup(func() { _ = sub.Close() })
	h.sub = sub
	return h
}

func (h *ear) take(events []pubsub.Event) {
	for _, event := range events {
		if (event.Message == nil) == (event.Gap == nil) {
			h.mu.Lock()
			h.broken = fmt.Sprintf("an event is a message or a gap, this one: %+v", event)
			h.mu.Unlock()
		}
		select {
		case h.events <- event:
		default: // full: the case has long failed
		}
		if event.Message != nil {
			h.newest.Store(event.Message.Seq)
		}
	}
}

func (h *ear) check() {
	h.e.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != "" {
		h.e.Errorf("%s", h.broken)
		h.e.FailNow()
	}
}

// next is the next message. A gap tells that something may be missing, which cases see from what they get.
func (h *ear) next(what string, args ...any) *pubsub.Message {
	h.e.Helper()
	for {
		event := Await(h.e, h.events, what, args...)
		h.check()
		if event.Message != nil {
			return event.Message
		}
	}
}

// mustHear requires that these are the next messages, in this order and with nothing between.
func (h *ear) mustHear(texts ...string) {
	h.e.Helper()
	for i, text := range texts {
		m := h.next("message %d of %d, %.40q", i+1, len(texts), text)
		require.Equalf(h.e, text, string(m.Payload), "message %d of %d, on %q", i+1, len(texts), m.Subject)
	}
}

// mustGap requires that a gap comes, whatever comes before it.
func (h *ear) mustGap(within time.Duration) {
	h.e.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	for {
		select {
		case event := <-h.events:
			if event.Gap != nil {
				return
			}
		case <-limit.C:
			h.e.Errorf("no gap within %v tells that messages may have been missed", within)
			h.e.FailNow()
		}
	}
}

// drained gives what has come by now.
func (h *ear) drained() []string {
	texts := []string{}
	for {
		select {
		case event := <-h.events:
			if event.Message != nil {
				texts = append(texts, string(event.Message.Payload))
			}
		default:
			return texts
		}
	}
}

// texts are n different ones.
func texts(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}
