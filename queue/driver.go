package queue

import (
	"context"
	"time"
)

// Driver is the task queue half of a transport: what the store must do atomically. Kinds, handlers, back-off,
// heartbeats and middleware stand above it, in [Client] and [Worker].
//
// A task is always in exactly one state:
//
//	scheduled → pending → active → completed | scheduled (retry, snooze) | dead | cancelled
//
// At least once: what Enqueue accepted runs or is found in dead, as long as the store keeps its data.
// One lease at a time: every claim of a task has its own token, and settling or extending with an old one is refused
// with LeaseLost and changes nothing.
//
// Methods that take a slice answer one result for each element, in order, with its own error; the error beside the
// slice means that nothing is known of any element. A driver does not retain a slice after it has returned; what it
// returns belongs to the caller. All methods may be called concurrently; a context that ends makes them return
// promptly; after the transport's Close each answers Closed.
//
// There is no leader, no scheduler and no janitor: Claim moves due and expired tasks itself, by the store's clock.
type Driver interface {
	// Enqueue stores tasks; when it returns without error for an element the store has the task. A task whose RunAt is
	// in the past or zero is pending at once. When the ID is taken, or was until not more than
	// [Capabilities].IDMemory ago and CallerID is set, or when the unique key is held, nothing is stored: the receipt
	// says Duplicate and has the ID of the task that stands in the way.
	Enqueue(ctx context.Context, tasks []Task) ([]Receipt, error)

	// Claim leases up to c.Max due tasks of c.Queues to c.Worker, taking the queues in the order given, and in each the
	// highest priority first, then the oldest. It may give fewer than there are, where they are large together, for the
	// next Claim to give the rest: one of any size must come.
	//
	// First it moves due scheduled tasks and expired leases of these queues to pending, a bounded number each time, by
	// the store's clock. An expired lease adds to the task's Lost, not to its Attempts; when Lost passes the task's
	// MaxLost the task is dead, with the reason. A paused queue gives nothing.
	// With nothing due it waits until something may be, c.Wait is over, or ctx ends; these return no tasks and no error
	// (a context that had ended before the call is an error). It may return empty early. A task that was leased here and
	// lost on the way back comes back when its lease ends.
	Claim(ctx context.Context, c Claim) (Claimed, error)

	// Settle ends leases, each with an outcome. The answer for a stale claim is LeaseLost and the task is untouched.
	// A lease whose time is over stands until a Claim has taken it back: until then nobody else has the task, and to
	// refuse would only make it run again.
	//
	// Batches of one Worker are numbered from 1 in Number, and sent one at a time: the store keeps the last answer per
	// worker for at least 10 minutes, so that a repeat of the last batch after a lost reply gets the same answer and
	// changes nothing. A number below the last one is Conflict.
	Settle(ctx context.Context, s Settlements) ([]error, error)

	// Extend makes leases end one lease length (of the queue, as it is configured now) from now. LeaseLost for a stale one; Canceled when somebody asked to
	// cancel the task (the lease is extended all the same, so that the handler can end).
	Extend(ctx context.Context, refs []Ref) ([]error, error)
}

