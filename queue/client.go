package queue

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/gobackplane/backplane/fault"
)

const opEnqueue = "queue: enqueue"

// maxBatchBytes bounds the payloads, or results, of one call to the driver, so that a big bulk does not hold up the
// connection.
const maxBatchBytes = 4 << 20

// Client enqueues tasks. It runs nothing in the background and needs no Close, so a program that only enqueues needs
// nothing else. It is safe for concurrent use.
type Client struct {
	backend *Backend
	trace   Propagator
	enqueue Enqueuer
}

// ClientOptions are all optional.
type ClientOptions struct {
	Middleware []EnqueueMiddleware // the first is the outermost
	Propagator Propagator          // carries traces; nil: TraceContext
}

// NewClient makes a client. With a nil backend (the transport offers no queue) every call answers Unsupported.
func NewClient(b *Backend, o ClientOptions) *Client {
	c := &Client{backend: offered(b), trace: o.Propagator}
	if c.trace == nil {
		c.trace = TraceContext{}
	}
	c.enqueue = wrap(c.send, o.Middleware)
	return c
}

// offered is nil where a transport offers no queue.
func offered(b *Backend) *Backend {
	if b == nil || b.Driver == nil {
		return nil
	}
	return b
}

// Enqueue stores one task of a kind: now, unless an option says otherwise. When it returns without error the store has
// the task, or, if the receipt says Duplicate, the one that stands in its way.
//
// After an Unavailable or a context's end nobody knows whether the store got it. The receipt then has the ID that was
// tried: enqueue with [ID](receipt.ID) to try again without making a second one.
func Enqueue[T any](ctx context.Context, c *Client, kind Kind[T], payload T, options ...Option) (Receipt, error) {
	task, err := kind.Task(payload, options...)
	if err != nil {
		return Receipt{Err: err}, err
	}
	receipts, err := c.Enqueue(ctx, task)
	if len(receipts) != 1 {
		if err == nil {
			err = fault.New(fault.Internal, "middleware answered %d receipts for one task", len(receipts))
		}
		err = fault.In(err, opEnqueue, task.Kind)
		return Receipt{ID: task.ID, Err: err}, err
	}
	return receipts[0], err
}

// EnqueueMany stores one task for each payload, in few round trips. The options are applied to every one of them; for
// options of their own, or several kinds at once, make tasks with [Kind.Task] and use [Client.Enqueue], whose answer
// this is. A payload that cannot be encoded refuses them all.
func EnqueueMany[T any](ctx context.Context, c *Client, kind Kind[T], payloads []T, options ...Option) ([]Receipt, error) {
	tasks := make([]Task, len(payloads))
	for i, payload := range payloads {
		task, err := kind.Task(payload, options...)
		if err != nil {
			return refuseAll(len(payloads), fault.New(fault.CodeOf(err), "payload %d: %w", i, err))
		}
		tasks[i] = task
	}
	return c.Enqueue(ctx, tasks...)
}

// Enqueue stores tasks, of one or several kinds and queues, and answers one receipt for each, in order, with its own
// error. The tasks are independent of each other: those that can be stored are. The error is nil when all went well, and
// else tells how many did not and why the first.
//
// What a task leaves empty is filled in: ID (a UUIDv7), Queue, MaxAttempts, MaxLost, EnqueuedAt. Limits are checked
// before anything is sent: Invalid, TooLarge.
func (c *Client) Enqueue(ctx context.Context, tasks ...Task) ([]Receipt, error) {
	if err := fault.FromContext(ctx); err != nil {
		return refuseAll(len(tasks), err)
	}
	if c.backend == nil {
		return refuseAll(len(tasks), fault.New(fault.Unsupported, "this transport offers no queue"))
	}
	prepared := append([]Task(nil), tasks...)
	now := time.Now()
	for i := range prepared {
		if err := prepare(&prepared[i], now); err != nil {
			return refuseAll(len(tasks), err)
		}
	}
	c.inject(ctx, prepared)
	return c.enqueue(ctx, prepared)
}

// Capabilities says what the transport can do, and within which bounds. The zero Capabilities when it offers no queue.
func (c *Client) Capabilities() Capabilities {
	if c.backend == nil {
		return Capabilities{}
	}
	return c.backend.Capabilities
}

