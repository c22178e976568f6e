package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// slowly is a loader that takes a while and counts its runs.
func slowly(runs *atomic.Int32, value string, d time.Duration) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		runs.Add(1)
		select {
		case <-time.After(d):
			return []byte(value), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func must(t *testing.T, value string) func(cache.Entry, error) {
	return func(entry cache.Entry, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Equal(t, value, string(entry.Value))
	}
}

func never(t *testing.T) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		t.Error("loaded what was there")
		return nil, nil
	}
}

func TestOneNodeOfTheClusterLoadsAndTheOthersWaitForItsValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		var runs, served atomic.Int32
		var wg sync.WaitGroup
		began := time.Now()
		for range 5 {
			c := s.node()
			for range 20 {
				wg.Go(func() {
					entry, err := c.Load(t.Context(), "k", cache.LoadOptions{TTL: time.Hour}, slowly(&runs, "v", 20*second))
					if err == nil && string(entry.Value) == "v" {
						served.Add(1)
					}
					if len(entry.Value) > 0 {
						entry.Value[0] = 'x' // each caller's value is its own
					}
				})
			}
		}
		wg.Wait()

		require.EqualValues(t, 1, runs.Load())
		require.EqualValues(t, 100, served.Load())
		require.LessOrEqual(t, time.Since(began), 21*second)
		c := s.node()
		must(t, "v")(c.Load(t.Context(), "k", cache.LoadOptions{}, never(t)))
		require.Empty(t, collect(t, c.Locks(t.Context(), "")), "the lock was given back")
		time.Sleep(time.Hour)
		_, err := c.Get(t.Context(), "k")
		require.ErrorIs(t, err, cache.ErrNotFound)
	})
}

func TestALoaderErrorReachesItsCallersAndIsNotKept(t *testing.T) {
	c := newStore(t).node()
	oops := errors.New("oops")

	_, err := c.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return nil, oops })

	requireCode(t, fault.Internal, err)
	require.ErrorIs(t, err, oops)
	require.Contains(t, err.Error(), `"k"`)
	must(t, "v")(c.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("v"), nil }))
}

func TestAPanicOfALoaderIsAFaultOfItsCallers(t *testing.T) {
	log := &logs{}
	c := newStore(t).node(cache.Options{Logger: log.logger()})

	_, err := c.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { panic("ouch") })
	requireCode(t, fault.Internal, err)
	require.Contains(t, err.Error(), "ouch")
	require.Contains(t, log.String(), "load_test.go", "the log has the stack")
	require.EqualValues(t, 1, c.Stats().LoaderPanics)
	_, err = c.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { runtime.Goexit(); return nil, nil })
	requireCode(t, fault.Internal, err)
	require.Empty(t, collect(t, c.Locks(t.Context(), "")))
}

func TestAnEmptyValueIsLoadedOnce(t *testing.T) {
	c := newStore(t).node()

	entry, err := c.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return nil, nil })
	require.NoError(t, err)
	require.NotNil(t, entry.Value)
	entry, err = c.Load(t.Context(), "k", cache.LoadOptions{}, never(t))
	require.NoError(t, err)
	require.NotNil(t, entry.Value)
}

func TestALoadGoesOnWhileOneCallerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node()
		var runs atomic.Int32
		first, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := c.Load(first, "k", cache.LoadOptions{}, slowly(&runs, "v", 10*second))
			gone <- err
		}()
		synctest.Wait()
		go func() {
			time.Sleep(second)
			cancel()
		}()

		must(t, "v")(c.Load(t.Context(), "k", cache.LoadOptions{}, slowly(&runs, "other", second)))

		requireCode(t, fault.Canceled, <-gone)
		require.EqualValues(t, 1, runs.Load())
	})
}

func TestALoadEndsWhenAllItsCallersHaveGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c := s.node()
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		ended := make(chan error, 1)
		load := func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := c.Load(ctx, "k", cache.LoadOptions{}, load); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		wg.Wait()

		require.ErrorIs(t, <-ended, context.Canceled)
		synctest.Wait()
		must(t, "v")(s.node().Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("v"), nil }))
	})
}

func TestALoaderThatLostItsLockIsCancelledAndItsValueRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, link := s.faulty()
		b := s.node()
		var runsOfA atomic.Int32
		cancelled := make(chan time.Duration, 1)
		began := time.Now()
		answer := make(chan cache.Entry, 1)
		go func() {
			entry, err := a.Load(t.Context(), "k", cache.LoadOptions{}, func(ctx context.Context) ([]byte, error) {
				runsOfA.Add(1)
				link.cut("renew")
				<-ctx.Done()
				cancelled <- time.Since(began)
				time.Sleep(10 * second) // it is slow to notice
				link.heal()
				return []byte("stale"), nil
			})
			if err != nil {
				t.Error(err)
			}
			answer <- entry
		}()
		synctest.Wait()

		must(t, "new")(b.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("new"), nil }))

		require.LessOrEqual(t, time.Since(began), 5*second+250*time.Millisecond, "replaced when the lease has ended")
		require.Equal(t, 4*second, <-cancelled)
		require.Equal(t, "new", string((<-answer).Value), "its callers get the value of the other")
		require.EqualValues(t, 1, runsOfA.Load())
		require.EqualValues(t, 1, a.Stats().LoadsRefused)
		must(t, "new")(b.Get(t.Context(), "k"))
	})
}

