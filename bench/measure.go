package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// window is how long one measurement of a throughput lasts.
const window = 800 * time.Millisecond

// perSecond runs op from so many goroutines for a window and answers the operations a second.
func perSecond(goroutines int, op func(ctx context.Context, goroutine, i int) error) side {
	return func(ctx context.Context) (float64, error) {
		var done atomic.Int64
		var failed atomic.Pointer[error]
		var wg sync.WaitGroup
		start := time.Now()
		for g := range goroutines {
			wg.Go(func() {
				n := 0
				for time.Since(start) < window && failed.Load() == nil {
					for range 8 { // the clock is asked now and then only
						if err := op(ctx, g, n); err != nil {
							failed.Store(&err)
							return
						}
						n++
					}
				}
				done.Add(int64(n))
			})
		}
		wg.Wait()
		if err := failed.Load(); err != nil {
			return 0, *err
		}
		return float64(done.Load()) / time.Since(start).Seconds(), nil
	}
}

// microseconds runs op n times, one after the other, and answers the median of what it took.
func microseconds(n int, op func(ctx context.Context) error) side {
	return sampled(n, func(ctx context.Context) (time.Duration, error) {
		start := time.Now()
		err := op(ctx)
		return time.Since(start), err
	})
}

// sampled answers the median of n samples in microseconds.
func sampled(n int, sample func(ctx context.Context) (time.Duration, error)) side {
	return func(ctx context.Context) (float64, error) {
		took := make([]time.Duration, n)
		for i := range took {
			var err error
			if took[i], err = sample(ctx); err != nil {
				return 0, err
			}
		}
		slices.Sort(took)
		return float64(took[n/2]) / float64(time.Microsecond), nil
	}
}
