package redis

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

var (
	enqueueOneScript = newScript("queue_enqueue_one", "queue_keys", "queue_wake", "queue_enqueue_one")
	enqueueScript    = newScript("queue_enqueue", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_wake", "queue_enqueue")
)

// Enqueue stores tasks; see [queue.Driver].
func (d *queueDriver) Enqueue(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
	const op = "queue: enqueue"
	if err := fault.FromContext(ctx); err != nil {
		return nil, d.t.fault(err, op, "")
	}
	if err := d.check.Batch(op, len(tasks)); err != nil {
		return nil, err
	}
	receipts := make([]queue.Receipt, len(tasks))
	b := &enqueueBatch{receipts: receipts, entries: make([]enqueueEntry, 0, len(tasks)), done: make(chan struct{})}
	for i := range tasks {
		receipts[i].ID = tasks[i].ID
		if receipts[i].Err = d.check.Task(&tasks[i]); receipts[i].Err == nil {
			b.add(&tasks[i], i)
		}
	}
	if len(b.entries) == 0 {
		return receipts, nil
	}
	if err := d.enqueuer.do(ctx, b); err != nil {
		return nil, d.t.fault(err, op, tasks[0].Queue)
	}
	return b.receipts, nil
}

// enqueueEntry is one task ready to be sent.
type enqueueEntry struct {
	batch  *enqueueBatch
	index  int // of its receipt
	queue  string
	task   string
	record string
	plain  bool // small, pending at once, level 0, no unique key, an ID that nobody chose

	// Of one that is not plain.
	due, uniqueFor int64 // ms
	level          int
	callerID       bool
	unique         string
	rest           string // of a large record, of which record is the head
}

// enqueueBatch is the tasks of one call.
type enqueueBatch struct {
	receipts []queue.Receipt
	entries  []enqueueEntry
	bytes    int

	done chan struct{} // closed when err and receipts are final
	err  error
	left bool // its caller has gone before it was sent; under the enqueuer's lock
}

func (b *enqueueBatch) add(t *queue.Task, index int) {
	e := enqueueEntry{batch: b, index: index, queue: t.Queue}
	e.task, e.record = encodeTask(t)
	if !t.RunAt.IsZero() {
		e.due = max(0, t.RunAt.UnixMilli())
		if t.RunAt.Nanosecond()%1e6 != 0 {
			e.due++ // rounded up: never early
		}
	}
	e.level, e.callerID, e.unique, e.uniqueFor = t.Priority, t.CallerID, t.UniqueKey, millis(t.UniqueFor)
	b.bytes += len(e.record)
	head := headSize(e.record)
	e.record, e.rest = e.record[:head], e.record[head:]
	e.plain = e.due == 0 && e.level == 0 && !e.callerID && e.unique == "" && e.rest == ""
	b.entries = append(b.entries, e)
}

// encodeTask gives a task's key and record. They share one allocation, of their very size.
func encodeTask(t *queue.Task) (key, record string) {
	scratch := scratches.Get().(*[]byte)
	b := appendTaskKey((*scratch)[:0], t.ID)
	split := len(b)
	b = appendRecord(b, t)
	both := string(b)
	if cap(b) <= mostScratch {
		*scratch = b
	}
	scratches.Put(scratch)
	return both[:split], both[split:]
}

var scratches = sync.Pool{New: func() any { return new([]byte) }}

// mostScratch is the largest buffer that is kept for the next task.
const mostScratch = 64 << 10

// enqueuer lets concurrent callers share script calls: a caller that finds nothing under way sends its own tasks at
// once; what comes meanwhile is collected and sent as one call when the answer is there. Once much has been collected, a
// second call goes beside the first, so that server and client do not wait for each other by turns.
type enqueuer struct {
	d *queueDriver

	mu       sync.Mutex
	flights  int // calls under way, at most 2
	queued   []*enqueueBatch
	tasks    int // in queued
	senders  sync.WaitGroup
	isClosed bool
}

// Bounds on what is sent at once. One call's tasks stay together.
const (
	enqueueTasks = 1000
	enqueueBytes = 1 << 20

	// secondFlight is how many tasks must have been collected for a second call beside the first: smaller batches would
	// cost more than working at once saves.
	secondFlight = 64
)

func newEnqueuer(d *queueDriver) *enqueuer { return &enqueuer{d: d} }

func (e *enqueuer) do(ctx context.Context, b *enqueueBatch) error {
	e.mu.Lock()
	if e.isClosed {
		e.mu.Unlock()
		return errClosed
	}
	if e.flights == 0 {
		e.flights++
		e.mu.Unlock()
		err := e.d.sendTasks(ctx, e.d.t.lane, []*enqueueBatch{b})
		e.pass()
		return err
	}
	e.queued = append(e.queued, b)
	e.tasks += len(b.entries)
	if e.flights == 1 && e.tasks >= secondFlight {
		e.flights++
		e.senders.Go(e.send)
	}
	e.mu.Unlock()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
	case <-e.d.t.life.Done():
		return errClosed
	}
	e.mu.Lock()
	b.left = true
	e.mu.Unlock()
	return fault.FromContext(ctx)
}