// Admin is what an operator asks of a queue. Every answer costs the same however long the queues are, unless said.
type Admin interface {
	// Queues lists the names of all queues that hold a task, were configured, or have counters.
	Queues(ctx context.Context) ([]string, error)
	// Stats counts one queue's tasks by state, and what has happened in it. An unknown queue is all zeros.
	Stats(ctx context.Context, queue string) (Stats, error)
	// List shows tasks of one state, oldest first (scheduled: by run time), one page a call.
	List(ctx context.Context, l List) (Tasks, error)
	// Find shows one task in whatever state. NotFound when it is not there. It may cost as much as there are active
	// tasks in the queue, and so may Remove, Requeue and Cancel.
	Find(ctx context.Context, queue, id string) (Info, error)
	// Remove deletes tasks that are not active. Conflict for an active one, NotFound for one that is not there.
	Remove(ctx context.Context, queue string, ids []string) ([]error, error)
	// Requeue makes dead, cancelled, completed (while kept) or scheduled tasks pending now; for all but scheduled ones
	// Attempts and Lost begin again at 0. Conflict for a pending or active one, and for one whose unique key another task
	// holds by now; NotFound for one that is not there.
	Requeue(ctx context.Context, queue string, ids []string) ([]error, error)
	// Cancel makes scheduled and pending tasks cancelled at once. For an active one the request is kept: its worker
	// hears of it at the next Extend, and whatever Retry, Dead or Release it settles with then, or the loss of its
	// lease, makes the task cancelled; Done still completes it. Conflict for an ended task, NotFound for none.
	Cancel(ctx context.Context, queue string, ids []string) ([]error, error)
	// Pause stops Claim from giving the queue's tasks, Resume lets it again. Both may be repeated.
	Pause(ctx context.Context, queue string) error
	Resume(ctx context.Context, queue string) error
	// Configure sets the properties of a queue, for all nodes, from now on.
	Configure(ctx context.Context, queue string, p Properties) error
	// Properties tells them; the defaults where none were set.
	Properties(ctx context.Context, queue string) (Properties, error)
}

// Backend is what a transport offers as a queue.
type Backend struct {
	Driver
	Admin        Admin
	Capabilities Capabilities
}

// Capabilities says what a queue transport can do, and within which bounds.
type Capabilities struct {
	MaxPayload  int           // largest payload with headers, in bytes; at least 64 KiB
	MaxBatch    int           // most tasks of one Enqueue, settlements of one Settle, refs of one Extend; at least 1,000
	MaxClaim    int           // most tasks of one Claim; a greater Max gets that many; at least 64
	MaxName     int           // longest queue name, ID or unique key, in bytes; at least 256
	MinLease    time.Duration // shortest lease
	Granularity time.Duration // run times and leases are rounded up to a multiple of this
	Lateness    time.Duration // how late a due task may be seen by a waiting Claim; at most 1 s
	IDMemory    time.Duration // how long an ID that the caller chose is known after the task is gone; at least 5 min
	MaxPriority int           // priorities are 0 (normal) to this
	Persistent  bool          // tasks outlive a restart of the store
}

// Properties of a queue live in the store, so that all nodes agree.
type Properties struct {
	// Lease is how long a claim lasts unless extended: the time after which a crashed worker's tasks run elsewhere.
	// Default 30 s.
	Lease time.Duration
}

// DefaultLease is the lease of a queue for which none was configured.
const DefaultLease = 30 * time.Second

// Limits on attempts, for tasks that do not say.
const (
	DefaultMaxAttempts = 25
	DefaultMaxLost     = 10
)

// Task is one unit of work as a transport stores it.
type Task struct {
	ID       string // UUIDv7, or the caller's
	CallerID bool   // the caller chose the ID: it stays known for a while after the task is gone
	Kind     string // which handler runs it
	Queue    string
	Priority int // 0 is normal; higher is claimed first

	Payload []byte
	Headers map[string]string // trace context, and what middleware adds; keys keep their case

	EnqueuedAt time.Time // by the enqueuing node's clock, for people to read
	RunAt      time.Time // not before; zero: now. Compared with the store's clock

	MaxAttempts int           // then dead; at least 1
	MaxLost     int           // leases that may be lost, then dead; at least 1
	Timeout     time.Duration // for one attempt; 0: none
	Deadline    time.Time     // for the whole task; zero: none. It is for the worker: a transport only keeps it

	UniqueKey string        // at most one task with this key in the queue; released when it ends in any way
	UniqueFor time.Duration // longest time the key is held; 0: until the task ends

	Retention time.Duration // how long a completed task and its result are kept; 0: not at all

	// What happened so far: kept by the store, and ignored by Enqueue.
	Attempts  int    // attempts that ended in Retry or Dead
	Lost      int    // leases that ended unsettled
	LastError string // of the last failed attempt, or why the task was put off since; at most 4 KiB
}

