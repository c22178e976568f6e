package pubsub

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/gobackplane/backplane/fault"
)

const opPublish = "pubsub: publish"

// Publish sends a payload to a subject and says how many receivers the transport knows of. It does not keep the payload.
//
// An error of code Invalid or TooLarge means that nothing was sent. After Unavailable, Canceled or DeadlineExceeded the
// message may have been sent or not.
func (p *PubSub) Publish(ctx context.Context, subject string, payload []byte) (Receipt, error) {
	r, err := p.publishOne(ctx, subject, payload)
	if err != nil {
		return Receipt{Receivers: -1, Err: err}, err
	}
	return r, nil
}

func (p *PubSub) publishOne(ctx context.Context, subject string, payload []byte) (Receipt, error) {
	if err := p.usable(ctx, opPublish, subject); err != nil {
		return Receipt{}, err
	}
	if p.hand != nil {
		return p.hand.publish(p, subject, payload)
	}
	m := Message{Subject: subject, Payload: payload}
	if err := p.prepare(&m); err != nil {
		return Receipt{}, err
	}
	receipts, err := p.dispatchTo(ctx, m.Subject, []Message{m})
	if err == nil {
		err = receipts[0].Err
	}
	if err != nil {
		return Receipt{}, p.ended(err, m.Subject)
	}
	return receipts[0], nil
}

// PublishMany sends messages in one batch, in order, and answers one receipt for each; what is wrong with one does not
// concern the others. The error beside them means that nothing is known of any. Subject, Payload and Headers are taken
// from each message, and neither they nor the slice are kept or changed; the other fields are the sender's.
func (p *PubSub) PublishMany(ctx context.Context, messages []Message) ([]Receipt, error) {
	if err := p.usable(ctx, opPublish, onlySubject(messages)); err != nil {
		return nil, err
	}
	if max := p.backend.Capabilities.MaxBatch; len(messages) > max {
		return nil, &fault.Error{Code: fault.TooLarge, Op: opPublish, Message: fmt.Sprintf("the call has %d messages, %d are allowed; split it", len(messages), max)}
	}
	receipts := make([]Receipt, len(messages))
	outgoing := make([]Message, 0, len(messages))
	places := make([]int, 0, len(messages)) // of the outgoing among the messages
	for i, m := range messages {
		m = Message{Subject: m.Subject, Payload: m.Payload, Headers: m.Headers}
		if err := p.prepare(&m); err != nil {
			receipts[i] = Receipt{Receivers: -1, Err: err}
			continue
		}
		outgoing, places = append(outgoing, m), append(places, i)
	}
	if len(outgoing) == 0 {
		return receipts, nil
	}
	answers, err := p.dispatch(ctx, outgoing)
	if err != nil {
		return nil, p.ended(err, onlySubject(messages))
	}
	for i, place := range places {
		receipts[place] = answers[i]
	}
	return receipts, nil
}

// ended says Closed of a publish that Close has interrupted.
func (p *PubSub) ended(err error, subject string) error {
	if p.life.Err() != nil && fault.CodeOf(err) == fault.Canceled {
		return errClosed(opPublish, subject)
	}
	return fault.In(err, opPublish, subject)
}

func onlySubject(messages []Message) string {
	if len(messages) == 1 {
		return shorten(messages[0].Subject)
	}
	return ""
}

// prepare checks a message.
func (p *PubSub) prepare(m *Message) error {
	if err := p.checkSubject(m.Subject); err != nil {
		return err
	}
	return p.fits(m)
}

// fits checks what a message will weigh.
func (p *PubSub) fits(m *Message) error {
	size, what := weigh(m), "payload with headers"
	if p.seal.signs() {
		size, what = p.seal.size(m, p.o.Sender), what+", sealed,"
	}
	if max := p.backend.Capabilities.MaxPayload; size > max {
		return &fault.Error{Code: fault.TooLarge, Op: opPublish, Subject: m.Subject, Message: fmt.Sprintf(
			"the %s has %d bytes, %d are allowed; send a reference to it, or a part", what, size, max)}
	}
	return nil
}

// weigh is a message's size as the transports count it: its payload with headers.
func weigh(m *Message) int {
	size := len(m.Payload)
	for key, value := range m.Headers {
		size += len(key) + len(value)
	}
	return size
}

// dispatch sends messages when the lines of all their subjects are free for it.
func (p *PubSub) dispatch(ctx context.Context, messages []Message) ([]Receipt, error) {
	if p.hand != nil {
		return p.hand.publishMany(ctx, p, messages)
	}
	for i := range messages {
		if messages[i].Subject != messages[0].Subject {
			return p.dispatchMixed(ctx, messages)
		}
	}
	return p.dispatchTo(ctx, messages[0].Subject, messages)
}

