package queue

import (
	"context"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
)

const (
	// leaveAlone is how long Stop waits, after it has ended the handlers' contexts, before it leaves them behind.
	leaveAlone = 5 * time.Second
	// lastWord is how long it waits for claims under way, since tasks may be on their way back, and, when its caller has no
	// more time, for settlements.
	lastWord = time.Second
	// leastFlush is how long Stop lets settlements be sent at least: ShutdownTimeout is for handlers, and one that is shorter
	// than a few round trips would leave every task it interrupts to its lease's end, counted as lost.
	leastFlush = 5 * time.Second
)

// lifecycle is the contract of everything that runs: starting returns when it runs, stopping waits until it has ended,
// either may be repeated, and what never started may be stopped.
type lifecycle struct {
	mu      sync.Mutex
	started bool
	stopped bool
	err     error         // of the end; written before ended is closed
	stop    chan struct{} // closed when Stop begins
	hurry   chan struct{} // closed when its caller has no more time
	ended   chan struct{}
	failed  chan error // why the worker cannot go on; the first is kept

	hurried sync.Once

	claimers, slots, heart, senders sync.WaitGroup
	endWaiting, endClaims, endLife  context.CancelFunc
}

func newLifecycle() *lifecycle {
	return &lifecycle{stop: make(chan struct{}), hurry: make(chan struct{}), ended: make(chan struct{}), failed: make(chan error, 1)}
}

func (l *lifecycle) isRunning() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.started && !l.stopped
}

// Run starts the worker, lets it work until ctx ends (or it is stopped elsewhere), and stops it. It answers what Stop
// answers, or why the worker could not go on: Closed when its transport was closed under it.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.Start(ctx); err != nil {
		return err
	}
	var failure error
	select {
	case <-ctx.Done():
	case <-w.life.stop:
	case failure = <-w.life.failed:
	}
	if err := w.Stop(context.WithoutCancel(ctx)); failure == nil {
		failure = err
	}
	return failure
}

// Start lets the worker claim and run tasks, and returns. Handlers' contexts have the values of ctx; its end does not
// stop the worker, Stop does. Starting a running worker does nothing. Invalid when it handles no kind, Closed after
// Stop: make a new one then.
func (w *Worker) Start(ctx context.Context) error {
	if err := fault.FromContext(ctx); err != nil {
		return fault.In(err, opWorker, w.id)
	}
	l := w.life
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopped:
		return &fault.Error{Code: fault.Closed, Op: opWorker, Subject: w.id, Message: "the worker was stopped; make a new one"}
	case l.started:
		return nil
	case w.kinds.none():
		return &fault.Error{Code: fault.Invalid, Op: opWorker, Subject: w.id, Message: "the worker handles no kind; call queue.Handle first"}
	}
	l.started = true
	w.base = context.WithoutCancel(ctx)
	var life, claims, waits context.Context
	life, l.endLife = context.WithCancel(w.base)
	claims, l.endClaims = context.WithCancel(life)
	waits, l.endWaiting = context.WithCancel(claims)

	for range w.options.Concurrency {
		l.slots.Add(1)
		go w.slot()
	}
	for range w.claimers() {
		l.claimers.Go(func() { w.claim(waits, claims) })
	}
	for n := range senders {
		l.senders.Go(func() { w.settle(life, n) })
	}
	l.heart.Go(func() { w.heartbeat(life) })
	return nil
}

// Stop ends the worker and waits for that. It may be called twice, and on a worker that never started. In this order:
//
//  1. no more claims; what is claimed and not begun is given back;
//  2. running handlers may finish, for ShutdownTimeout;
//  3. then their contexts end, with ErrShutdown; what returns the context's error is given back without counting an
//     attempt;
//  4. settlements still to be sent are sent, for ShutdownTimeout at most, or 5 s if that is longer; leases are kept until
//     here.
//
// When ctx ends Stop returns at once, with its error; the worker then ends the handlers' contexts and finishes in the
// background, for which another Stop may wait. A handler that has not returned 5 s after its context ended is left
// behind: Stop answers DeadlineExceeded, and the task runs elsewhere once its lease is over.
func (w *Worker) Stop(ctx context.Context) error {
	l := w.life
	l.mu.Lock()
	if !l.stopped {
		l.stopped = true
		close(l.stop)
		if l.started {
			go w.shutdown()
		} else {
			close(l.ended)
		}
	}
	l.mu.Unlock()
	select {
	case <-l.ended:
		return l.err
	case <-ctx.Done():
		l.hurried.Do(func() { close(l.hurry) })
		return fault.In(fault.FromContext(ctx), opWorker, w.id)
	}
}

// shutdown is the order that Stop tells of.
func (w *Worker) shutdown() {
	l := w.life
	defer close(l.ended)
	w.draining.Store(true)
	w.pace.close()
	l.endWaiting()
	w.settler.lift()
	if !within(lastWord, &l.claimers, nil) {
		l.endClaims()
		l.claimers.Wait()
	}
	close(w.waiting)
	for _, d := range w.held.takeWaiting() {
		w.giveBack(d)
	}

	if !within(w.options.ShutdownTimeout, &l.slots, l.hurry) {
		w.held.endAll(ErrShutdown)
		if !within(leaveAlone, &l.slots, nil) {
			l.err = fault.In(fault.New(fault.DeadlineExceeded, "%d handlers did not return within %s after their contexts ended; they are left behind",
				w.counters.running.Load(), leaveAlone), opWorker, w.id)
			w.log.Error("queue: handlers left behind", "err", l.err)
		}
	}

	w.settler.close()
	if !within(max(w.options.ShutdownTimeout, leastFlush), &l.senders, l.hurry) && isClosed(l.hurry) {
		within(lastWord, &l.senders, nil)
	}
	w.settler.stop()
	l.endLife()
	l.senders.Wait()
	if left := w.settler.left(); len(left) > 0 {
		w.settled(left, nil, fault.New(fault.Closed, "the worker had stopped when their handlers returned"), false)
	}
	l.heart.Wait()
}

// within waits for a group for d at most, or until hurry is closed, and reports whether it has ended.
func within(d time.Duration, group *sync.WaitGroup, hurry <-chan struct{}) bool {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	alarm := time.NewTimer(d)
	defer alarm.Stop()
	select {
	case <-done:
		return true
	case <-alarm.C:
	case <-hurry:
	}
	return false
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// fail lets Run end: the worker cannot go on.
func (w *Worker) fail(err error) {
	select {
	case w.life.failed <- err:
	default:
	}
}