// Receipt answers an enqueued task.
type Receipt struct {
	ID        string // of the task stored, or of the one in the way
	Duplicate bool
	Err       error
}

// Claim asks for tasks.
type Claim struct {
	Worker string   // who claims: unique to a worker's life
	Queues []string // in order of preference; at least one
	Max    int      // at least 1
	Wait   time.Duration
}

// Claimed is what a claim got.
type Claimed struct {
	Tasks []Leased
}

// Leased is a task with the lease under which it was claimed. A record that cannot be decoded is claimed too, with Err
// set (Corrupt) and of the Task only ID and Queue filled in, so that its worker can settle it as Dead and the rest goes
// on.
type Leased struct {
	Task
	Token string        // unique to this claim
	Lease time.Duration // reckon it from before Claim was sent
	Err   error
}

// Ref names the claim.
func (l Leased) Ref() Ref { return Ref{Queue: l.Queue, ID: l.ID, Token: l.Token} }

// Ref names one claim of one task.
type Ref struct {
	Queue string
	ID    string
	Token string // unique to this claim
}

// Outcome is how a claim ended.
type Outcome uint8

// The outcomes.
const (
	// Done: completed. Kept for the task's Retention with Result.
	Done Outcome = iota + 1
	// Retry: failed; scheduled again at At (after Delay, if set) with Attempts one higher.
	Retry
	// Snooze: scheduled again like Retry, without counting an attempt. An Error is kept; with none the last one stays.
	Snooze
	// Dead: failed for good; kept in dead with Error, Attempts one higher.
	Dead
	// Release: given back untouched, first in line, without counting anything.
	Release
)

// Settlement ends one claim.
type Settlement struct {
	Ref
	Outcome Outcome
	Delay   time.Duration // Retry, Snooze: how long from now, by the store's clock
	Error   string        // Retry, Dead: what went wrong; Snooze: why, if that is to be kept; cut at 4 KiB
	Result  []byte        // Done: kept when the task has Retention
}

// Settlements is one numbered batch of one worker's sender.
type Settlements struct {
	Worker string // the sender: each numbers its own batches
	Number uint64
	Items  []Settlement
}

// State of a task.
type State string

// The states.
const (
	Scheduled  State = "scheduled"
	Pending    State = "pending"
	Active     State = "active"
	Completed  State = "completed"
	DeadLetter State = "dead"
	Cancelled  State = "cancelled"
)

// Stats counts one queue.
type Stats struct {
	Queue  string
	Paused bool

	// How many tasks are in each state now.
	Pending, Scheduled, Active, Completed, Dead, Cancelled int64

	// How long the task that is next in line has waited since it was enqueued; 0 if there is none.
	OldestPending time.Duration

	// What has happened since the queue was first used.
	Totals Totals
}

// Totals count events of one queue, kept in the store.
type Totals struct {
	Enqueued   int64 // tasks accepted
	Duplicates int64 // tasks refused as Duplicate
	Completed  int64 // settled as Done: each task once
	Retried    int64
	Snoozed    int64
	Released   int64
	Dead       int64
	Cancelled  int64
	Lost       int64 // leases that ended unsettled
	Stale      int64 // settlements refused with LeaseLost
}

// List asks for one page of tasks.
type List struct {
	Queue  string
	State  State
	Cursor string // empty: from the start
	Limit  int    // about how many; 0: the transport's choice
}

// Tasks is one page of tasks.
type Tasks struct {
	Tasks []Info
	Next  string // empty: this was the last page
}

// Info is a task as an operator sees it.
type Info struct {
	Task
	State   State
	Since   time.Time // when it came into the state, where known
	Result  []byte    // of a completed task that is kept
	Holder  string    // of an active task: the worker
	Expires time.Time // active: the lease's end; completed: when it is forgotten
	Err     error     // Corrupt: the record could not be decoded
}
