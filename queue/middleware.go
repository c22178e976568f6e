package queue

import "context"

// Enqueuer stores tasks and answers one receipt for each, as [Client.Enqueue] does.
type Enqueuer func(ctx context.Context, tasks []Task) ([]Receipt, error)

// EnqueueMiddleware stands around every enqueue of a client. It may change the tasks it is given (they are its own to
// change, but for payloads), add headers, refuse, or watch. Limits are checked after it.
type EnqueueMiddleware func(next Enqueuer) Enqueuer

// Handler runs one delivery, with its payload still encoded. What it returns decides what becomes of the task: see
// [Handle].
type Handler func(ctx context.Context, d *Delivery) error

// Middleware stands around handlers. A handler that panicked looks to it like one that returned an error.
type Middleware func(next Handler) Handler

// wrap puts middleware around the innermost; the first is the outermost.
func wrap[F any, M ~func(F) F](innermost F, middleware []M) F {
	for i := len(middleware) - 1; i >= 0; i-- {
		innermost = middleware[i](innermost)
	}
	return innermost
}
