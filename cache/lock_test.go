package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

func TestALockHasOneHolder(t *testing.T) {
	s := newStore(t)
	a, b := s.node(cache.Options{Node: "web-1"}), s.node()
	ctx := t.Context()

	lock, err := a.Lock(ctx, "l")
	require.NoError(t, err)
	require.Equal(t, "l", lock.Name())
	require.NotZero(t, lock.Fence())
	require.Equal(t, 15*second, lock.TTL())
	_, err = b.TryLock(ctx, "l")
	requireCode(t, cache.ErrLocked, err)
	require.Contains(t, err.Error(), "web-1/", "the error says who holds it")
	_, err = a.TryLock(ctx, "l")
	requireCode(t, cache.ErrLocked, err)

	require.NoError(t, lock.Unlock(ctx))
	require.NoError(t, lock.Unlock(ctx), "twice is fine")
	next, err := b.TryLock(ctx, "l")
	require.NoError(t, err)
	require.Greater(t, next.Fence(), lock.Fence())
	require.NotEqual(t, next.Holder(), lock.Holder())
}

func TestLockWaitsForItsTurnAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, b := s.node(), s.node()
		lock, err := a.Lock(t.Context(), "l")
		require.NoError(t, err)
		go func() {
			time.Sleep(40 * second) // beyond the first lease
			_ = lock.Unlock(t.Context())
		}()
		began := time.Now()

		next, err := b.Lock(t.Context(), "l")

		require.NoError(t, err)
		require.Equal(t, 40*second, time.Since(began), "memory tells at once")
		require.NoError(t, next.Unlock(t.Context()))
	})
}

func TestLockGivesUpWithItsContextAndSaysWhoWasInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, b := s.node(cache.Options{Node: "web-1"}), s.node()
		_, err := a.Lock(t.Context(), "l")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		began := time.Now()

		_, err = b.Lock(ctx, "l")

		requireCode(t, fault.DeadlineExceeded, err)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Contains(t, err.Error(), "web-1/")
		require.Equal(t, second, time.Since(began))
	})
}

func TestThoseWhoWaitInOneProcessGetALockInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		held, err := c.Lock(t.Context(), "l")
		require.NoError(t, err)
		var order []int
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				lock, err := c.Lock(t.Context(), "l")
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				time.Sleep(second)
				if err := lock.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		before := link.count("acquire")
		time.Sleep(10 * second)
		asked := link.count("acquire") - before
		require.NoError(t, held.Unlock(t.Context()))
		wg.Wait()

		for i := range order {
			require.Equal(t, i, order[i])
		}
		require.LessOrEqual(t, asked, int64(60), "one asks for all, about four times a second")
	})
}

func TestOneWhoGivesUpWaitingDoesNotHoldUpTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node()
		held, err := c.Lock(t.Context(), "l")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var gaveUp, got atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				mine := t.Context()
				if i%2 == 0 {
					mine = ctx
				}
				lock, err := c.Lock(mine, "l")
				if err != nil {
					gaveUp.Add(1)
					return
				}
				got.Add(1)
				_ = lock.Unlock(t.Context())
			})
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		require.NoError(t, held.Unlock(t.Context()))
		wg.Wait()

		require.EqualValues(t, 10, gaveUp.Load())
		require.EqualValues(t, 10, got.Load())
	})
}

// A driver may answer at once though it was asked to wait.
type impatient struct{ cache.Driver }

func (d impatient) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	for i := range claims {
		claims[i].Wait = 0
	}
	return d.Driver.Acquire(ctx, claims)
}

func TestAStoreThatCannotWaitIsAskedAgainAtMostEveryQuarterOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		lock, err := s.node().Lock(t.Context(), "l")
		require.NoError(t, err)
		c, link := s.faulty()
		link.Driver = impatient{link.Driver}
		go func() {
			time.Sleep(20*second + time.Millisecond)
			_ = lock.Unlock(t.Context())
		}()
		began := time.Now()

		_, err = c.Lock(t.Context(), "l")

		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(began), 20*second+251*time.Millisecond)
		require.LessOrEqual(t, link.count("acquire"), int64(130))
	})
}

func TestALockRenewsItselfWhileItIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c, link := s.faulty()
		lock, err := c.Lock(t.Context(), "l", cache.TTL(3*second))
		require.NoError(t, err)

		time.Sleep(time.Minute + second/2) // between two renewals

		require.NoError(t, lock.Context().Err())
		_, err = s.node().TryLock(t.Context(), "l")
		require.ErrorIs(t, err, cache.ErrLocked)
		require.InDelta(t, 60, link.count("renew"), 5, "a third of the lease apart")
		require.NoError(t, lock.Unlock(t.Context()))
		renewals := link.count("renew")
		time.Sleep(time.Minute)
		require.Equal(t, renewals, link.count("renew"), "a lock that was given back is renewed no more")
	})
}

func TestManyLocksShareFewRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		for i := range 1000 {
			_, err := c.Lock(t.Context(), fmt.Sprint(i))
			require.NoError(t, err)
			time.Sleep(10 * time.Millisecond)
		}
		before := link.count("renew")

		time.Sleep(50 * second)

		require.LessOrEqual(t, link.count("renew")-before, int64(150), "10 renewals of 1,000 locks each")
		require.Equal(t, 1000, c.HeldLocks())
	})
}

func TestLockIsLostBeforeAnotherHolderHasIt(t *testing.T) {
	disturbances := map[string]func(*link){
		"the store refuses":   func(l *link) { l.cut("renew") },
		"the store is silent": func(l *link) { l.swallow() },
	}
	for name, disturb := range disturbances {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t)
				log := &logs{}
				a, link := s.faulty(cache.Options{Logger: log.logger()})
				b := s.node()
				lock, err := a.Lock(t.Context(), "l", cache.TTL(10*second))
				require.NoError(t, err)
				disturb(link)
				began := time.Now()
				lost := make(chan time.Duration, 1)
				context.AfterFunc(lock.Context(), func() { lost <- time.Since(began) })

				_, err = b.Lock(t.Context(), "l")

				require.NoError(t, err)
				require.Equal(t, 10*second, time.Since(began))
				require.Equal(t, 8*second, <-lost, "a fifth of the lease before")
				require.ErrorIs(t, context.Cause(lock.Context()), cache.ErrLeaseLost)
				require.EqualValues(t, 1, a.Stats().LocksLost)
				require.NotZero(t, a.Stats().RenewalsFailed)
				require.Contains(t, log.String(), "lock was lost")
				link.heal()
				requireCode(t, cache.ErrLeaseLost, lock.Unlock(t.Context()))
				_, err = a.Set(t.Context(), "l", nil, lock.Guard())
				require.Error(t, err, "the store refuses a late write")
			})
		})
	}
}

func TestALockSurvivesAnOutageShorterThanItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		lock, err := c.Lock(t.Context(), "l", cache.TTL(10*second))
		require.NoError(t, err)
		link.swallow()
		time.Sleep(7 * second)
		link.heal()

		time.Sleep(time.Minute)

		require.NoError(t, lock.Context().Err())
		require.NoError(t, lock.Unlock(t.Context()))
	})
}

func TestALeaseThatTheStoreHasDroppedIsLostAtTheNextRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c, link := s.faulty()
		lock, err := c.Lock(t.Context(), "l", cache.TTL(9*second))
		require.NoError(t, err)
		_, err = link.Driver.Release(t.Context(), []cache.Lease{{Lock: "l", Holder: lock.Holder(), Fence: lock.Fence()}})
		require.NoError(t, err)
		began := time.Now()

		<-lock.Context().Done()

		require.LessOrEqual(t, time.Since(began), 3*second)
		require.ErrorIs(t, context.Cause(lock.Context()), cache.ErrLeaseLost)
	})
}

func TestALockIsLostAtOnceAfterASuspend(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, 4 * second, -4 * second} {
		synctest.Test(t, func(t *testing.T) {
			c := newStore(t).node()
			suspend := c.Suspendable()
			lock, err := c.Lock(t.Context(), "l")
			require.NoError(t, err)
			time.Sleep(second)
			began := time.Now()

			suspend(jump)
			_, err = c.Set(t.Context(), "l", nil, cache.Under(lock))
			requireCode(t, cache.ErrLeaseLost, err)
			<-lock.Context().Done()

			require.Zero(t, time.Since(began))
			require.ErrorIs(t, context.Cause(lock.Context()), cache.ErrLeaseLost)
		})
	}
}

func TestASuspendIsNoticedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node()
		suspend := c.Suspendable()
		lock, err := c.Lock(t.Context(), "l")
		require.NoError(t, err)
		suspend(time.Hour)
		began := time.Now()

		<-lock.Context().Done()

		require.LessOrEqual(t, time.Since(began), 200*time.Millisecond)
	})
}

func TestASmallStepOfTheClockLosesNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node()
		suspend := c.Suspendable()
		lock, err := c.Lock(t.Context(), "l")
		require.NoError(t, err)

		suspend(2 * second)
		time.Sleep(time.Minute)

		require.NoError(t, lock.Context().Err())
	})
}

func TestTheContextOfALockEndsWithItAndNotWithTheCallers(t *testing.T) {
	type key struct{}
	c := newStore(t).node()
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "trace"))
	lock, err := c.Lock(ctx, "l")
	require.NoError(t, err)

	cancel()
	require.NoError(t, lock.Context().Err())
	require.Equal(t, "trace", lock.Context().Value(key{}))

	require.NoError(t, lock.Unlock(t.Context()))
	require.ErrorIs(t, lock.Context().Err(), context.Canceled)
	require.NotErrorIs(t, context.Cause(lock.Context()), cache.ErrLeaseLost)
}

func TestUnlockWithAnEndedContextGivesTheLockBackInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, b := s.node(), s.node()
		lock, err := a.Lock(t.Context(), "l")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()

		requireCode(t, fault.Canceled, lock.Unlock(ctx))
		_, err = b.Lock(t.Context(), "l")

		require.NoError(t, err)
		require.Less(t, time.Since(began), second)
	})
}

func TestALockWhoseReleaseFailsIsGivenBackWhenTheStoreReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, link := s.faulty()
		lock, err := a.Lock(t.Context(), "l", cache.TTL(time.Minute))
		require.NoError(t, err)
		link.cut()
		began := time.Now()

		requireCode(t, fault.Unavailable, lock.Unlock(t.Context()))
		time.Sleep(10 * second)
		link.heal()
		_, err = s.node().Lock(t.Context(), "l")

		require.NoError(t, err)
		require.Less(t, time.Since(began), 12*second)
	})
}

func TestAnAcquireWhoseAnswerWasLostIsNotTakenForALockAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, link := s.faulty()
		link.loseAnswers("acquire")

		_, err := a.Lock(t.Context(), "l", cache.TTL(time.Hour))
		requireCode(t, fault.Unavailable, err)
		link.heal()
		synctest.Wait()
		lock, err := s.node().TryLock(t.Context(), "l")

		require.NoError(t, err, "nobody knew the lease's fence, and it was given back all the same")
		require.NoError(t, lock.Unlock(t.Context()))
	})
}

// late is a store that carries an acquisition out some time after its caller has given up, as when what a connection had
// sent arrives by a retransmission.
type late struct {
	cache.Driver
	by   time.Duration
	done chan struct{}
}

func (l *late) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	go func() {
		defer close(l.done)
		time.Sleep(l.by)
		_, _ = l.Driver.Acquire(context.WithoutCancel(ctx), claims) // nobody is there to hear the answer
	}()
	return nil, errAway
}

func TestAnAcquireThatIsCarriedOutLateIsGivenBack(t *testing.T) {
	for _, by := range []time.Duration{100 * time.Millisecond, second, 3 * second} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t)
				backend := *s.backend()
				store := &late{Driver: backend.Driver, by: by, done: make(chan struct{})}
				backend.Driver = store
				c := cache.New(&backend, cache.Options{Logger: slog.New(slog.DiscardHandler)})
				defer func() { require.NoError(t, c.Close()) }()
				_, err := c.Lock(t.Context(), "l", cache.TTL(time.Hour))
				requireCode(t, fault.Unavailable, err)
				<-store.done
				carriedOut := time.Now()

				lock, err := s.node().Lock(t.Context(), "l")

				require.NoError(t, err)
				require.Less(t, time.Since(carriedOut), 5*second)
				require.NoError(t, lock.Unlock(t.Context()))
			})
		})
	}
}

func TestWithLockRunsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		nodes := []*cache.Cache{s.node(), s.node(), s.node()}
		var inside, total atomic.Int32
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				err := nodes[i%3].WithLock(t.Context(), "l", func(context.Context) error {
					if inside.Add(1) != 1 {
						t.Error("two at a time")
					}
					time.Sleep(time.Millisecond)
					inside.Add(-1)
					total.Add(1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 30, total.Load())
	})
}

func TestWithLockTellsOfALossAndOfTheErrorOfItsFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c, link := s.faulty()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()

		oops := errors.New("oops")
		require.ErrorIs(t, c.WithLock(ctx, "l", func(context.Context) error { return oops }), oops)
		require.Panics(t, func() { _ = c.WithLock(ctx, "l", func(context.Context) error { panic("no") }) })
		err := c.WithLock(ctx, "l", func(inside context.Context) error {
			link.cut("renew")
			<-inside.Done()
			require.ErrorIs(t, context.Cause(inside), cache.ErrLeaseLost)
			return nil
		})
		requireCode(t, cache.ErrLeaseLost, err)
		link.heal()
		err = c.WithLock(ctx, "l", func(inside context.Context) error {
			cancel()
			<-inside.Done()
			return inside.Err()
		})
		require.ErrorIs(t, err, context.Canceled)
		lock, err := s.node().TryLock(t.Context(), "l")
		require.NoError(t, err, "it was given back though ctx had ended")
		require.NoError(t, lock.Unlock(t.Context()))
	})
}

func TestALockIsNotReentrantAndSaysSo(t *testing.T) {
	c := newStore(t).node()

	err := c.WithLock(t.Context(), "l", func(ctx context.Context) error {
		return c.WithLock(ctx, "l", func(context.Context) error { return nil })
	})

	requireCode(t, cache.ErrLocked, err)
	require.Contains(t, err.Error(), "reentrant")
}

func TestLocksListsWhatIsHeld(t *testing.T) {
	s := newStore(t)
	c := s.node(cache.Options{Node: "web-1"})
	for _, name := range []string{"a:1", "a:2", "b:1"} {
		_, err := c.Lock(t.Context(), name)
		require.NoError(t, err)
	}

	held := collect(t, s.node().Locks(t.Context(), "a:"))

	require.Len(t, held, 2)
	for _, lease := range held {
		require.True(t, strings.HasPrefix(lease.Holder, "web-1/"))
		require.WithinDuration(t, time.Now().Add(15*second), lease.Expires, 10*second)
	}
}

func TestGuardsKeepOthersOut(t *testing.T) {
	s := newStore(t)
	a, b := s.node(), s.node()
	ctx := t.Context()
	lock, err := a.Lock(ctx, "k")
	require.NoError(t, err)

	_, err = a.Set(ctx, "k", []byte("mine"), cache.Under(lock))
	require.NoError(t, err)
	for name, call := range map[string]func(*cache.Cache) error{
		"get":    func(c *cache.Cache) error { _, err := c.Get(ctx, "k", cache.RespectLock()); return err },
		"set":    func(c *cache.Cache) error { _, err := c.Set(ctx, "k", nil, cache.RespectLock()); return err },
		"delete": func(c *cache.Cache) error { _, err := c.Delete(ctx, "k", cache.RespectLock()); return err },
		"touch":  func(c *cache.Cache) error { return c.Touch(ctx, "k", 0, cache.RespectLock()) },
		"add":    func(c *cache.Cache) error { _, err := c.Add(ctx, "k", 1, cache.RespectLock()); return err },
		"load": func(c *cache.Cache) error {
			_, err := c.Load(ctx, "k2", cache.LoadOptions{Wait: -1}, func(context.Context) ([]byte, error) { return nil, nil })
			return err
		},
	} {
		if name == "load" {
			_, err := a.Lock(ctx, "k2")
			require.NoError(t, err)
		}
		requireCode(t, cache.ErrLocked, call(b))
		requireCode(t, cache.ErrLocked, call(a))
	}
	got, err := b.GetMany(ctx, []string{"k", "free"}, cache.RespectLock())
	require.NoError(t, err)
	requireCode(t, cache.ErrLocked, got[0].Err)
	require.NoError(t, got[1].Err)
	_, err = b.Get(ctx, "k")
	require.NoError(t, err, "without a guard locks are not looked at")

	require.NoError(t, lock.Unlock(ctx))
	_, err = b.Set(ctx, "k", nil, cache.RespectLock())
	require.NoError(t, err)
	_, err = a.Set(ctx, "k", nil, cache.Under(lock))
	requireCode(t, cache.ErrLeaseLost, err)
	later, err := b.Lock(ctx, "k")
	require.NoError(t, err)
	require.NoError(t, later.Unlock(ctx))
	_, err = a.Set(ctx, "k", nil, lock.Guard())
	requireCode(t, cache.ErrConflict, err)
}

func TestAnOperationWaitsForALockAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, b := s.node(), s.node()
		lock, err := a.Lock(t.Context(), "k")
		require.NoError(t, err)

		began := time.Now()
		_, err = b.Get(t.Context(), "k", cache.WaitForLock(2*second))
		requireCode(t, cache.ErrLocked, err)
		require.InDelta(t, 2*second, time.Since(began), float64(time.Millisecond))

		go func() {
			time.Sleep(second)
			_ = lock.Unlock(t.Context())
		}()
		began = time.Now()
		_, err = b.Set(t.Context(), "k", nil, cache.WaitForLock(10*second))
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(began), second+250*time.Millisecond)
	})
}

func TestCloseGivesLocksBackAndEndsTheirContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, b := s.node(), s.node()
		lock, err := a.Lock(t.Context(), "l")
		require.NoError(t, err)
		waiting := make(chan error, 1)
		go func() {
			_, err := a.Lock(t.Context(), "l")
			waiting <- err
		}()
		synctest.Wait()
		began := time.Now()

		require.NoError(t, a.Close())

		requireCode(t, fault.Closed, <-waiting)
		require.ErrorIs(t, context.Cause(lock.Context()), cache.ErrClosed)
		requireCode(t, fault.Closed, lock.Unlock(t.Context()))
		_, err = b.TryLock(t.Context(), "l")
		require.NoError(t, err)
		require.Zero(t, time.Since(began))
	})
}

func TestCloseDoesNotWaitForASilentStoreForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		_, err := c.Lock(t.Context(), "l")
		require.NoError(t, err)
		link.swallow()
		time.Sleep(6 * second) // a renewal hangs
		began := time.Now()

		require.NoError(t, c.Close())

		require.LessOrEqual(t, time.Since(began), 5*second)
		require.EqualValues(t, 1, c.Stats().ReleasesAbandoned)
	})
}

func TestLockAndCloseAtTheSameTimeLeaveNothingHeld(t *testing.T) {
	s := newStore(t)
	observer := s.node()
	for range 50 {
		c := s.node()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					lock, err := c.Lock(t.Context(), "l")
					if err != nil {
						return
					}
					_ = lock.Unlock(t.Context())
				}
			})
		}
		wg.Go(func() { _ = c.Close() })
		wg.Wait()
		require.Empty(t, collect(t, observer.Locks(t.Context(), "")))
	}
}

// A renewal may fail for one lock of many.
type choosy struct {
	cache.Driver
	refuses string
}

func (d choosy) Renew(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
	all, err := d.Driver.Renew(ctx, leases)
	for i := range all {
		if leases[i].Lock == d.refuses {
			all[i].Err = errAway
		}
	}
	return all, err
}

func TestOneLocksFailedRenewalDoesNotHarmTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		link.Driver = choosy{link.Driver, "bad"}
		var locks []*cache.Lock
		for _, name := range []string{"a", "bad", "z"} {
			lock, err := c.Lock(t.Context(), name)
			require.NoError(t, err)
			locks = append(locks, lock)
		}

		time.Sleep(time.Minute)

		require.NoError(t, locks[0].Context().Err())
		require.NoError(t, locks[2].Context().Err())
		require.ErrorIs(t, context.Cause(locks[1].Context()), cache.ErrLeaseLost)
	})
}

func TestCloseWaitsForWhatRunsUnderALockBeforeItGivesTheLockBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, b := s.node(), s.node()
		var ended atomic.Bool
		answer := make(chan error, 1)
		go func() {
			answer <- a.WithLock(t.Context(), "l", func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(second)
				ended.Store(true)
				return nil
			})
		}()
		synctest.Wait()
		go func() { _ = a.Close() }()

		_, err := b.Lock(t.Context(), "l")

		require.NoError(t, err)
		require.True(t, ended.Load())
		requireCode(t, fault.Closed, <-answer)
	})
}