// pass hands over to a sender when something was collected meanwhile.
func (e *enqueuer) pass() {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case len(e.queued) == 0:
		e.flights--
	case e.isClosed:
		for _, b := range e.queued {
			b.err = errClosed
			close(b.done)
		}
		e.queued = nil
	default:
		e.senders.Go(e.send)
	}
}

// send works off what is queued. It ends when nothing is.
func (e *enqueuer) send() {
	for {
		batches := e.next()
		if len(batches) == 0 {
			return
		}
		// With a context that cannot end, the lane needs no other goroutine for it.
		err := e.d.sendTasks(context.WithoutCancel(e.d.t.life), e.d.enqueues, batches)
		for _, b := range batches {
			b.err = err
			close(b.done)
		}
	}
}

// next takes what fits one call, without those whose caller has left.
func (e *enqueuer) next() []*enqueueBatch {
	e.mu.Lock()
	defer e.mu.Unlock()
	var batches []*enqueueBatch
	tasks, bytes, taken := 0, 0, 0
	for _, b := range e.queued {
		if !b.left {
			tasks, bytes = tasks+len(b.entries), bytes+b.bytes
			if len(batches) > 0 && (tasks > enqueueTasks || bytes > enqueueBytes) {
				break
			}
			batches = append(batches, b)
		}
		taken++
		e.tasks -= len(b.entries)
	}
	e.queued = slices.Delete(e.queued, 0, taken)
	if len(batches) == 0 {
		e.flights--
	}
	return batches
}

func (e *enqueuer) close() {
	e.mu.Lock()
	e.isClosed = true
	e.mu.Unlock()
	e.senders.Wait()
}

// sendTasks stores the tasks of some calls in one script and fills in their receipts.
func (d *queueDriver) sendTasks(ctx context.Context, l *lane, batches []*enqueueBatch) error {
	all := joined(batches)
	if len(all) == 1 && all[0].plain {
		if stored, err := d.sendTask(ctx, l, &all[0]); stored || err != nil {
			return err
		}
	}
	entries, call := d.enqueueCall(all)
	refused, err := d.run(ctx, l, "queue: enqueue", entries[0].queue, redis.NewCmd(ctx, call...))
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(refused); i += 2 {
		at := number(refused[i]) - 1
		if at < 0 || at >= int64(len(entries)) {
			return fault.New(fault.Internal, "the script refused task %d of %d", at+1, len(entries))
		}
		e := entries[at]
		receipt := &e.batch.receipts[e.index]
		receipt.Duplicate = true
		if receipt.ID, err = taskID(text(refused[i+1])); err != nil {
			receipt.Err = d.t.fault(corrupt("%w", err), "queue: enqueue", e.task)
		}
	}
	return nil
}

// sendTask stores the plain task of a caller who is alone. It is false when the other script has to.
func (d *queueDriver) sendTask(ctx context.Context, l *lane, e *enqueueEntry) (bool, error) {
	cmd := enqueueOneScript.cmd(ctx, d.prefix, e.queue, e.task, e.record)
	if err := d.do(ctx, l, cmd); err != nil {
		return false, err
	}
	stored, err := cmd.Int64()
	return stored == 1, err
}

func joined(batches []*enqueueBatch) []enqueueEntry {
	if len(batches) == 1 {
		return batches[0].entries
	}
	n := 0
	for _, b := range batches {
		n += len(b.entries)
	}
	all := make([]enqueueEntry, 0, n)
	for _, b := range batches {
		all = append(all, b.entries...)
	}
	return all
}

// enqueueCall makes the call of the script, and gives the entries in the order in which it has them: by queue, and within
// a queue as they came. Texts are given by their address, which costs no allocation.
func (d *queueDriver) enqueueCall(entries []enqueueEntry) ([]enqueueEntry, []any) {
	for i := range entries[1:] {
		if entries[i].queue != entries[i+1].queue {
			entries = slices.Clone(entries)
			slices.SortStableFunc(entries, func(a, b enqueueEntry) int { return strings.Compare(a.queue, b.queue) })
			break
		}
	}
	args := append(enqueueScript.begin(d.prefix, 4+2*len(entries)), queueCapabilities.IDMemory.Milliseconds())
	var seen map[string]bool // tasks of the run; a second of the same ID begins another run, which finds the first
	run := -1                // where the count of the run is
	for i := range entries {
		e := &entries[i]
		if !e.plain {
			run = -1
			args = append(args, e.queue, "s", 1, e.task, e.record, e.due, e.level, e.callerID, e.unique, e.uniqueFor, &e.rest)
			continue
		}
		if run < 0 || entries[i-1].queue != e.queue || seen[e.task] {
			args = append(args, e.queue, "p", 0)
			run = len(args) - 1
			seen = make(map[string]bool, 1)
		}
		seen[e.task] = true
		args[run] = args[run].(int) + 1
		args = append(args, &e.task, &e.record)
	}
	return entries, args
}
