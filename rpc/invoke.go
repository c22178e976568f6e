package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobackplane/backplane/fault"
)

const (
	// secondTry is how long after a NoReceiver the call is tried once more: the node may have subscribed just now, through
	// another server.
	secondTry = 100 * time.Millisecond

	maxMethod  = 128
	maxHeaders = 16 << 10
)

// invoke is the innermost Invoker.
func (p *Peer) invoke(ctx context.Context, r Request, each func(Reply) bool) error {
	err := p.check(r)
	if err == nil {
		err = fault.FromContext(ctx)
	}
	if err != nil {
		return fault.In(err, "rpc: call", r.Method)
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.options.CallTimeout)
		defer cancel()
	}
	try := p.gather
	switch {
	case r.Cast:
		try = p.cast
	case r.Target.scope != scopeAll:
		try = p.persist
	}
	return fault.In(try(ctx, r, each), "rpc: call", r.Method)
}

// check refuses, before anything is sent, what cannot be sent.
func (p *Peer) check(r Request) error {
	if err := checkMethod(r.Method, true); err != nil {
		return err
	}
	if most := p.options.Limits.Payload; len(r.Payload) > most {
		return fault.New(fault.TooLarge, "the request has %d bytes, %d are allowed (rpc.Limits.Payload)", len(r.Payload), most)
	}
	size := 0
	for k, v := range r.Headers {
		size += len(k) + len(v) + 4
	}
	if size > maxHeaders {
		return fault.New(fault.TooLarge, "the headers have %d bytes, %d are allowed", size, maxHeaders)
	}
	return p.usable()
}

// usable is nil while calls can be made.
func (p *Peer) usable() error {
	select {
	case <-p.closing:
		return errClosed
	default:
	}
	switch {
	case !p.started.Load():
		return fault.New(fault.Unavailable, "the peer is not started: call Start first")
	case p.fenced.Load():
		return errFenced
	}
	return nil
}

var (
	errClosed = fault.New(fault.Closed, "the peer is closed")
	errFenced = &fault.Error{Code: fault.Unavailable, Retryable: true,
		Message: "this node does not hear its own heartbeat: the link to the transport is down, or too slow"}
)

// persist calls one node, and once more where that does no harm: when nobody has received the first request, or the
// caller allows it. Only faults of the way there count, never what a handler returned.
func (p *Peer) persist(ctx context.Context, r Request, each func(Reply) bool) error {
	for try := 0; ; try++ {
		var reply Reply
		err := p.gather(ctx, r, func(got Reply) bool { reply = got; return true })
		failed := err
		if err == nil {
			failed = reply.Err
		}
		pause, again := p.another(r, failed, try)
		if !again || !sleep(ctx, pause) {
			if reply.Member.Incarnation != "" {
				each(reply)
			}
			return err
		}
	}
}

// another says whether a failed call is tried again, and after which pause.
func (p *Peer) another(r Request, err error, try int) (time.Duration, bool) {
	code := fault.LocalCode(err)
	switch {
	case p.usable() != nil && !p.fenced.Load():
		return 0, false
	case r.Target.scope == scopeAll && !r.Repeatable:
		return 0, false // a cast: some of its nodes have it
	case code == fault.NoReceiver && try == 0:
		return secondTry, true
	case errors.Is(err, errNotRun) && r.Target.scope != scopeNode:
		return secondTry, try < 3
	case !r.Repeatable:
		return 0, false
	case code == fault.NodeGone && r.Target.scope == scopeNode:
		return 0, false // that life does not come back
	case code == fault.Unavailable, code == fault.NodeGone, code == fault.NoReceiver:
		return min(secondTry<<try, time.Second), true // until the deadline
	}
	return 0, false
}

// sleep waits, and reports whether it was allowed to.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// gather calls nodes once, and hands on their replies.
func (p *Peer) gather(ctx context.Context, r Request, each func(Reply) bool) error {
	members, err := p.resolve(ctx, r)
	if err != nil {
		return err
	}
	if err := p.usable(); err != nil {
		return err
	}
	c := p.calls.begin(members)
	defer p.calls.end(c)
	sending := p.dispatch(ctx, r, c)
	defer sending() // the payload is the caller's again when we return
	p.recheck(c)

	for range members {
		select {
		case reply := <-c.replies:
			if !each(reply) {
				p.cancel(c)
				return nil
			}
		case <-ctx.Done():
			return p.giveUp(c, fault.FromContext(ctx), each)
		case <-p.closing:
			return p.giveUp(c, errClosed, each)
		}
	}
	return nil
}

