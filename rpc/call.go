package rpc

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Result is what became of a call on one node, with its value decoded.
type Result[Res any] struct {
	Member  Member
	Value   Res
	Err     error         // nil: Value is the answer
	Latency time.Duration // from when the call began
}

// CallOption changes one call.
type CallOption func(*callOptions)

type callOptions struct {
	timeout    time.Duration
	headers    map[string]string
	repeatable bool
	firstOK    bool
	quorum     int
}

// Timeout ends the call after d, if its context does not end before. It may be longer than Options.CallTimeout.
func Timeout(d time.Duration) CallOption { return func(o *callOptions) { o.timeout = d } }

// Header sends a text along with the call, for the handler's [Incoming].
func Header(name, value string) CallOption {
	return func(o *callOptions) {
		if o.headers == nil {
			o.headers = map[string]string{}
		}
		o.headers[name] = value
	}
}

// Repeatable says that the call may run more than once. A call to one node is then tried again, until its deadline, when
// the way there fails: Unavailable, NodeGone (if another node can take it) and NoReceiver. What a handler answers is
// never a reason to call again. Without this only a request that certainly has not run is tried again: one that nobody
// received, once, and one that a closing node refused, on another node.
func Repeatable() CallOption { return func(o *callOptions) { o.repeatable = true } }

// FirstOK makes Call take the first answer that is no error, instead of the first. Only if every node fails is there an
// error, with all of theirs.
func FirstOK() CallOption { return func(o *callOptions) { o.firstOK = true } }

// Quorum makes Gather return when k nodes have answered without error, or k no longer can. The handlers that still run
// are cancelled.
func Quorum(k int) CallOption { return func(o *callOptions) { o.quorum = k } }

// Call runs a method and answers its value: on the target's node or, with the target All, on every node, of which the
// first to answer counts (see [FirstOK]) and the others are cancelled.
func Call[Res, Req any](ctx context.Context, p *Peer, to Target, method string, request Req, options ...CallOption) (Res, error) {
	var value Res
	payload, err := encode(p, method, request)
	if err != nil {
		return value, err
	}
	answer, err := p.Call(ctx, to, method, payload, options...)
	if err != nil {
		return value, err
	}
	return decode[Res](p, method, answer)
}

// Gather runs a method on the target's nodes and answers what became of it on each, in the order in which they answered.
// Unless all did well (with [Quorum]: enough of them) the results that there are come with an error, whose code is that
// of the first that failed.
func Gather[Res, Req any](ctx context.Context, p *Peer, to Target, method string, request Req, options ...CallOption) ([]Result[Res], error) {
	payload, err := encode(p, method, request)
	if err != nil {
		return nil, err
	}
	replies, err := p.Gather(ctx, to, method, payload, options...)
	results := make([]Result[Res], len(replies))
	for i, reply := range replies {
		results[i] = result[Res](p, method, reply)
		if err == nil && reply.Err == nil {
			err = results[i].Err
		}
	}
	return results, err
}