// prepare fills in what a task leaves empty.
func prepare(t *Task, now time.Time) error {
	if t.ID == "" && !t.CallerID {
		id, err := uuid.NewV7()
		if err != nil {
			return fault.New(fault.Internal, "no random bytes for an ID: %w", err)
		}
		t.ID = id.String()
	}
	if t.Queue == "" {
		t.Queue = DefaultQueue
	}
	if t.MaxAttempts == 0 {
		t.MaxAttempts = DefaultMaxAttempts
	}
	if t.MaxLost == 0 {
		t.MaxLost = DefaultMaxLost
	}
	if t.EnqueuedAt.IsZero() {
		t.EnqueuedAt = now
	}
	return nil
}

// inject adds the trace of ctx to tasks that do not carry one. Headers are copied before they are changed: several
// tasks, or the caller, may hold the same map.
func (c *Client) inject(ctx context.Context, tasks []Task) {
	trace := map[string]string{}
	c.trace.Inject(ctx, trace)
	if len(trace) == 0 {
		return
	}
	for i := range tasks {
		headers := maps.Clone(trace)
		maps.Copy(headers, tasks[i].Headers)
		tasks[i].Headers = headers
	}
}

// send is the innermost Enqueuer: it checks the limits and calls the driver, in batches that it takes.
func (c *Client) send(ctx context.Context, tasks []Task) ([]Receipt, error) {
	receipts := make([]Receipt, len(tasks))
	good := make([]int, 0, len(tasks))
	for i := range tasks {
		receipts[i].ID = tasks[i].ID
		if err := checkTask(&tasks[i], c.backend.Capabilities); err != nil {
			receipts[i].Err = fault.In(err, opEnqueue, tasks[i].Kind)
			continue
		}
		good = append(good, i)
	}
	for len(good) > 0 {
		n := c.batch(tasks, good)
		c.sendBatch(ctx, tasks, good[:n], receipts)
		good = good[n:]
	}
	return receipts, failureOf(receipts)
}

// batch is how many of the tasks at these indices go into one call.
func (c *Client) batch(tasks []Task, at []int) int {
	size, n := 0, 0
	for n < len(at) && !over(n+1, c.backend.Capabilities.MaxBatch) {
		size += sizeOf(&tasks[at[n]])
		if n > 0 && size > maxBatchBytes {
			break
		}
		n++
	}
	return n
}

func (c *Client) sendBatch(ctx context.Context, tasks []Task, at []int, receipts []Receipt) {
	batch := tasks
	if len(at) < len(tasks) {
		batch = make([]Task, len(at))
		for i, j := range at {
			batch[i] = tasks[j]
		}
	}
	answers, err := c.backend.Enqueue(ctx, batch)
	if err == nil && len(answers) != len(at) {
		err = fault.New(fault.Internal, "the transport answered %d receipts for %d tasks", len(answers), len(at))
	}
	for i, j := range at {
		if err != nil {
			receipts[j].Err = fault.In(err, opEnqueue, tasks[j].Kind)
			continue
		}
		receipts[j] = answers[i]
		receipts[j].Err = fault.In(answers[i].Err, opEnqueue, tasks[j].Kind)
		if receipts[j].ID == "" {
			receipts[j].ID = tasks[j].ID
		}
	}
}

// failureOf sums up receipts in one error: nil when none has failed.
func failureOf(receipts []Receipt) error {
	failed, first := 0, -1
	for i := range receipts {
		if receipts[i].Err != nil {
			if failed++; first < 0 {
				first = i
			}
		}
	}
	switch {
	case failed == 0:
		return nil
	case len(receipts) == 1:
		return receipts[0].Err
	}
	err := receipts[first].Err
	return &fault.Error{Code: fault.CodeOf(err), Op: opEnqueue, Retryable: fault.IsRetryable(err), Err: err,
		Message: fmt.Sprintf("%d of %d tasks were not enqueued (see the receipts); the first, number %d", failed, len(receipts), first)}
}

// refuseAll answers n receipts with the same error.
func refuseAll(n int, err error) ([]Receipt, error) {
	err = fault.In(err, opEnqueue, "")
	receipts := make([]Receipt, n)
	for i := range receipts {
		receipts[i].Err = err
	}
	return receipts, err
}
