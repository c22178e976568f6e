package queue_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// hang keeps a handler until its context ends, and tells when and why.
func hang(ended chan<- error) func(context.Context, *queue.Job[int]) error {
	return func(ctx context.Context, _ *queue.Job[int]) error {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}
}

// A store that was away for a second when its tasks were done must not see them run again. (asynq runs them again: its
// repetition inherits a context that has ended.)
func TestAStoreAwayAtSettlementCausesNoSecondRun(t *testing.T) {
	for name, faults := range map[string]func(s *store, err func(string) error){
		"nothing arrives":  func(s *store, err func(string) error) { s.faulty(err, nil) },
		"answers are lost": func(s *store, err func(string) error) { s.faulty(nil, err) },
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T) {
				s := newStore(t)
				enqueue(t, s, 10)
				var runs atomic.Int64
				var goAway sync.Once
				w := newWorker(t, s, queue.WorkerOptions{}, func(context.Context, *queue.Job[int]) error {
					runs.Add(1)
					goAway.Do(func() {
						faults(s, away(""))
						time.AfterFunc(time.Second, func() { s.faulty(nil, nil) })
					})
					return nil
				})
				start(t, w)

				after(5 * time.Minute)

				require.EqualValues(t, 10, runs.Load())
				require.Equal(t, 10, s.count(queue.Completed))
				require.EqualValues(t, 10, w.Stats().Done)
				require.Zero(t, w.Stats().Stale)
				require.Zero(t, w.Stats().SettleDropped)
				require.Positive(t, w.Stats().SettleRetries)
				require.NoError(t, w.Health().Err)
			})
		})
	}
}

func TestARepeatedBatchHasTheSameNumberAndItems(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 300)
		s.faulty(nil, away("settle"))
		time.AfterFunc(3*time.Second, func() { s.faulty(nil, nil) })
		start(t, newWorker(t, s, queue.WorkerOptions{}, succeed))

		after(time.Minute)

		require.Equal(t, 300, s.count(queue.Completed))
		type batch struct {
			worker string
			number uint64
		}
		seen := map[batch][]queue.Settlement{}
		repeats := 0
		for _, b := range s.settled {
			key := batch{b.Worker, b.Number}
			if items, again := seen[key]; again {
				require.Equal(t, items, b.Items)
				repeats++
			}
			seen[key] = b.Items
			require.Contains(t, seen, batch{b.Worker, max(b.Number-1, 1)}, "numbers leave none out")
		}
		require.Positive(t, repeats)
	})
}

// To the old number the store gives the old answer, so what it left open goes under a new one.
func TestASettlementWhoseOwnAnswerIsUnavailableIsSentAgainUnderANewNumber(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1)[0]
		w, err := queue.NewWorker(&queue.Backend{Driver: &halfAway{store: s, left: 3}, Capabilities: s.backend().Capabilities}, queue.WorkerOptions{Logger: quiet})
		require.NoError(t, err)
		require.NoError(t, queue.Handle(w, work, succeed))
		start(t, w)

		after(time.Second)

		require.Equal(t, queue.Completed, s.find(id).state)
		require.EqualValues(t, 3, w.Stats().SettleRetries)
	})
}

// A settlement that the store never takes, though it extends the lease, must not keep a sender for ever.
func TestASettlementThatIsNeverTakenIsGivenUp(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.lease = 3 * time.Second
		enqueue(t, s, 1)
		s.faulty(func(op string) error {
			if op == "settle" {
				return errors.New("a reply that nobody understands")
			}
			return nil
		}, nil)
		w := newWorker(t, s, queue.WorkerOptions{}, succeed)
		start(t, w)
		after(30 * time.Second)

		require.Positive(t, w.Stats().SettleDropped)
		s.faulty(nil, nil)
		after(30 * time.Second)
		require.EqualValues(t, 1, w.Stats().Done)
		require.Zero(t, w.Stats().Unsettled)
	})
}

// halfAway answers settlements, but for some time with Unavailable for each. It keeps its answer to a number.
type halfAway struct {
	*store
	left int
	last uint64
}

func (h *halfAway) Settle(ctx context.Context, b queue.Settlements) ([]error, error) {
	if h.left > 0 || b.Number == h.last {
		h.left, h.last = h.left-1, b.Number
		errs := make([]error, len(b.Items))
		for i := range errs {
			errs[i] = fault.New(fault.Unavailable, "this half is away")
		}
		return errs, nil
	}
	return h.store.Settle(ctx, b)
}

