package rpc

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
)

const (
	// maxChunk is the most that one frame carries of a payload; with what a transport allows, if that is less.
	maxChunk = 256 << 10

	// flowWindow is how much may be on its way to one receiver, from all senders and in all transfers together. Redis
	// cuts a pub/sub client that is 32 MB behind, or 8 MB for a minute, and every subscription with it.
	flowWindow = 4 << 20

	// stalledAfter is how long a transfer may go without a sign of life from the other side.
	stalledAfter = 10 * time.Second
)

// transfers is the payloads that this node is sending in chunks. The receiver says how far each may go, so that it
// is never flooded, however many send at once.
type transfers struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]*transfer
}

type transfer struct {
	to      string
	call    uint64
	isReply bool
	changed chan struct{} // has room for one

	mu      sync.Mutex
	credit  uint64
	ended   error // why it must not go on
	refused bool  // because the receiver wants no more
}

func (ts *transfers) begin(to string, o *opening) *transfer {
	t := &transfer{to: to, call: o.call, isReply: o.kind == kindResponse, changed: make(chan struct{}, 1)}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.open == nil {
		ts.open = map[uint64]*transfer{}
	}
	ts.last++
	o.transfer = ts.last
	ts.open[ts.last] = t
	return t
}

func (ts *transfers) end(id uint64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, id)
}

// credited lets a transfer go on, up to an offset.
func (ts *transfers) credited(from string, p position) {
	ts.mu.Lock()
	t := ts.open[p.transfer]
	ts.mu.Unlock()
	if t != nil && t.to == from {
		t.set(p.offset, nil, false)
	}
}

// aborted ends a transfer that its receiver gives up.
func (ts *transfers) aborted(from string, a abortion) {
	ts.mu.Lock()
	t := ts.open[a.transfer]
	ts.mu.Unlock()
	if t != nil && t.to == from {
		t.set(0, a.fault(), true)
	}
}

func (a *abortion) fault() error {
	return &fault.Error{Code: a.code, Retryable: a.code == fault.Unavailable, Message: a.message}
}

// gone ends every transfer to a node.
func (ts *transfers) gone(to string, err error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.open {
		if t.to == to {
			t.set(0, err, false)
		}
	}
}

// cancelCall ends the transfer of a request whose caller waits no more.
func (ts *transfers) cancelCall(to string, call uint64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.open {
		if t.to == to && t.call == call && !t.isReply {
			t.set(0, fault.New(fault.Canceled, "the caller waits no more"), false)
		}
	}
}

// answered ends what is left of the transfers of a call's request: every node has said what it had to say.
func (ts *transfers) answered(call uint64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.open {
		if t.call == call && !t.isReply {
			t.set(0, fault.New(fault.Canceled, "the call is over"), false)
		}
	}
}

func (t *transfer) set(credit uint64, ended error, refused bool) {
	t.mu.Lock()
	t.credit = max(t.credit, credit)
	if t.ended == nil {
		t.ended, t.refused = ended, refused
	}
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

func (t *transfer) state() (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.credit, t.ended
}

func (t *transfer) isRefused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused
}

// transmit sends a frame's payload, head and body, in chunks, as fast as the receiver lets it. It says when it has begun.
func (p *Peer) transmit(ctx context.Context, to string, o opening, head, body []byte, begun func()) error {
	o.total = uint64(len(head) + len(body))
	t := p.transfers.begin(to, &o)
	defer p.transfers.end(o.transfer)
	inbox := Inbox(to)
	err := p.writer.send(ctx, outgoing{to: inbox, kind: kindBegin, head: o.body()})
	if err == nil {
		begun()
	}
	for sent := uint64(0); err == nil && sent < o.total; {
		var credit uint64
		if credit, err = p.awaitCredit(ctx, t, sent); err != nil {
			break
		}
		n := min(credit-sent, uint64(p.chunk), o.total-sent)
		at := position{o.transfer, sent}
		first, second := spanning(head, body, sent, sent+n)
		err = p.writer.send(ctx, outgoing{to: inbox, kind: kindChunk, head: append(at.body(), first...), body: bytes.Clone(second)})
		sent += n
	}
	if err != nil && !t.isRefused() {
		a := abortion{transfer: o.transfer, ofRequest: o.kind == kindRequest, call: o.call, code: fault.CodeOf(err), message: "the sender gave up"}
		p.writer.post(outgoing{to: inbox, kind: kindAbort, head: a.body()})
	}
	return err
}

// awaitCredit waits until more than sent may go out, and answers up to where.
func (p *Peer) awaitCredit(ctx context.Context, t *transfer, sent uint64) (uint64, error) {
	credit, err := t.state()
	if err != nil || credit > sent {
		return credit, err
	}
	stalled := time.NewTimer(stalledAfter)
	defer stalled.Stop()
	for {
		select {
		case <-t.changed:
			stalled.Reset(stalledAfter)
		case <-stalled.C:
			return 0, &fault.Error{Code: fault.Unavailable, Retryable: true,
				Message: "the receiver of a large payload has not been heard for " + stalledAfter.String()}
		case <-ctx.Done():
			return 0, fault.FromContext(ctx)
		case <-p.closing:
			return 0, errClosed
		}
		if credit, err := t.state(); err != nil || credit > sent {
			return credit, err
		}
	}
}

// transmitAll sends a large request to several nodes, each at its own pace. What it answers waits for the end.
func (p *Peer) transmitAll(ctx context.Context, members []Member, c *call, head, body []byte) (wait func()) {
	var sending sync.WaitGroup
	for _, m := range members {
		sending.Go(func() {
			begun := func() { c.went(Inbox(m.Incarnation), m) }
			if err := p.transmit(ctx, m.Incarnation, opening{kind: kindRequest, call: c.id}, head, body, begun); err != nil {
				c.fill(m.Incarnation, nil, sendFault(err, m))
			}
		})
	}
	return sending.Wait
}

// spanning is the bytes from..to of head and body set end to end, as the two parts that they lie in.
func spanning(head, body []byte, from, to uint64) (first, second []byte) {
	n := uint64(len(head))
	first = head[min(from, n):min(to, n)]
	second = body[max(from, n)-n : max(to, n)-n]
	return first, second
}
