package queue_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// store is a queue.Driver for tests: small, honest, and faulty on request. Tests against a real transport's queue are
// that transport's, and the conformance suite's.
type store struct {
	mu      sync.Mutex
	lease   time.Duration
	tasks   map[string]*record
	line    []string // IDs in the order of arrival; those given back go to the front
	claims  int      // tokens given
	changed chan struct{}
	answers map[string]answered // the last answer to each sender

	// Faults, each called before or after the call has had its effect; an error is what the caller gets instead.
	before, after func(op string) error
	// latency is the round trip.
	latency time.Duration

	calls       map[string]int
	waits       int           // claims that wait, now
	mostClaimed int           // most tasks leased at once
	claimed     []queue.Claim // as asked
	settled     []queue.Settlements
}

type record struct {
	queue.Task
	state   queue.State
	token   string
	lease   time.Duration // as claimed
	expires time.Time
	due     time.Time
	cancel  bool
	corrupt bool
	result  []byte
}

type answered struct {
	number uint64
	errs   []error
}

func newStore(t *testing.T) *store {
	t.Helper()
	return &store{lease: queue.DefaultLease, tasks: map[string]*record{}, changed: make(chan struct{}),
		answers: map[string]answered{}, calls: map[string]int{}}
}

func (s *store) backend() *queue.Backend {
	return &queue.Backend{Driver: s, Capabilities: queue.Capabilities{
		MaxPayload: 64 << 10, MaxBatch: 1000, MaxClaim: 64, MaxName: 256, MaxPriority: 9, MinLease: 10 * time.Millisecond}}
}

// call runs one call's effect among its faults.
func (s *store) call(ctx context.Context, op string, effect func()) error {
	s.mu.Lock()
	s.calls[op]++
	before, after, latency := s.before, s.after, s.latency
	s.mu.Unlock()
	if latency > 0 {
		sleepFor(ctx, latency)
	}
	if err := fault.FromContext(ctx); err != nil {
		return err
	}
	if before != nil {
		if err := before(op); err != nil {
			return err
		}
	}
	s.mu.Lock()
	effect()
	s.mu.Unlock()
	if after != nil {
		return after(op)
	}
	return nil
}

func (s *store) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *store) Enqueue(ctx context.Context, tasks []queue.Task) (receipts []queue.Receipt, err error) {
	err = s.call(ctx, "enqueue", func() {
		for _, t := range tasks {
			if _, taken := s.tasks[t.ID]; taken {
				receipts = append(receipts, queue.Receipt{ID: t.ID, Duplicate: true})
				continue
			}
			s.tasks[t.ID] = &record{Task: t, state: queue.Pending, due: t.RunAt}
			s.line = append(s.line, t.ID)
			receipts = append(receipts, queue.Receipt{ID: t.ID})
		}
		s.wake()
	})
	return receipts, err
}

func (s *store) Claim(ctx context.Context, c queue.Claim) (claimed queue.Claimed, err error) {
	timeout := time.After(c.Wait)
	for {
		var changed chan struct{}
		next := time.Second
		err := s.call(ctx, "claim", func() {
			s.claimed = append(s.claimed, c)
			claimed.Tasks = s.give(c)
			changed = s.changed
			s.waits++
			if len(claimed.Tasks) > 0 {
				return
			}
			for _, id := range s.line {
				if wait := time.Until(s.tasks[id].due); s.tasks[id].state == queue.Scheduled && wait > 0 {
					next = min(next, wait)
				}
			}
		})
		if err != nil {
			return queue.Claimed{}, err
		}
		over := len(claimed.Tasks) > 0 || c.Wait == 0
		if !over {
			select {
			case <-ctx.Done():
				over = true
			case <-timeout:
				over = true
			case <-changed:
			case <-time.After(next):
			}
		}
		s.mu.Lock()
		s.waits--
		s.mu.Unlock()
		if over {
			return claimed, nil
		}
	}
}