// recheck fills the slots of nodes that went away, and of all if this node was fenced, between the choice of nodes and
// the begin of the call: whoever noted that did not see the call.
func (p *Peer) recheck(c *call) {
	if p.fenced.Load() {
		p.calls.fail(p.self, errFenced)
	}
	now := p.members.roster()
	for _, m := range c.members {
		if now.members[m.Incarnation] == nil && p.members.isFormer(m.Incarnation) {
			c.fill(m.Incarnation, nil, goneFault(m, "is gone"))
		}
	}
}

// giveUp ends a call of which some answers are missing: what has come is handed on, then the nodes that are missing.
func (p *Peer) giveUp(c *call, why error, each func(Reply) bool) error {
	p.cancel(c)
	missing := 0
	for _, m := range c.missing() {
		if c.fill(m.Incarnation, nil, unanswered(why, "node "+describe(m)+" had not answered")) {
			missing++
		}
	}
	for more := true; more; {
		select {
		case reply := <-c.replies:
			more = each(reply)
		default:
			more = false
		}
	}
	return unanswered(why, fmt.Sprintf("%d of %d nodes had not answered", missing, len(c.members)))
}

// unanswered is what ended a call, with what was missing then.
func unanswered(why error, what string) error {
	return &fault.Error{Code: fault.CodeOf(why), Message: what, Err: why}
}

// cancel tells the nodes that have not answered that nobody waits.
func (p *Peer) cancel(c *call) {
	for _, m := range c.missing() {
		if m.Incarnation == p.self {
			p.running.cancel(runKey{p.self, c.id})
			continue
		}
		p.transfers.cancelCall(m.Incarnation, c.id)
		p.writer.post(outgoing{to: Inbox(m.Incarnation), kind: kindCancel, head: number(c.id)})
	}
}

// cast sends a request for which nobody waits.
func (p *Peer) cast(ctx context.Context, r Request, _ func(Reply) bool) error {
	for try := 0; ; try++ {
		err := p.castOnce(ctx, r)
		if pause, again := p.another(r, err, try); !again || !sleep(ctx, pause) {
			return err
		}
	}
}

func (p *Peer) castOnce(ctx context.Context, r Request) error {
	members, err := p.resolve(ctx, r)
	if err != nil {
		return err
	}
	c := p.calls.begin(members) // for its number, and the faults of sending
	defer p.calls.end(c)
	p.dispatch(ctx, r, c)()
	for range members {
		select {
		case reply := <-c.replies:
			if reply.Err != nil && err == nil {
				err = reply.Err
			}
		default:
		}
	}
	return err
}

// dispatch sends the request to the call's nodes. A fault of the way there fills the node's slot. It does not wait for
// the transport, except with a cast; what it answers waits until the payload is no longer used.
func (p *Peer) dispatch(ctx context.Context, r Request, c *call) (wait func()) {
	deadline, _ := ctx.Deadline()
	wire := request{id: c.id, cast: r.Cast, method: r.Method, headers: r.Headers, payload: r.Payload, budget: time.Until(deadline)}
	var others []Member
	for _, m := range c.members {
		if m.Incarnation != p.self {
			others = append(others, m)
			continue
		}
		own := wire
		own.payload = bytes.Clone(r.Payload)
		p.receive(inbound{request: own, from: m, arrived: time.Now(), local: true})
	}
	if len(others) == 0 {
		return func() {}
	}
	head := wire.head()
	switch {
	case len(head)+len(r.Payload) > p.chunk:
		sent := p.transmitAll(ctx, others, c, head, r.Payload)
		if r.Cast {
			return sent
		}
		return func() {
			p.transfers.answered(c.id) // a node may answer what it never had: its beginning was lost
			sent()
		}
	case r.Target.scope == scopeAll && len(others) > 1:
		p.request(ctx, Broadcast, others, c, r, head)
	default:
		for _, m := range others {
			p.request(ctx, Inbox(m.Incarnation), []Member{m}, c, r, head)
		}
	}
	return func() {}
}

// request hands a request to the writer. It waits only for a cast, which has no answer to wait for.
func (p *Peer) request(ctx context.Context, to Address, members []Member, c *call, r Request, head []byte) {
	failed := func(err error) {
		for _, m := range members {
			c.fill(m.Incarnation, nil, sendFault(err, m))
		}
	}
	// The payload is copied: the caller may leave, and use it again, before it is sent.
	out := outgoing{to: to, kind: kindRequest, head: append(head, r.Payload...), failed: failed}
	hand := p.writer.hand
	if r.Cast {
		hand = p.writer.send
	}
	if err := hand(ctx, out); err != nil {
		failed(err)
		return
	}
	c.went(to, members[0])
}

// sendFault is why a request did not reach a node.
func sendFault(err error, m Member) error {
	if fault.CodeOf(err) == fault.NoReceiver {
		return &fault.Error{Code: fault.NoReceiver, Node: m.Name, Retryable: true, Message: "nobody listens at the inbox of node " + describe(m)}
	}
	return fault.In(err, "rpc: call", "")
}