func TestALateWriteOfAStoppedLoaderIsRefusedByTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		a, link := s.faulty()
		b := s.node()
		hold := make(chan struct{})
		stopped := make(chan struct{})
		answer := make(chan cache.Entry, 1)
		var once sync.Once
		link.disturb(func(_ context.Context, op string) error {
			switch op {
			case "renew":
				return errAway
			case "set": // the check was made in time, and then the process stands still
				once.Do(func() { close(stopped); <-hold })
			}
			return nil
		})
		go func() {
			entry, err := a.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("stale"), nil })
			if err != nil {
				t.Error(err)
			}
			answer <- entry
		}()
		<-stopped
		must(t, "new")(b.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("new"), nil }))
		existed, err := b.Delete(t.Context(), "k") // so that only the fence is left to refuse the late write
		require.NoError(t, err)
		require.True(t, existed)
		close(hold)
		synctest.Wait()

		_, err = b.Get(t.Context(), "k")
		got := <-answer
		require.Equal(t, "stale", string(got.Value), "loaded once more, under a lock of its own")
		require.NoError(t, err)
		require.EqualValues(t, 2, a.Stats().Loads)
		require.EqualValues(t, 1, a.Stats().LoadsRefused)
	})
}

func TestAValueSetMeanwhileWinsOverTheLoaders(t *testing.T) {
	c := newStore(t).node()

	entry, err := c.Load(t.Context(), "k", cache.LoadOptions{}, func(ctx context.Context) ([]byte, error) {
		_, err := c.Set(ctx, "k", []byte("set"))
		return []byte("loaded"), err
	})

	must(t, "set")(entry, err)
	must(t, "set")(c.Get(t.Context(), "k"))
}

func TestWhoHoldsTheKeysLockByHandCanLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c, other := s.node(), s.node()
		ctx := t.Context()
		load := func(context.Context) ([]byte, error) { return []byte("v"), nil }
		lock, err := c.Lock(ctx, "k")
		require.NoError(t, err)
		waiting := make(chan error, 2)
		for _, c := range []*cache.Cache{c, other} {
			go func() {
				_, err := c.Load(ctx, "k", cache.LoadOptions{}, load)
				waiting <- err
			}()
		}
		time.Sleep(5 * second)
		require.Empty(t, waiting, "others wait for the lock")

		must(t, "v")(c.Load(ctx, "k", cache.LoadOptions{Under: lock}, load))
		require.NoError(t, <-waiting)
		require.NoError(t, <-waiting)
		require.NoError(t, lock.Context().Err(), "it was not given back")
		require.NoError(t, lock.Unlock(ctx))
		_, err = c.Load(ctx, "k", cache.LoadOptions{Under: lock}, load)
		requireCode(t, cache.ErrLeaseLost, err)

		err = c.WithLock(ctx, "j", func(ctx context.Context) error {
			_, err := c.Load(ctx, "j", cache.LoadOptions{}, load) // found through ctx
			return err
		})
		require.NoError(t, err)
		_, err = c.Load(ctx, "x", cache.LoadOptions{Under: lock}, load)
		requireCode(t, fault.Invalid, err)
	})
}

func TestLoadWaitsForALockAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c := s.node()
		lock, err := s.node(cache.Options{Node: "web-1"}).Lock(t.Context(), "k")
		require.NoError(t, err)
		for _, wait := range []time.Duration{-1, 3 * second} {
			began := time.Now()
			_, err = c.Load(t.Context(), "k", cache.LoadOptions{Wait: wait}, never(t))
			requireCode(t, cache.ErrLocked, err)
			require.Contains(t, err.Error(), "web-1/")
			require.Equal(t, max(wait, 0), time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		_, err = c.Load(ctx, "k", cache.LoadOptions{}, never(t))
		requireCode(t, fault.DeadlineExceeded, err)
		require.Contains(t, err.Error(), "web-1/")

		require.NoError(t, lock.Unlock(t.Context()))
		var runs atomic.Int32
		must(t, "v")(c.Load(t.Context(), "k", cache.LoadOptions{Wait: -1}, slowly(&runs, "v", time.Minute)))
	})
}

func TestAbsenceIsRememberedAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c := s.node()
		ctx := t.Context()
		var runs int
		absent := func(context.Context) ([]byte, error) {
			runs++
			return nil, fmt.Errorf("no user 42: %w", cache.ErrNotFound)
		}
		load := func(o cache.LoadOptions) error { _, err := c.Load(ctx, "k", o, absent); return err }

		requireCode(t, cache.ErrNotFound, load(cache.LoadOptions{}))
		requireCode(t, cache.ErrNotFound, load(cache.LoadOptions{AbsentFor: time.Minute}))
		require.Equal(t, 2, runs, "without AbsentFor it is not remembered")
		for range 5 {
			requireCode(t, cache.ErrNotFound, load(cache.LoadOptions{}))
		}
		require.Equal(t, 2, runs)
		_, err := c.Get(ctx, "k")
		requireCode(t, cache.ErrNotFound, err)
		got, err := c.GetMany(ctx, []string{"k"})
		require.NoError(t, err)
		require.False(t, got[0].Found)
		n, err := c.Count(ctx, "k")
		require.NoError(t, err)
		require.Zero(t, n)

		time.Sleep(time.Minute)
		requireCode(t, cache.ErrNotFound, load(cache.LoadOptions{AbsentFor: time.Minute}))
		require.Equal(t, 3, runs)
		_, err = c.Set(ctx, "k", []byte("v"), cache.IfAbsent())
		require.NoError(t, err, "cached absence counts as absent")
		_, err = c.Set(ctx, "k", []byte("w"), cache.IfAbsent())
		requireCode(t, cache.ErrConflict, err)
		must(t, "v")(c.Get(ctx, "k"))
		_, err = c.Load(ctx, "l", cache.LoadOptions{AbsentFor: time.Minute}, absent)
		requireCode(t, cache.ErrNotFound, err)
		written, err := c.SetMany(ctx, []cache.Write{{Key: "k", If: cache.IfAbsent()}, {Key: "l", If: cache.IfAbsent()}})
		require.NoError(t, err)
		requireCode(t, cache.ErrConflict, written[0].Err)
		require.NoError(t, written[1].Err)
	})
}

func TestAStaleEntryIsServedWhileOneNodeRefreshesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		nodes := []*cache.Cache{s.node(), s.node(), s.node()}
		var runs atomic.Int32
		o := cache.LoadOptions{TTL: time.Hour, Fresh: time.Minute}
		load := func(ctx context.Context) ([]byte, error) {
			n := runs.Add(1)
			time.Sleep(10 * second)
			return fmt.Appendf(nil, "v%d", n), nil
		}
		must(t, "v1")(nodes[0].Load(t.Context(), "k", o, load))
		time.Sleep(59 * second)
		must(t, "v1")(nodes[0].Load(t.Context(), "k", o, load))
		synctest.Wait()
		require.EqualValues(t, 1, runs.Load())
		time.Sleep(2 * second)

		began := time.Now()
		for range 10 {
			for _, c := range nodes {
				must(t, "v1")(c.Load(t.Context(), "k", o, load))
			}
		}
		require.Zero(t, time.Since(began), "nobody waits")
		time.Sleep(10 * second)
		synctest.Wait()
		require.EqualValues(t, 2, runs.Load())
		for _, c := range nodes {
			must(t, "v2")(c.Load(t.Context(), "k", o, load))
		}
		require.EqualValues(t, 2, runs.Load())
	})
}

func TestAFailedRefreshIsLoggedAndTheOldValueServesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logs{}
		c := newStore(t).node(cache.Options{Logger: log.logger()})
		o := cache.LoadOptions{TTL: time.Hour, Fresh: time.Minute}
		_, err := c.Load(t.Context(), "k", o, func(context.Context) ([]byte, error) { return []byte("v"), nil })
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		var runs int

		for range 100 {
			must(t, "v")(c.Load(t.Context(), "k", o, func(context.Context) ([]byte, error) { runs++; panic("ouch") }))
			time.Sleep(50 * time.Millisecond)
		}

		require.InDelta(t, 5, runs, 2, "about once a second")
		require.EqualValues(t, runs, c.Stats().RefreshesFailed)
		require.Contains(t, log.String(), "refresh failed")
	})
}

func TestARefreshThatFindsNothingRemovesTheEntry(t *testing.T) {
	for _, absentFor := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			c := newStore(t).node()
			o := cache.LoadOptions{TTL: time.Hour, Fresh: time.Minute, AbsentFor: absentFor}
			_, err := c.Load(t.Context(), "k", o, func(context.Context) ([]byte, error) { return []byte("v"), nil })
			require.NoError(t, err)
			time.Sleep(2 * time.Minute)

			must(t, "v")(c.Load(t.Context(), "k", o, func(context.Context) ([]byte, error) { return nil, cache.ErrNotFound }))
			synctest.Wait()

			_, err = c.Get(t.Context(), "k")
			requireCode(t, cache.ErrNotFound, err)
			require.Zero(t, c.Stats().RefreshesFailed)
		})
	}
}

func TestNoMoreRefreshesRunThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node(cache.Options{Refreshes: 3})
		o := cache.LoadOptions{Fresh: time.Minute}
		var running, most atomic.Int32
		load := func(context.Context) ([]byte, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(second)
			return nil, nil
		}
		for i := range 10 {
			_, err := c.Load(t.Context(), fmt.Sprint(i), o, load)
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Minute)
		for i := range 10 {
			_, err := c.Load(t.Context(), fmt.Sprint(i), o, load)
			require.NoError(t, err)
		}
		synctest.Wait()

		require.EqualValues(t, 3, most.Load())
		require.EqualValues(t, 7, c.Stats().RefreshesSkipped)
	})
}

func TestFreshnessIsJitteredEquallyOnAllNodes(t *testing.T) {
	created := time.Now()
	o := cache.LoadOptions{Fresh: time.Hour, Jitter: 0.5}
	distinct := map[time.Time]bool{}
	for i := range 100 {
		entry := cache.Entry{Created: created, Revision: cache.Revision(fmt.Sprint("r", i))}
		at := cache.StaleAt(entry, o)
		require.Equal(t, at, cache.StaleAt(entry, o))
		require.False(t, at.Before(created.Add(30*time.Minute)))
		require.False(t, at.After(created.Add(time.Hour)))
		distinct[at] = true
	}
	require.Greater(t, len(distinct), 90)
}

func TestCloseCancelsLoadersAndRefreshesAndWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStore(t).node()
		o := cache.LoadOptions{Fresh: time.Minute}
		_, err := c.Load(t.Context(), "stale", o, func(context.Context) ([]byte, error) { return nil, nil })
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		var ended atomic.Int32
		load := func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			time.Sleep(second)
			ended.Add(1)
			return nil, ctx.Err()
		}
		_, err = c.Load(t.Context(), "stale", o, load)
		require.NoError(t, err)
		answer := make(chan error, 1)
		go func() {
			_, err := c.Load(t.Context(), "absent", o, load)
			answer <- err
		}()
		synctest.Wait()

		require.NoError(t, c.Close())

		require.EqualValues(t, 2, ended.Load())
		requireCode(t, fault.Closed, <-answer)
	})
}

func TestCloseSaysWhichLoaderDidNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newStore(t).backend()
		c := cache.New(backend, cache.Options{})
		free := make(chan struct{})
		go func() {
			_, _ = c.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { <-free; return nil, nil })
		}()
		synctest.Wait()
		began := time.Now()

		requireCode(t, fault.DeadlineExceeded, c.Close())

		require.Equal(t, 3*second, time.Since(began))
		close(free)
	})
}

func TestAValueThatCannotBeStoredComesBesideTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link := newStore(t).faulty()
		link.cut("set")

		entry, err := c.Load(t.Context(), "k", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("v"), nil })

		requireCode(t, fault.Unavailable, err)
		require.Equal(t, "v", string(entry.Value))
	})
}

func TestLoadOptionsThatCannotBeAreInvalid(t *testing.T) {
	c := newStore(t).node()
	load := func(context.Context) ([]byte, error) { return nil, nil }
	for name, o := range map[string]cache.LoadOptions{
		"negative TTL":         {TTL: -1},
		"fresh beyond its TTL": {TTL: time.Minute, Fresh: time.Hour},
		"jitter of 1":          {Jitter: 1},
		"negative lease":       {Lease: -1},
		"negative absence":     {AbsentFor: -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Load(t.Context(), "k", o, load)
			requireCode(t, fault.Invalid, err)
		})
	}
	_, err := c.Load(t.Context(), "k", cache.LoadOptions{}, nil)
	requireCode(t, fault.Invalid, err)
}

func TestALoaderThatAsksForItsOwnKeyIsToldSo(t *testing.T) {
	c := newStore(t).node()

	_, err := c.Load(t.Context(), "k", cache.LoadOptions{}, func(ctx context.Context) ([]byte, error) {
		_, err := c.Load(ctx, "k", cache.LoadOptions{}, never(t))
		return nil, err
	})

	requireCode(t, fault.Invalid, err)
	require.Contains(t, err.Error(), "same key")
	must(t, "b")(c.Load(t.Context(), "a", cache.LoadOptions{}, func(ctx context.Context) ([]byte, error) {
		entry, err := c.Load(ctx, "b", cache.LoadOptions{}, func(context.Context) ([]byte, error) { return []byte("b"), nil })
		return entry.Value, err
	}))
}
