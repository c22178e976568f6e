package queue

import (
	"sync"
	"sync/atomic"
	"time"
)

// WorkerStats is what a worker has done since it was made, and has in hand. What happened in a queue as a whole, by all
// workers, is in the store: [Inspector.Stats].
type WorkerStats struct {
	Claimed int64 // tasks got from the store

	// Settlements that the store has accepted, by outcome.
	Done     int64
	Retried  int64
	Snoozed  int64
	Dead     int64
	Released int64

	Panics   int64 // handlers that panicked
	Unknown  int64 // deliveries of kinds that this worker does not handle, put off
	Lost     int64 // leases that ended before the handler did, or before it began
	Stale    int64 // settlements that the store refused with LeaseLost
	Canceled int64 // handlers told to end because their task was cancelled

	ClaimErrors   int64 // calls that failed
	ExtendErrors  int64
	SettleRetries int64 // batches sent again because the store did not answer
	SettleDropped int64 // settlements given up: their lease had ended, or the store would not have them; the task will run again

	Running   int64 // handlers now
	Waiting   int64 // claimed, and waiting for a slot
	Unsettled int64 // finished, and not yet confirmed by the store
	Stuck     int64 // handlers that were told to end and have not, for a while
}

// counters are the live form of WorkerStats.
type counters struct {
	claimed, done, retried, snoozed, dead, released, panics, unknown, lost, stale, canceled atomic.Int64
	claimErrors, extendErrors, settleRetries, settleDropped                                 atomic.Int64
	running, waiting, unsettled, stuck                                                      atomic.Int64
}

func (c *counters) read() WorkerStats {
	return WorkerStats{
		Claimed: c.claimed.Load(), Done: c.done.Load(), Retried: c.retried.Load(), Snoozed: c.snoozed.Load(),
		Dead: c.dead.Load(), Released: c.released.Load(), Panics: c.panics.Load(), Unknown: c.unknown.Load(),
		Lost: c.lost.Load(), Stale: c.stale.Load(), Canceled: c.canceled.Load(),
		ClaimErrors: c.claimErrors.Load(), ExtendErrors: c.extendErrors.Load(),
		SettleRetries: c.settleRetries.Load(), SettleDropped: c.settleDropped.Load(),
		Running: c.running.Load(), Waiting: c.waiting.Load(), Unsettled: c.unsettled.Load(), Stuck: c.stuck.Load(),
	}
}

// settled counts an accepted settlement.
func (c *counters) settled(o Outcome) {
	switch o {
	case Done:
		c.done.Add(1)
	case Retry:
		c.retried.Add(1)
	case Snooze:
		c.snoozed.Add(1)
	case Dead:
		c.dead.Add(1)
	case Release:
		c.released.Add(1)
	}
}

// Health says whether a worker gets through to its store.
type Health struct {
	Running   bool      // started, and not asked to stop
	LastClaim time.Time // when the store last answered a claim, with tasks or without; zero: never
	Err       error     // why the last claim failed; nil when it did not
	Since     time.Time // of Err: when claims began to fail
}

// health is the live form of Health.
type health struct {
	mu  sync.Mutex
	now Health
}

// claimed notes how a claim ended, and reports whether that is news.
func (h *health) claimed(err error) (news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	news = (err == nil) != (h.now.Err == nil)
	h.now.Err = err
	switch {
	case err == nil:
		h.now.LastClaim, h.now.Since = time.Now(), time.Time{}
	case news:
		h.now.Since = time.Now()
	}
	return news
}

func (h *health) read() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// sparingly lets one event in a while through for each key, so that a log is not flooded.
type sparingly struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// maxSparing bounds the keys: they may come from the store.
const maxSparing = 1000

func (s *sparingly) allow(key string, every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if last, known := s.last[key]; known && now.Sub(last) < every {
		return false
	}
	if s.last == nil || len(s.last) >= maxSparing {
		s.last = map[string]time.Time{}
	}
	s.last[key] = now
	return true
}