func TestSettlementsAreGivenUpWhenTheirLeasesHaveEnded(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.lease = 2 * time.Second
		enqueue(t, s, 10)
		var runs atomic.Int64
		var goAway sync.Once
		var log strings.Builder
		w := newWorker(t, s, queue.WorkerOptions{Logger: textLogger(&log)}, func(context.Context, *queue.Job[int]) error {
			runs.Add(1)
			goAway.Do(func() {
				s.faulty(away(""), nil)
				time.AfterFunc(10*time.Second, func() { s.faulty(nil, nil) })
			})
			return nil
		})
		start(t, w)

		after(time.Minute)

		require.EqualValues(t, 20, runs.Load(), "at least once: nobody could tell the store in time")
		require.EqualValues(t, 10, w.Stats().SettleDropped)
		require.EqualValues(t, 10, w.Stats().Done)
		require.Equal(t, 10, s.count(queue.Completed))
		require.Contains(t, log.String(), "given up")
	})
}

func TestTheUnsettledAreBounded(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 2000)
		s.faulty(away("settle"), nil)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 4, Prefetch: queue.NoPrefetch}, succeed)
		start(t, w)

		after(10 * time.Second)

		stats := w.Stats()
		require.LessOrEqual(t, stats.Unsettled, int64(3*256+4))
		require.Equal(t, int64(4), stats.Running)
		s.faulty(nil, nil)
		after(10 * time.Second)
		require.Equal(t, 2000, s.count(queue.Completed))
	})
}

func TestAStoreThatIsAwayIsAskedAgainMoreAndMoreRarely(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.faulty(away("claim"), nil)
		var log strings.Builder
		w := newWorker(t, s, queue.WorkerOptions{Logger: textLogger(&log)}, succeed)
		start(t, w)

		after(time.Minute)

		health := w.Health()
		require.ErrorIs(t, health.Err, fault.Unavailable)
		require.Equal(t, time.Minute, time.Since(health.Since).Round(time.Second))
		require.Zero(t, health.LastClaim)
		require.Less(t, s.called("claim"), 60)
		require.LessOrEqual(t, strings.Count(log.String(), "no tasks can be claimed"), 8)

		s.faulty(nil, nil)
		id := enqueue(t, s, 1)[0]
		after(10 * time.Second)
		require.NoError(t, w.Health().Err)
		require.Equal(t, queue.Completed, s.find(id).state)
	})
}

func TestALongTaskKeepsItsLease(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 16)
		start(t, newWorker(t, s, queue.WorkerOptions{}, func(context.Context, *queue.Job[int]) error {
			time.Sleep(10 * queue.DefaultLease)
			return nil
		}))

		after(time.Hour)

		require.Equal(t, 16, s.count(queue.Completed))
		require.Equal(t, 16, s.claims, "each was claimed once")
		require.Less(t, s.called("extend"), 45, "one call extends all leases, three or four times in each")
	})
}

func TestALeaseSurvivesAStoreThatIsAwayForLessThanIt(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 1)
		w := newWorker(t, s, queue.WorkerOptions{}, func(ctx context.Context, _ *queue.Job[int]) error {
			time.Sleep(time.Minute)
			return ctx.Err()
		})
		start(t, w)
		after(5 * time.Second)

		s.faulty(away(""), nil)
		after(15 * time.Second)
		s.faulty(nil, nil)
		after(time.Minute)

		require.Equal(t, 1, s.count(queue.Completed))
		require.Equal(t, 1, s.claims)
		require.Positive(t, w.Stats().ExtendErrors)
	})
}

func TestAHandlerIsToldWhenItsLeaseWasGivenToAnother(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		ids := enqueue(t, s, 2)
		ended := make(chan error, 2)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 2}, func(ctx context.Context, job *queue.Job[int]) error {
			if job.Payload == 1 {
				time.Sleep(time.Minute)
				return nil
			}
			return hang(ended)(ctx, job)
		})
		start(t, w)
		after(time.Second)

		s.steal(ids[0])
		after(queue.DefaultLease / 3)

		require.ErrorIs(t, <-ended, queue.ErrLeaseLost)
		require.EqualValues(t, 1, w.Stats().Lost)
		after(2 * time.Minute)
		require.Equal(t, queue.Completed, s.find(ids[1]).state, "the other's lease is kept")
		for _, b := range s.settled {
			for _, item := range b.Items {
				require.NotEqual(t, ids[0], item.ID, "there is nothing to settle")
			}
		}
	})
}

func TestAHandlerIsToldWhenItsLeaseMayHaveEnded(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.latency = 100 * time.Millisecond
		enqueue(t, s, 1)
		var sent time.Time
		ended := make(chan error, 1)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 1}, hang(ended))
		start(t, w)
		sent = time.Now()
		after(time.Second)

		s.faulty(away(""), nil)

		require.ErrorIs(t, <-ended, queue.ErrLeaseLost)
		require.Equal(t, queue.DefaultLease, time.Since(sent), "reckoned from before the claim was sent")
		s.faulty(nil, nil)
		after(time.Second)
		require.Empty(t, s.settled, "a handler that stopped for it burns no attempt")
	})
}

