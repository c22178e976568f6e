package limits

import (
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// Queue checks what is given to a queue.Driver or queue.Admin.
type Queue struct {
	Transport string // named in errors
	queue.Capabilities
}

const smallerPayload = "keep the bulk elsewhere (the cache, a file) and send a reference"

func (q Queue) at(op, subject string) at { return at{q.Transport, op, subject} }

// Batch checks the number of elements of one call.
func (q Queue) Batch(op string, n int) error { return q.at(op, "").batch(n, q.MaxBatch) }

// Name checks a queue's name.
func (q Queue) Name(op, queue string) error {
	return q.at(op, queue).name("queue's name", queue, q.MaxName)
}

// ID checks the ID of a task in an Admin call.
func (q Queue) ID(op, id string) error { return q.at(op, id).name("task's ID", id, q.MaxName) }

// Task checks one element of Driver.Enqueue.
func (q Queue) Task(t *queue.Task) error {
	a := q.at("queue: enqueue", t.ID)
	err := first(
		a.name("task's ID", t.ID, q.MaxName),
		a.name("queue's name", t.Queue, q.MaxName),
		a.name("task's kind", t.Kind, q.MaxName),
		a.length("unique key", t.UniqueKey, q.MaxName),
		a.atLeast("MaxAttempts", t.MaxAttempts, 1),
		a.atLeast("MaxLost", t.MaxLost, 1),
		a.notNegative("Timeout", t.Timeout),
		a.notNegative("UniqueFor", t.UniqueFor),
		a.notNegative("Retention", t.Retention),
	)
	if err != nil {
		return err
	}
	if t.Priority < 0 || t.Priority > q.MaxPriority {
		return a.refuse(fault.Invalid, "the priority is %d; it must be 0 (normal) to %d", t.Priority, q.MaxPriority)
	}
	return a.size("payload with headers", len(t.Payload)+HeaderSize(t.Headers), q.MaxPayload, smallerPayload)
}

// Claim checks a claim, whole.
func (q Queue) Claim(c queue.Claim) error {
	const op = "queue: claim"
	a := q.at(op, c.Worker)
	if err := first(
		a.name("worker", c.Worker, q.MaxName),
		a.atLeast("the number of queues", len(c.Queues), 1),
		a.batch(len(c.Queues), q.MaxBatch),
		a.atLeast("Max", c.Max, 1),
		a.notNegative("the wait", c.Wait),
	); err != nil {
		return err
	}
	for _, name := range c.Queues {
		if err := q.Name(op, name); err != nil {
			return err
		}
	}
	return nil
}

// Settlements checks what makes a whole batch wrong; each of its items is for Settlement.
func (q Queue) Settlements(s queue.Settlements) error {
	a := q.at("queue: settle", s.Worker)
	if err := first(a.name("worker", s.Worker, q.MaxName), a.batch(len(s.Items), q.MaxBatch)); err != nil {
		return err
	}
	if s.Number == 0 {
		return a.refuse(fault.Invalid, "the batch has number 0; they count from 1")
	}
	return nil
}

// Settlement checks one element of Driver.Settle.
func (q Queue) Settlement(s *queue.Settlement) error {
	const op = "queue: settle"
	if err := q.Ref(op, s.Ref); err != nil {
		return err
	}
	a := q.at(op, s.ID)
	if s.Outcome < queue.Done || s.Outcome > queue.Release {
		return a.refuse(fault.Invalid, "outcome %d is none; use Done, Retry, Snooze, Dead or Release", s.Outcome)
	}
	if err := a.notNegative("the delay", s.Delay); err != nil {
		return err
	}
	return a.size("result", len(s.Result), q.MaxPayload, smallerPayload)
}

// Ref checks one element of Driver.Extend. A token that is empty is no error here: no lease has it.
func (q Queue) Ref(op string, r queue.Ref) error {
	a := q.at(op, r.ID)
	return first(a.name("task's ID", r.ID, q.MaxName), a.name("queue's name", r.Queue, q.MaxName))
}

// List checks a listing.
func (q Queue) List(l queue.List) error {
	const op = "queue: list"
	if err := first(q.Name(op, l.Queue), q.at(op, l.Queue).atLeast("the page's limit", l.Limit, 0)); err != nil {
		return err
	}
	switch l.State {
	case queue.Scheduled, queue.Pending, queue.Active, queue.Completed, queue.DeadLetter, queue.Cancelled:
		return nil
	}
	return q.at(op, l.Queue).refuse(fault.Invalid,
		"%q is no state; use scheduled, pending, active, completed, dead or cancelled", l.State)
}

// Properties checks the properties of a queue. A zero Lease means the default.
func (q Queue) Properties(name string, p queue.Properties) error {
	const op = "queue: configure"
	if err := q.Name(op, name); err != nil {
		return err
	}
	if p.Lease == 0 {
		return nil
	}
	return q.at(op, name).term("lease", p.Lease, q.MinLease)
}

// MaxError is how much of a task's error is kept, in bytes.
const MaxError = 4 << 10

// CutError cuts an error text at MaxError bytes, between characters.
func CutError(text string) string { return cut(text, MaxError) }
