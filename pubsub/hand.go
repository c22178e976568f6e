package pubsub

import (
	"context"
	"sync"

	"github.com/gobackplane/backplane/fault"
)

// hand is how messages leave where the transport never waits for an answer ([Backend].Hand). Numbering and handing over
// take less than a wake-up, so callers wait for each other on a lock and not in lines.
type hand struct {
	lines *lines // of which nothing is ever held; guarded by mu

	mu      sync.Mutex
	pass    func(*Message) error
	message Message // the one that is handed over: kept here, so that none is made for each
	last    *line   // of the last message
}

func newHand(b *Backend, o Options, ls *lines) *hand {
	if b == nil || b.Hand == nil || o.Retries > 0 { // a retry waits, and holds up only its own subject
		return nil
	}
	return &hand{lines: ls, pass: b.Hand()}
}

// publish hands one message over.
func (h *hand) publish(p *PubSub, subject string, payload []byte) (Receipt, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.lineOf(p, subject)
	if err != nil {
		return Receipt{}, err
	}
	m := &h.message
	m.Subject, m.Payload = l.subject, payload
	if err = p.fits(m); err == nil {
		p.number(m, l)
		if err = h.pass(m); err != nil {
			err = p.ended(err, subject)
		}
	}
	m.Payload, m.Headers = nil, nil // a seal may have set these
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Receivers: -1}, nil
}

// lineOf finds a subject's line. The subject is checked when the line is made.
func (h *hand) lineOf(p *PubSub, subject string) (*line, error) {
	if h.last != nil && h.last.subject == subject {
		return h.last, nil
	}
	l, known := h.lines.known.Get(subject)
	if !known {
		if err := p.checkSubject(subject); err != nil {
			return nil, err
		}
		l = &line{subject: subject}
		h.lines.known.Add(subject, l)
	}
	h.last = l
	return l, nil
}

// publishMany sends messages that were checked, in one batch.
func (h *hand) publishMany(ctx context.Context, p *PubSub, messages []Message) ([]Receipt, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := fault.FromContext(ctx); err != nil {
		return nil, err
	}
	for i := range messages {
		m := &messages[i]
		l, err := h.lineOf(p, m.Subject)
		if err != nil {
			return nil, err
		}
		p.number(m, l)
	}
	return p.backend.Publish(ctx, messages)
}

// wait returns when what is being handed over is.
func (h *hand) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
}
