package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// inbound is a request that has come to this node.
type inbound struct {
	request
	from      Member
	arrived   time.Time
	local     bool // from this node
	broadcast bool // sent to all nodes
}

// runKey names a running request: its caller's incarnation, and the caller's number of it.
type runKey struct {
	caller string
	id     uint64
}

// running is the requests that run here.
type running struct {
	mu     sync.Mutex
	open   map[runKey]*run
	closed bool
	all    sync.WaitGroup
}

type run struct {
	cancel context.CancelFunc
	cast   bool
}

// begin reports whether the request may run: not once close was called.
func (r *running) begin(key runKey, one *run) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.open == nil {
		r.open = map[runKey]*run{}
	}
	r.open[key] = one
	r.all.Add(1)
	return true
}

// close lets nothing more begin.
func (r *running) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

func (r *running) end(key runKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, key)
	r.all.Done()
}

func (r *running) has(key runKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[key] != nil
}

// cancel ends the context of a request whose caller waits no more.
func (r *running) cancel(key runKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.open[key]; one != nil {
		one.cancel()
	}
}

// gone ends the contexts of all requests for whose answers a node that is gone would have waited.
func (r *running) gone(caller string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, one := range r.open {
		if key.caller == caller && !one.cast {
			one.cancel()
		}
	}
}

// count is how many run.
func (r *running) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open)
}

// receive takes a request in and returns at once: it is called by the goroutine that reads.
func (p *Peer) receive(in inbound) {
	m := (*p.methods.Load())[in.method]
	switch {
	case p.fenced.Load() && !in.local:
		p.refuse(in, fault.NodeGone, "the node is cut off from the others")
		return
	case m == nil && in.broadcast:
		return // it was meant for those who serve it
	case m == nil:
		p.refuse(in, fault.Unimplemented, "the node does not serve it")
		return
	case !m.enter():
		p.refuse(in, fault.Exhausted, fmt.Sprintf("the node runs %d of it at once and no more (rpc.Concurrency)", m.limit))
		return
	}
	ctx, cancel := context.WithDeadline(p.handling, in.arrived.Add(in.budget))
	key := runKey{in.from.Incarnation, in.id}
	if !p.running.begin(key, &run{cancel: cancel, cast: in.cast}) {
		cancel()
		m.leave()
		p.refuse(in, fault.NodeGone, "the node is closing")
		return
	}
	p.crew.do(func() {
		defer p.running.end(key)
		defer cancel()
		p.serve(ctx, m, in)
	})
}

// serve runs a request and answers it.
func (p *Peer) serve(ctx context.Context, m *method, in inbound) {
	began := time.Now()
	payload, err := p.run(ctx, m, in)
	if most := p.options.Limits.Payload; err == nil && len(payload) > most {
		err = fault.New(fault.TooLarge, "the answer has %d bytes, %d are allowed (rpc.Limits.Payload)", len(payload), most)
	}
	if err != nil {
		payload = nil
	}
	m.note(err, time.Since(began))
	switch {
	case in.cast && err != nil:
		p.logger.Warn("rpc: a cast failed", "method", in.method, "caller", in.from.Name, "error", err)
	case in.cast, ctx.Err() != nil: // nobody waits
	default:
		p.answer(ctx, in, response{id: in.id, fault: travelling(err), payload: payload})
	}
}

// run calls the handler, and makes a fault of a panic. The handler's place is free before the caller has the answer.
func (p *Peer) run(ctx context.Context, m *method, in inbound) (payload []byte, err error) {
	returned := false
	defer func() {
		m.leave()
		if returned {
			return
		}
		cause := recover() // nil after runtime.Goexit
		payload, err = nil, fault.New(fault.Internal, "the handler panicked: %v", cause)
		p.logger.Error("rpc: a handler panicked", "method", in.method, "caller", in.from.Name, "panic", cause, "stack", string(debug.Stack()))
		if cause == nil {
			// Goexit goes on after this function: answer here, where it still can be done.
			err = fault.New(fault.Internal, "the handler ended its goroutine")
			m.note(err, 0)
			p.answer(ctx, in, response{id: in.id, fault: travelling(err)})
		}
	}()
	call := &Incoming{Method: in.method, From: in.from, Headers: in.headers, Payload: in.payload, Cast: in.cast}
	payload, err = m.handler(context.WithValue(ctx, incomingKey{}, call), call)
	returned = true
	return payload, err
}

// refuse answers a request that is not run, without waiting.
func (p *Peer) refuse(in inbound, code fault.Code, message string) {
	if in.cast {
		p.counters.castsRefused.Add(1)
		return
	}
	r := response{id: in.id, refused: true, fault: &fault.Error{Code: code, Message: message}}
	if in.local {
		p.complete(p.self, r)
		return
	}
	p.writer.post(outgoing{to: Inbox(in.from.Incarnation), kind: kindResponse, head: r.head()})
}

// answer sends a response to the caller, and to nobody else.
func (p *Peer) answer(ctx context.Context, in inbound, r response) {
	if in.cast {
		return
	}
	if in.local {
		r.payload = bytes.Clone(r.payload) // as on the way to another node: the handler may keep what it returned
		p.complete(p.self, r)
		return
	}
	var err error
	if head := r.head(); len(head)+len(r.payload) <= p.chunk {
		err = p.writer.hand(ctx, outgoing{to: Inbox(in.from.Incarnation), kind: kindResponse, head: head, body: r.payload})
	} else {
		err = p.transmit(ctx, in.from.Incarnation, opening{kind: kindResponse, call: r.id}, head, r.payload, func() {})
	}
	if err != nil && ctx.Err() == nil {
		p.notSent(err)
	}
}

// complete fills the slot that a response is for.
func (p *Peer) complete(from string, r response) {
	c := p.calls.find(r.id)
	if c == nil {
		p.counters.late.Add(1)
		return
	}
	var err error
	if r.fault != nil {
		err = p.arrived(c, from, r)
	}
	if !c.fill(from, r.payload, err) {
		p.counters.late.Add(1)
	}
}

// errNotRun marks a fault after which the request was certainly not run.
var errNotRun = errors.New("the request was not run")

// arrived is a fault as the caller sees it. What a handler answers is Remote, on whichever node it ran: a call to this
// node itself reads no different. That a node refused because it goes away is a fault of the way there.
func (p *Peer) arrived(c *call, from string, r response) error {
	at := *r.fault
	for _, m := range c.members {
		if m.Incarnation == from {
			at.Node = m.Name
		}
	}
	at.Remote = true
	if r.refused && (at.Code == fault.NodeGone || at.Code == fault.Unavailable) {
		at.Remote, at.Retryable = false, true
	}
	if r.refused && at.Code == fault.NodeGone {
		at.Err = errNotRun
	}
	return &at
}

// travelling is an error as it travels: its code, and what it says.
func travelling(err error) *fault.Error {
	if err == nil {
		return nil
	}
	out := &fault.Error{Code: fault.CodeOf(err), Message: err.Error()}
	if known, ok := err.(*fault.Error); ok { //nolint:errorlint // only the outermost: what wraps it says more
		out.Op, out.Subject, out.Retryable = known.Op, known.Subject, known.Retryable
		bare := *known
		bare.Op, bare.Subject = "", ""
		out.Message = bare.Error()
	}
	return out
}