func TestAStaleSettlementIsRefusedAndCounted(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1)[0]
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 1}, func(context.Context, *queue.Job[int]) error {
			time.Sleep(time.Second)
			return nil
		})
		start(t, w)
		after(time.Millisecond)

		s.steal(id)
		after(time.Minute)

		require.EqualValues(t, 1, w.Stats().Stale)
		require.Zero(t, w.Stats().Done)
		require.Equal(t, "thief", s.find(id).token)
	})
}

func TestALeaseThatEndedOnTheWayIsNotRun(t *testing.T) {
	for name, took := range map[string]time.Duration{"by this node's clock": 60 * time.Millisecond, "as the store says": 30 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T) {
				s := newStore(t)
				s.lease = 50 * time.Millisecond
				id := enqueue(t, s, 1)[0]
				s.faulty(nil, func(op string) error {
					if op == "claim" {
						time.Sleep(took)
						s.steal(id)
					}
					return nil
				})
				w := newWorker(t, s, queue.WorkerOptions{}, func(context.Context, *queue.Job[int]) error {
					t.Error("the task is running elsewhere")
					return nil
				})
				start(t, w)

				after(time.Second)

				require.EqualValues(t, 1, w.Stats().Lost)
				require.Empty(t, s.settled)
			})
		})
	}
}

func TestAClaimThatWaitedLongerThanItsLeaseIsGoodAllTheSame(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.lease = 50 * time.Millisecond
		w := newWorker(t, s, queue.WorkerOptions{}, func(ctx context.Context, _ *queue.Job[int]) error {
			time.Sleep(time.Second)
			return ctx.Err()
		})
		start(t, w)
		after(time.Second)

		id := enqueue(t, s, 1)[0]
		after(2 * time.Second)

		require.Equal(t, queue.Completed, s.find(id).state)
		require.Equal(t, 1, s.claims)
		require.Zero(t, s.find(id).Lost)
	})
}

func TestACancelledTasksHandlerIsToldAndNotRetried(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		ids := enqueue(t, s, 2)
		ended := make(chan error, 2)
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 2}, func(ctx context.Context, job *queue.Job[int]) error {
			if job.Payload == 1 {
				<-ctx.Done()
				return nil // it completes all the same
			}
			err := hang(ended)(ctx, job)
			time.Sleep(time.Hour) // the lease must be kept meanwhile
			return err
		})
		start(t, w)
		after(time.Second)

		for _, id := range ids {
			s.edit(id, func(r *record) { r.cancel = true })
		}
		after(queue.DefaultLease / 3)

		require.ErrorIs(t, <-ended, queue.ErrCanceled)
		require.EqualValues(t, 2, w.Stats().Canceled)
		after(2 * time.Hour)
		require.Equal(t, queue.Cancelled, s.find(ids[0]).state)
		require.Contains(t, s.find(ids[0]).LastError, "cancelled on request")
		require.Equal(t, queue.Completed, s.find(ids[1]).state)
		require.EqualValues(t, 2, w.Stats().Canceled)
	})
}

func TestAHandlerThatIgnoresItsEndIsReportedOnceAndKeepsItsSlot(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1)[0]
		var log strings.Builder
		release := make(chan struct{})
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 1, Logger: textLogger(&log)}, func(context.Context, *queue.Job[int]) error {
			<-release
			return nil
		})
		start(t, w)
		after(time.Second)

		s.steal(id)
		other := enqueue(t, s, 1)[0]
		after(time.Minute)

		require.EqualValues(t, 1, w.Stats().Stuck)
		require.Equal(t, 1, strings.Count(log.String(), "goes on although its context has ended"))
		require.Equal(t, queue.Pending, s.find(other).state)
		close(release)
		after(time.Second)
		require.Zero(t, w.Stats().Stuck)
		require.Equal(t, queue.Completed, s.find(other).state)
	})
}