// Stream runs a method on the target's nodes and yields what became of it on each, as it comes; the error beside a
// result is the result's own. An error that ends the whole call comes last, with a result that names no member. Leaving
// the loop cancels the handlers that still run.
func Stream[Res, Req any](ctx context.Context, p *Peer, to Target, method string, request Req, options ...CallOption) iter.Seq2[Result[Res], error] {
	return func(yield func(Result[Res], error) bool) {
		payload, err := encode(p, method, request)
		if err != nil {
			yield(Result[Res]{}, err)
			return
		}
		for reply, err := range p.Stream(ctx, to, method, payload, options...) {
			r := result[Res](p, method, reply)
			if err == nil {
				err = r.Err
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Cast runs a method on the target's nodes and returns when the request is sent. Nobody answers; on each node it may run
// for as long as a call might have taken.
func Cast[Req any](ctx context.Context, p *Peer, to Target, method string, request Req, options ...CallOption) error {
	payload, err := encode(p, method, request)
	if err != nil {
		return err
	}
	return p.Cast(ctx, to, method, payload, options...)
}

// Call is the function [Call] for bytes.
func (p *Peer) Call(ctx context.Context, to Target, method string, payload []byte, options ...CallOption) ([]byte, error) {
	r, o, cancel := prepare(&ctx, to, method, payload, options)
	defer cancel()
	var last Reply
	var failed []Reply
	err := p.invoker(ctx, r, func(reply Reply) bool {
		last = reply
		if reply.Err == nil {
			return false
		}
		failed = append(failed, reply)
		return o.firstOK
	})
	switch {
	case len(failed) > 1 && last.Err != nil:
		return nil, partial(method, failed, len(failed), nil)
	case last.Err != nil:
		return nil, fault.In(last.Err, "rpc: call", method)
	case last.Member.Incarnation != "":
		return last.Value, nil
	case err == nil:
		err = fault.New(fault.Internal, "middleware ended the call without an answer")
	}
	return nil, err
}

// Gather is the function [Gather] for bytes.
func (p *Peer) Gather(ctx context.Context, to Target, method string, payload []byte, options ...CallOption) ([]Reply, error) {
	r, o, cancel := prepare(&ctx, to, method, payload, options)
	defer cancel()
	if o.quorum < 0 {
		return nil, fault.In(fault.New(fault.Invalid, "a quorum of %d makes no sense", o.quorum), "rpc: call", method)
	}
	var all, failed []Reply
	err := p.invoker(ctx, r, func(reply Reply) bool {
		all = append(all, reply)
		if reply.Err != nil {
			failed = append(failed, reply)
		}
		good := len(all) - len(failed)
		return o.quorum == 0 || good < o.quorum && reply.Of-len(failed) >= o.quorum
	})
	switch {
	case o.quorum > 0 && len(all)-len(failed) >= o.quorum:
		return all, nil
	case o.quorum > 0 && len(failed) == 0 && err == nil:
		return all, fault.In(fault.New(fault.Unavailable, "only %d nodes serve it, the quorum is %d", len(all), o.quorum), "rpc: call", method)
	case len(failed) > 0:
		return all, partial(method, failed, failed[0].Of, err)
	}
	return all, err
}

// Stream is the function [Stream] for bytes.
func (p *Peer) Stream(ctx context.Context, to Target, method string, payload []byte, options ...CallOption) iter.Seq2[Reply, error] {
	return func(yield func(Reply, error) bool) {
		r, _, cancel := prepare(&ctx, to, method, payload, options)
		defer cancel()
		more := true
		err := p.invoker(ctx, r, func(reply Reply) bool {
			more = yield(reply, fault.In(reply.Err, "rpc: call", method))
			return more
		})
		if err != nil && more {
			yield(Reply{}, err)
		}
	}
}

// Cast is the function [Cast] for bytes.
func (p *Peer) Cast(ctx context.Context, to Target, method string, payload []byte, options ...CallOption) error {
	r, _, cancel := prepare(&ctx, to, method, payload, options)
	defer cancel()
	r.Cast = true
	return p.invoker(ctx, r, func(Reply) bool { return true })
}

func prepare(ctx *context.Context, to Target, method string, payload []byte, options []CallOption) (Request, callOptions, context.CancelFunc) {
	var o callOptions
	for _, option := range options {
		option(&o)
	}
	cancel := context.CancelFunc(func() {})
	if o.timeout > 0 {
		*ctx, cancel = context.WithTimeout(*ctx, o.timeout)
	}
	return Request{Target: to, Method: method, Headers: maps.Clone(o.headers), Payload: payload, Repeatable: o.repeatable}, o, cancel
}

// partial is the error of a call that failed on some of its nodes. Its code is that of the first to fail.
func partial(method string, failed []Reply, of int, ended error) error {
	const named = 5
	at := &fault.Error{Op: "rpc: call", Subject: method, Code: fault.CodeOf(failed[0].Err), Remote: true, Err: joined{failed, ended}}
	at.Message = fmt.Sprintf("%d of %d nodes failed", len(failed), of)
	for i, r := range failed {
		at.Remote = at.Remote && fault.IsRemote(r.Err)
		switch {
		case i < named:
			at.Message += fmt.Sprintf("; %s: %v", r.Member.Name, r.Err)
		case i == named:
			at.Message += fmt.Sprintf("; and %d more", len(failed)-named)
		}
	}
	return at
}

// joined is what several nodes failed with, for errors.Is and errors.As.
type joined struct {
	failed []Reply
	ended  error
}

// Error is empty: the fault around it has said it all.
func (j joined) Error() string { return "" }

// Unwrap gives the errors of the nodes.
func (j joined) Unwrap() []error {
	var all []error
	for _, r := range j.failed {
		all = append(all, r.Err)
	}
	if j.ended != nil {
		all = append(all, j.ended)
	}
	return all
}
