package postgres

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

var queueCapabilities = queue.Capabilities{
	MaxPayload:  16 << 20,
	MaxBatch:    1000,
	MaxClaim:    1000,
	MaxName:     512,
	MinLease:    10 * time.Millisecond,
	Granularity: time.Microsecond,
	Lateness:    time.Second,
	IDMemory:    5 * time.Minute,
	MaxPriority: 9,
	Persistent:  true, // Open asks the server
}

const smallerPayload = "keep the bulk elsewhere (the cache, a file) and send a reference"

// maxError is how much of a task's error is kept, in bytes.
const maxError = 4 << 10

// tasks is the queue.Driver of one node.
type tasks struct {
	t    *Transport
	node string // names this node among those that wait
	said *said

	vacuum vacuum
}

func newQueue(t *Transport) *queue.Backend {
	d := &tasks{t: t, node: drawn(), said: newSaid()}
	return &queue.Backend{Driver: d, Admin: admin{d}, Capabilities: queueCapabilities}
}

// begin refuses a call as a whole.
func (d *tasks) begin(ctx context.Context, op string, n int) error {
	if err := d.t.ready(ctx, op, ""); err != nil {
		return err
	}
	return check{op: op}.batch(n, queueCapabilities.MaxBatch)
}

func checkTask(t *queue.Task) error {
	at := check{"queue: enqueue", t.ID}
	err := first(
		at.name("task's ID", t.ID, queueCapabilities.MaxName),
		at.name("queue's name", t.Queue, queueCapabilities.MaxName),
		at.name("task's kind", t.Kind, queueCapabilities.MaxName),
		at.length("unique key", t.UniqueKey, queueCapabilities.MaxName),
		at.atLeast("MaxAttempts", t.MaxAttempts, 1),
		at.atLeast("MaxLost", t.MaxLost, 1),
		at.notNegative("Timeout", t.Timeout),
		at.notNegative("UniqueFor", t.UniqueFor),
		at.notNegative("Retention", t.Retention),
		at.size("payload with headers", len(t.Payload)+headerSize(t.Headers), queueCapabilities.MaxPayload, smallerPayload),
	)
	if err == nil && (t.Priority < 0 || t.Priority > queueCapabilities.MaxPriority) {
		err = at.refuse(fault.Invalid, "the priority is %d; it must be 0 (normal) to %d", t.Priority, queueCapabilities.MaxPriority)
	}
	return err
}

func checkRef(op string, r *queue.Ref) error {
	at := check{op, r.ID}
	return first(at.name("task's ID", r.ID, queueCapabilities.MaxName), at.name("queue's name", r.Queue, queueCapabilities.MaxName))
}

func checkSettlement(s *queue.Settlement) error {
	const op = "queue: settle"
	at := check{op, s.ID}
	if err := first(
		checkRef(op, &s.Ref),
		at.notNegative("the delay", s.Delay),
		at.size("result", len(s.Result), queueCapabilities.MaxPayload, smallerPayload),
	); err != nil {
		return err
	}
	if s.Outcome < queue.Done || s.Outcome > queue.Release {
		return at.refuse(fault.Invalid, "outcome %d is none; use Done, Retry, Snooze, Dead or Release", s.Outcome)
	}
	return nil
}

func checkTaskClaim(c *queue.Claim) error {
	const op = "queue: claim"
	at := check{op, c.Worker}
	if err := first(
		at.name("worker", c.Worker, queueCapabilities.MaxName),
		at.atLeast("the number of queues", len(c.Queues), 1),
		at.batch(len(c.Queues), queueCapabilities.MaxBatch),
		at.atLeast("Max", c.Max, 1),
		at.notNegative("the wait", c.Wait),
	); err != nil {
		return err
	}
	for _, name := range c.Queues {
		if err := checkQueue(op, name); err != nil {
			return err
		}
	}
	return nil
}

func checkQueue(op, name string) error {
	return check{op, name}.name("queue's name", name, queueCapabilities.MaxName)
}
