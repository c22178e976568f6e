package queue

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/gobackplane/backplane/fault"
)

const (
	senders = 2 // of settlements: while one waits for the store, the other may be filling it with work
	// settleBatch is the most settlements of one call.
	settleBatch = 256
	// settleHelp is how many settlements make a second sender worth its round trip.
	settleHelp = 64
	// callTimeout bounds one call to the store, for a transport that forgot to.
	callTimeout = 10 * time.Second
)

// settler collects settlements and sends them in batches: at once when no sender is under way, together with all that
// came meanwhile otherwise. It holds a bounded number; a slot that brings one more waits, and so do claims, since no
// slot gets free.
type settler struct {
	bound int

	mu      sync.Mutex
	filled  sync.Cond // something to send, or closing
	emptied sync.Cond // room again, or stopped
	queue   []settlement
	busy    int  // senders whose call is under way for the first time
	closing bool // senders end when the queue is empty
	stopped bool // nothing is taken any more
}

type settlement struct {
	Settlement
	of *Delivery
}

func newSettler(bound int) *settler {
	s := &settler{bound: bound}
	s.filled.L, s.emptied.L = &s.mu, &s.mu
	return s
}

// add takes the settlement of a delivery. It waits for room, unless pressed. false: the senders have stopped.
func (s *settler) add(d *Delivery, end Settlement, pressed bool) bool {
	end.Ref = d.ref()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) >= s.bound && !pressed && !s.stopped {
		s.emptied.Wait()
	}
	if s.stopped {
		return false
	}
	s.queue = append(s.queue, settlement{end, d})
	if s.ready() {
		s.filled.Signal()
	}
	return true
}

// ready reports whether a sender should go.
func (s *settler) ready() bool {
	return len(s.queue) > 0 && (s.busy == 0 || s.closing || len(s.queue) >= settleHelp)
}

// take waits for settlements and moves at most so many to batch. false: there will be none any more.
func (s *settler) take(batch []settlement, most int) ([]settlement, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ready() {
		if s.closing && len(s.queue) == 0 {
			return batch, false
		}
		s.filled.Wait()
	}
	n := s.fit(most)
	batch = append(batch, s.queue[:n]...)
	rest := copy(s.queue, s.queue[n:])
	clear(s.queue[rest:])
	s.queue = s.queue[:rest]
	s.busy++
	s.emptied.Broadcast()
	if s.ready() {
		s.filled.Signal()
	}
	return batch, true
}

// fit is how many settlements go into one call: so many, and no more large results than it can carry.
func (s *settler) fit(most int) int {
	size := 0
	for n := range min(len(s.queue), most) {
		size += len(s.queue[n].Result)
		if n > 0 && size > maxBatchBytes {
			return n
		}
	}
	return min(len(s.queue), most)
}

// pause says that a sender's first call has ended: it is done, or in for a while of repeating.
func (s *settler) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	if s.ready() {
		s.filled.Signal()
	}
}

// lift takes the bound away: no new tasks are begun, so that each slot brings one more at most.
func (s *settler) lift() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = math.MaxInt
	s.emptied.Broadcast()
}

// close lets the senders end once the queue is empty.
func (s *settler) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.filled.Broadcast()
}

// stop refuses whatever comes from now on.
func (s *settler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.emptied.Broadcast()
}

// left is what came after the senders had ended, from handlers that were left behind.
func (s *settler) left() []settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.queue
	s.queue = nil
	return left
}

// settle sends batches under one sender's name, until the settler is closed and empty. When ctx ends it gives up what
// the store does not take at once.
func (w *Worker) settle(ctx context.Context, sender int) {
	s := Settlements{Worker: w.id + "/" + strconv.Itoa(sender)}
	most := settleBatch
	if over(most, w.caps.MaxBatch) {
		most = w.caps.MaxBatch
	}
	var batch []settlement
	for {
		var more bool
		if batch, more = w.settler.take(batch[:0], most); !more {
			return
		}
		p := newPersistence(w.held)
		// What the store leaves open of a batch that it has answered goes under a new number: to the old one it would
		// give the old answer.
		for rest := batch; len(rest) > 0; {
			s.Number++
			rest = w.send(ctx, &s, rest, p)
		}
		clear(batch)
		clear(s.Items)
	}
}

