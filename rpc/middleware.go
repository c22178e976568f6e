package rpc

import "context"

// Request is a call as the caller's middleware sees it. Middleware may change the copy that it hands on, but not the
// payload's bytes or the headers' map, which it does not own.
type Request struct {
	Target     Target
	Method     string
	Headers    map[string]string // travel with the call: trace context, for example; at most 16 KiB together
	Payload    []byte
	Cast       bool // nobody waits for answers
	Repeatable bool // the call may run more than once on a node, or on a second one
}

// Invoker makes a call. It calls each, on the same goroutine, for the reply of every node as it comes, until each
// answers false: then the handlers that still run are cancelled. It returns what ended the call before it reached the
// nodes or before all had answered (its deadline, a fenced or closed peer); in that case too each node has had its reply.
// What single nodes failed with is in their replies alone.
type Invoker func(ctx context.Context, r Request, each func(Reply) bool) error

// Incoming is a call as the handler and its middleware see it.
type Incoming struct {
	Method  string
	From    Member // at least Name and Incarnation; the rest if the caller is a member
	Headers map[string]string
	Payload []byte // the handler's own
	Cast    bool   // nobody waits for the answer
}

// Handler serves a method. What it returns travels to the caller; a *fault.Error keeps its code, any other error is
// Internal. The context ends when the caller waits no more.
type Handler func(ctx context.Context, in *Incoming) ([]byte, error)

type incomingKey struct{}

// IncomingFrom is the call that a handler's context belongs to; nil outside of one.
func IncomingFrom(ctx context.Context) *Incoming {
	in, _ := ctx.Value(incomingKey{}).(*Incoming)
	return in
}

// wrap puts middleware around what it wraps; the first is the outermost.
func wrap[F any](inner F, middleware []func(F) F) F {
	for i := len(middleware) - 1; i >= 0; i-- {
		inner = middleware[i](inner)
	}
	return inner
}