func TestATaskDoesNotRunBesideItselfInOneWorker(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		id := enqueue(t, s, 1, queue.MaxAttempts(1))[0]
		var running, overlaps, runs atomic.Int64
		w := newWorker(t, s, queue.WorkerOptions{}, func(context.Context, *queue.Job[int]) error {
			if running.Add(1) > 1 {
				overlaps.Add(1)
			}
			defer running.Add(-1)
			if runs.Add(1) == 1 {
				time.Sleep(2 * time.Minute) // whatever its context says
			}
			return nil
		})
		start(t, w)
		after(time.Second)

		s.faulty(away("extend"), nil)
		after(time.Minute)
		s.faulty(nil, nil)
		require.Equal(t, 1, s.find(id).Lost, "the test must have made the store give the task again")
		after(2 * time.Minute)

		require.Zero(t, overlaps.Load())
		require.EqualValues(t, 2, runs.Load())
		require.Equal(t, queue.Completed, s.find(id).state)
		require.Zero(t, s.find(id).Attempts)
	})
}

func TestAShortLeaseIsKeptBesideALongOne(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		long := enqueue(t, s, 1)[0]
		w := newWorker(t, s, queue.WorkerOptions{Concurrency: 2}, func(ctx context.Context, _ *queue.Job[int]) error {
			time.Sleep(5 * time.Second)
			return ctx.Err()
		})
		start(t, w)
		after(time.Second)

		s.mu.Lock()
		s.lease = 300 * time.Millisecond
		s.mu.Unlock()
		short := enqueue(t, s, 1)[0]
		after(10 * time.Second)

		require.Equal(t, queue.Completed, s.find(long).state)
		require.Equal(t, queue.Completed, s.find(short).state)
		require.Equal(t, 2, s.claims)
	})
}

func TestAShortLeaseOfLongAgoDoesNotHurryTheStore(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.lease = 300 * time.Millisecond
		start(t, newWorker(t, s, queue.WorkerOptions{}, func(ctx context.Context, job *queue.Job[int]) error {
			sleepFor(ctx, time.Duration(job.Payload)*time.Minute)
			return ctx.Err()
		}))
		enqueue(t, s, 1)
		after(5 * time.Minute)

		s.mu.Lock()
		s.lease, s.latency = queue.DefaultLease, 200*time.Millisecond
		s.mu.Unlock()
		long := enqueue(t, s, 3)
		after(5 * time.Minute)

		require.Equal(t, queue.Completed, s.find(long[2]).state)
		require.Equal(t, 4, s.claims, "no lease was lost")
	})
}

func TestAHungStoreDoesNotKeepLeasesFromBeingSeenToEnd(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		enqueue(t, s, 1)
		ended := make(chan error, 1)
		w, err := queue.NewWorker(&queue.Backend{Driver: &hung{s}, Capabilities: s.backend().Capabilities}, queue.WorkerOptions{Concurrency: 1, Logger: quiet})
		require.NoError(t, err)
		require.NoError(t, queue.Handle(w, work, hang(ended)))
		began := time.Now()
		start(t, w)

		require.ErrorIs(t, <-ended, queue.ErrLeaseLost)
		require.Equal(t, queue.DefaultLease, time.Since(began))
	})
}

// hung never answers an extension.
type hung struct{ *store }

func (h *hung) Extend(ctx context.Context, _ []queue.Ref) ([]error, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestRunEndsWhenItsTransportIsClosed(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		w := newWorker(t, s, queue.WorkerOptions{}, succeed)
		s.faulty(func(string) error { return fault.New(fault.Closed, "closed") }, nil)

		err := w.Run(t.Context())

		require.ErrorIs(t, err, fault.Closed)
		require.False(t, w.Health().Running)
	})
}

func TestADriverThatAnswersTheWrongNumberIsNotBelieved(t *testing.T) {
	inTime(t, func(t *testing.T) {
		s := newStore(t)
		s.lease = time.Second
		enqueue(t, s, 1)
		w, err := queue.NewWorker(&queue.Backend{Driver: &mute{s}, Capabilities: s.backend().Capabilities}, queue.WorkerOptions{Logger: quiet})
		require.NoError(t, err)
		require.NoError(t, queue.Handle(w, work, func(context.Context, *queue.Job[int]) error { time.Sleep(time.Second / 2); return nil }))
		start(t, w)

		after(10 * time.Second)

		require.Zero(t, w.Stats().Done)
		require.Positive(t, w.Stats().SettleDropped)
		require.Positive(t, w.Stats().ExtendErrors)
		_, err = queue.Enqueue(t.Context(), queue.NewClient(&queue.Backend{Driver: &mute{s}}, queue.ClientOptions{}), work, 1)
		require.ErrorIs(t, err, fault.Internal)
	})
}

// mute answers nothing, and calls that success.
type mute struct{ *store }

func (*mute) Enqueue(context.Context, []queue.Task) ([]queue.Receipt, error) { return nil, nil }
func (*mute) Settle(context.Context, queue.Settlements) ([]error, error)     { return nil, nil }
func (*mute) Extend(context.Context, []queue.Ref) ([]error, error)           { return nil, nil }