// send repeats one batch, under its number, until the store has answered, and leaves those settlements whose own answer
// is to be asked for again. It gives up when the leases have ended: from then on the tasks are the store's to give to
// others.
func (w *Worker) send(ctx context.Context, s *Settlements, batch []settlement, p *persistence) (open []settlement) {
	s.Items = s.Items[:0]
	for i := range batch {
		s.Items = append(s.Items, batch[i].Settlement)
	}
	for {
		answers, err := w.trySettle(ctx, *s)
		if !p.tried {
			p.tried = true
			w.settler.pause()
		}
		again := (isAway(err) || slices.ContainsFunc(answers, isAway)) && p.again(ctx, batch)
		if again {
			w.counters.settleRetries.Add(1)
			if w.sparing.allow("settle", 10*time.Second) {
				w.log.Warn("queue: the store did not take settlements; sending them again while the leases last", "settlements", len(batch), "err", err)
			}
		}
		if err == nil || !again {
			open = w.settled(batch, answers, err, again)
		}
		if !again {
			return nil
		}
		sleep(ctx, p.wait)
		if err == nil {
			return open
		}
	}
}

// persistence is how long settlements are sent again: until the last of their leases ends, as it stood when the store
// first failed. A lease that the heartbeat still gets extended meanwhile does not make it longer, so that settlements
// which the store will never take do not keep a sender for ever.
type persistence struct {
	held  *held
	tried bool // once
	pause backoff.ExponentialBackOff
	until time.Time     // zero: not failed yet
	wait  time.Duration // before the next try
}

func newPersistence(h *held) *persistence {
	return &persistence{held: h,
		pause: backoff.ExponentialBackOff{InitialInterval: 20 * time.Millisecond, RandomizationFactor: 0.3, Multiplier: 2, MaxInterval: time.Second}}
}

// again reports whether there is time to send a batch once more.
func (p *persistence) again(ctx context.Context, batch []settlement) bool {
	if p.until.IsZero() {
		p.until = p.held.lastExpiry(batch)
	}
	p.wait = p.pause.NextBackOff()
	return ctx.Err() == nil && !time.Now().Add(p.wait).After(p.until)
}

func (w *Worker) trySettle(ctx context.Context, s Settlements) ([]error, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answers, err := w.driver.Settle(call, s)
	if err == nil && len(answers) != len(s.Items) {
		err = fault.New(fault.Internal, "the transport gave %d answers to %d settlements", len(answers), len(s.Items))
	}
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// isAway reports whether an answer leaves open what the store did, so that asking again can help.
func isAway(err error) bool {
	switch fault.CodeOf(err) {
	case fault.OK, fault.LeaseLost, fault.NotFound, fault.Conflict, fault.Closed, fault.Invalid, fault.TooLarge, fault.Unsupported, fault.Corrupt:
		return false
	}
	return true
}

// settled counts the answers to a batch, and forgets its deliveries, but for those that are to be sent again.
func (w *Worker) settled(batch []settlement, answers []error, err error, again bool) (open []settlement) {
	open = batch[:0]
	gone := make([]*Delivery, 0, len(batch))
	dropped, why := 0, error(nil)
	for i := range batch {
		answer := err
		if err == nil {
			answer = answers[i]
		}
		switch code := fault.CodeOf(answer); {
		case code == fault.OK:
			w.counters.settled(batch[i].Outcome)
		case code == fault.LeaseLost:
			w.counters.stale.Add(1)
			w.debug("queue: stale settlement refused", batch[i].of)
		case again && isAway(answer):
			open = append(open, batch[i])
			continue
		default:
			dropped, why = dropped+1, answer
		}
		gone = append(gone, batch[i].of)
	}
	w.held.remove(gone...)
	w.counters.unsettled.Add(-int64(len(gone)))
	if dropped > 0 {
		w.drop(dropped, why)
	}
	return open
}

// drop counts settlements that are given up.
func (w *Worker) drop(n int, why error) {
	w.counters.settleDropped.Add(int64(n))
	if w.sparing.allow("dropped", time.Second) {
		w.log.Error("queue: settlements were given up; their tasks will run again", "settlements", n, "err", why)
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