func (s *store) give(c queue.Claim) (leased []queue.Leased) {
	now := time.Now()
	s.line = slices.DeleteFunc(s.line, func(id string) bool { return s.tasks[id].hasEnded() })
	for _, name := range c.Queues {
		for _, id := range s.line {
			r := s.tasks[id]
			if len(leased) == c.Max {
				break
			}
			if r.Queue != name {
				continue
			}
			if r.state == queue.Active && !now.Before(r.expires) {
				r.state, r.Lost = queue.Pending, r.Lost+1
			}
			if isDue := r.state != queue.Active && !now.Before(r.due); isDue {
				leased = append(leased, s.leaseTo(r, now))
			}
		}
	}
	active := 0
	for _, id := range s.line[:min(len(s.line), 200)] {
		if s.tasks[id].state == queue.Active {
			active++
		}
	}
	s.mostClaimed = max(s.mostClaimed, active)
	return leased
}

func (r *record) hasEnded() bool {
	return r.state == queue.Completed || r.state == queue.DeadLetter || r.state == queue.Cancelled
}

func (s *store) leaseTo(r *record, now time.Time) queue.Leased {
	s.claims++
	r.state, r.token, r.lease, r.expires = queue.Active, strconv.Itoa(s.claims), s.lease, now.Add(s.lease)
	if r.corrupt {
		return queue.Leased{Task: queue.Task{ID: r.ID, Queue: r.Queue}, Token: r.token, Lease: s.lease, Err: fault.New(fault.Corrupt, "the record has no end")}
	}
	return queue.Leased{Task: r.Task, Token: r.token, Lease: s.lease}
}

func (s *store) holds(r queue.Ref) *record {
	found := s.tasks[r.ID]
	if found == nil || found.state != queue.Active || found.token != r.Token {
		return nil
	}
	return found
}

func (s *store) Settle(ctx context.Context, batch queue.Settlements) (errs []error, err error) {
	batch.Items = slices.Clone(batch.Items)
	err = s.call(ctx, "settle", func() {
		s.settled = append(s.settled, batch)
		last := s.answers[batch.Worker]
		if last.number == batch.Number {
			errs = last.errs
			return
		}
		if batch.Number < last.number {
			panic("a settlement's number went back")
		}
		for _, item := range batch.Items {
			errs = append(errs, s.settle(item))
		}
		s.answers[batch.Worker] = answered{batch.Number, errs}
		s.wake()
	})
	return errs, err
}

func (s *store) settle(item queue.Settlement) error {
	r := s.holds(item.Ref)
	if r == nil {
		return fault.New(fault.LeaseLost, "stale")
	}
	r.LastError = item.Error
	switch item.Outcome {
	case queue.Done:
		r.state, r.result = queue.Completed, item.Result
	case queue.Dead:
		r.state, r.Attempts = queue.DeadLetter, r.Attempts+1
	case queue.Retry:
		r.state, r.Attempts, r.due = queue.Scheduled, r.Attempts+1, time.Now().Add(item.Delay)
	case queue.Snooze:
		r.state, r.due = queue.Scheduled, time.Now().Add(item.Delay)
	case queue.Release:
		r.state = queue.Pending
		s.line = append([]string{r.ID}, slices.DeleteFunc(s.line, func(id string) bool { return id == r.ID })...)
	}
	if r.cancel && item.Outcome != queue.Done {
		r.state = queue.Cancelled
	}
	return nil
}

func (s *store) Extend(ctx context.Context, refs []queue.Ref) (errs []error, err error) {
	err = s.call(ctx, "extend", func() {
		for _, ref := range refs {
			r := s.holds(ref)
			switch {
			case r == nil:
				errs = append(errs, fault.New(fault.LeaseLost, "stale"))
				continue
			case r.cancel:
				errs = append(errs, fault.New(fault.Canceled, "asked to"))
			default:
				errs = append(errs, nil)
			}
			r.expires = time.Now().Add(r.lease)
		}
	})
	return errs, err
}

// faulty sets what goes wrong: before a call has had its effect, and after.
func (s *store) faulty(before, after func(op string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// steal gives a task's lease to somebody else.
func (s *store) steal(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks[id].token, s.tasks[id].expires = "thief", time.Now().Add(time.Hour)
}

// edit changes a record under the store's lock.
func (s *store) edit(id string, change func(*record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.tasks[id])
}

// find copies a record.
func (s *store) find(id string) record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.tasks[id]
}

// count counts tasks in a state.
func (s *store) count(state queue.State) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.tasks {
		if r.state == state {
			n++
		}
	}
	return n
}

func (s *store) called(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

func away(op string) func(string) error {
	return func(called string) error {
		if called == op || op == "" {
			return fault.New(fault.Unavailable, "the store is away")
		}
		return nil
	}
}
