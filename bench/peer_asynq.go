package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

var payload100 = make([]byte, 100)

// quiet keeps asynq from writing its life story to the terminal.
type quiet struct{}

func (quiet) Debug(...any) {}
func (quiet) Info(...any)  {}
func (quiet) Warn(...any)  {}
func (quiet) Error(...any) {}
func (quiet) Fatal(...any) {}

func (e *env) asynqClient() *asynq.Client {
	c := asynq.NewClient(asynq.RedisClientOpt{Addr: e.addr})
	e.cleanup(func() { c.Close() })
	return c
}

func asynqServer(addr string, concurrency int) *asynq.Server {
	return asynq.NewServer(asynq.RedisClientOpt{Addr: addr}, asynq.Config{Concurrency: concurrency, Logger: quiet{}, LogLevel: asynq.FatalLevel})
}

// asynqProcess fills the queue, then times a server from its start until the last task's handler has run.
func asynqProcess(e *env, tasks, concurrency int) side {
	return func(ctx context.Context) (float64, error) {
		if err := e.flush(); err != nil {
			return 0, err
		}
		direct := asynq.NewClient(asynq.RedisClientOpt{Addr: e.directAddr()})
		defer direct.Close()
		if err := inParallel(64, tasks, func(int) error {
			_, err := direct.EnqueueContext(ctx, asynq.NewTask("noop", payload100))
			return err
		}); err != nil {
			return 0, err
		}
		done := newCountdown(tasks)
		server := asynqServer(e.addr, concurrency)
		start := time.Now()
		if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { done.one(); return nil })); err != nil {
			return 0, err
		}
		defer server.Shutdown()
		if err := done.wait(ctx, 5*time.Minute); err != nil {
			return 0, err
		}
		return float64(tasks) / time.Since(start).Seconds(), nil
	}
}

// countdown ends when so many have been counted.
type countdown struct {
	left atomic.Int64
	end  chan struct{}
}

func newCountdown(n int) *countdown {
	c := &countdown{end: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) one() {
	if c.left.Add(-1) == 0 {
		close(c.end)
	}
}

func (c *countdown) wait(ctx context.Context, atMost time.Duration) error {
	select {
	case <-c.end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(atMost):
		return fmt.Errorf("%d left after %s", c.left.Load(), atMost)
	}
}

// inParallel calls op(0…n-1) from so many goroutines.
func inParallel(goroutines, n int, op func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := op(i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