// dispatchTo sends messages of one subject: by itself when the line is free, and otherwise with others who wait in it.
func (p *PubSub) dispatchTo(ctx context.Context, subject string, messages []Message) ([]Receipt, error) {
	kept := ctx.Done() == nil // a caller who cannot leave keeps the payloads in place himself
	for {
		l, free := p.lines.enter(subject)
		if free {
			defer p.pass(l)
			return p.send(ctx, messages, func(string) *line { return l })
		}
		if !kept {
			messages, kept = keep(messages), true
		}
		w := p.lines.wait(l, messages)
		if w == nil {
			continue // it has become free
		}
		select {
		case <-w.done:
			return p.lines.served(w)
		case <-ctx.Done():
			p.lines.abandon(l, w)
			return nil, fault.FromContext(ctx)
		}
	}
}

// dispatchMixed takes the lines of several subjects, always in the same order, so that no two such calls wait for each
// other.
func (p *PubSub) dispatchMixed(ctx context.Context, messages []Message) ([]Receipt, error) {
	held := map[string]*line{}
	for _, m := range messages {
		held[m.Subject] = nil
	}
	subjects := slices.Sorted(maps.Keys(held))
	defer func() {
		for _, l := range held {
			if l != nil {
				p.pass(l)
			}
		}
	}()
	for _, s := range subjects {
		l, err := p.hold(ctx, s)
		if err != nil {
			return nil, err
		}
		held[s] = l
	}
	return p.send(ctx, messages, func(subject string) *line { return held[subject] })
}

// hold waits until the caller has the line of a subject as a whole.
func (p *PubSub) hold(ctx context.Context, subject string) (*line, error) {
	for {
		l, free := p.lines.enter(subject)
		if free {
			return l, nil
		}
		w := p.lines.wait(l, nil)
		if w == nil {
			continue
		}
		select {
		case <-w.done:
			return l, nil
		case <-ctx.Done():
			if !p.lines.abandon(l, w) {
				p.pass(l) // it was given just now
			}
			return nil, fault.FromContext(ctx)
		}
	}
}

// pass gives a line that the caller holds to the next in it.
func (p *PubSub) pass(l *line) {
	if p.lines.leave(l) && !p.background(func() { p.drain(l) }) {
		p.drain(l) // closed: those who wait get their error at once
	}
}

// background runs f on a goroutine that Close waits for; false after Close.
func (p *PubSub) background(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streams == nil {
		return false
	}
	p.running.Go(f)
	return true
}

// drain sends what waits in a line, as one batch after another, until nobody does.
func (p *PubSub) drain(l *line) {
	for {
		batch, messages := p.lines.take(l, p.backend.Capabilities.MaxBatch)
		if len(batch) > 0 {
			receipts, err := p.send(p.life, messages, func(string) *line { return l })
			settle(batch, receipts, p.endedAll(err))
			// Those who were just answered often publish again: one turn for them makes one batch of what would be two.
			runtime.Gosched()
		}
		if !p.lines.leave(l) {
			return
		}
	}
}

func (p *PubSub) endedAll(err error) error {
	if err == nil {
		return nil
	}
	return p.ended(err, "")
}

// settle gives the callers of a batch their answers.
func settle(batch []*waiter, receipts []Receipt, err error) {
	for _, w := range batch {
		if w.err = err; err == nil {
			w.receipts, receipts = receipts[:len(w.messages):len(w.messages)], receipts[len(w.messages):]
		}
		w.done <- struct{}{}
	}
}

// send numbers messages, seals them, and publishes them. The caller holds their lines.
func (p *PubSub) send(ctx context.Context, messages []Message, lineOf func(subject string) *line) ([]Receipt, error) {
	if err := fault.FromContext(ctx); err != nil {
		return nil, err
	}
	for i := range messages {
		p.number(&messages[i], lineOf(messages[i].Subject))
	}
	pause := 50 * time.Millisecond
	for attempt := 0; ; attempt++ {
		receipts, err := p.backend.Publish(ctx, messages)
		if err == nil || attempt == p.o.Retries || fault.CodeOf(err) != fault.Unavailable {
			return receipts, err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
			pause *= 2
		case <-ctx.Done():
			return nil, err
		case <-p.life.Done():
			return nil, err
		}
	}
}

// number gives a message the next numbers of its sender and subject, and seals it. The caller holds the line.
func (p *PubSub) number(m *Message, l *line) {
	l.last++
	m.Sender, m.Seq, m.SubjectSeq = p.o.Sender, p.lines.seq.Add(1), l.last
	if p.seal.signs() {
		p.seal.seal(m)
	}
}

// keep copies what a queued message refers to: its caller may leave, and use it again, while it is sent.
func keep(messages []Message) []Message {
	own := make([]Message, len(messages))
	for i, m := range messages {
		m.Payload, m.Headers = bytes.Clone(m.Payload), maps.Clone(m.Headers)
		own[i] = m
	}
	return own
}
