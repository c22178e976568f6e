package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

// noop is a task whose payload is the 100 bytes themselves.
var noop = queue.NewKind[[]byte]("noop").WithCodec(queue.Raw)

func fill(ctx context.Context, t transports.Transport, tasks int, options ...queue.Option) error {
	client := queue.NewClient(t.Queue(), queue.ClientOptions{})
	payloads := make([][]byte, min(tasks, 1000))
	for i := range payloads {
		payloads[i] = payload100
	}
	for at := 0; at < tasks; at += len(payloads) {
		if _, err := queue.EnqueueMany(ctx, client, noop, payloads, options...); err != nil {
			return err
		}
	}
	return nil
}

// process fills the queue, then times a worker from its start until the last task's handler has run.
func process(e *env, tasks, concurrency int) side {
	return func(ctx context.Context) (float64, error) {
		if err := e.flush(); err != nil {
			return 0, err
		}
		direct, err := e.openAt(e.directAddr())
		if err != nil {
			return 0, err
		}
		defer direct.Close()
		if err := fill(ctx, direct, tasks); err != nil {
			return 0, err
		}
		t, err := e.open()
		if err != nil {
			return 0, err
		}
		defer t.Close()
		worker, err := queue.NewWorker(t.Queue(), queue.WorkerOptions{Concurrency: concurrency})
		if err != nil {
			return 0, err
		}
		done := newCountdown(tasks)
		if err := queue.Handle(worker, noop, func(context.Context, *queue.Job[[]byte]) error { done.one(); return nil }); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := worker.Start(ctx); err != nil {
			return 0, err
		}
		if err := done.wait(ctx, time.Minute); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if err := worker.Stop(ctx); err != nil {
			return 0, err
		}
		stats, err := t.Queue().Admin.Stats(ctx, queue.DefaultQueue)
		if err != nil {
			return 0, err
		}
		if stats.Totals.Completed != int64(tasks) {
			return 0, errors.New("completed " + strconv.FormatInt(stats.Totals.Completed, 10) + " of " + strconv.Itoa(tasks))
		}
		return float64(tasks) / took.Seconds(), nil
	}
}

// Budget: claims and settlements in batches of up to 64 and more, several in flight.
func processRow(name string, bar float64, ours, theirs int, delay time.Duration) row {
	return row{name: name, peer: "hibiken/asynq", unit: "/s", bar: bar, delay: delay, setup: func(e *env) (side, side, error) {
		return process(e, ours, 64), asynqProcess(e, theirs, 64), nil
	}}
}

func processAgainstStreams(e *env) (side, side, error) {
	return process(e, 50_000, 64), streamProcess(e, 50_000, 8), nil
}

// Budget: one round trip; 64 goroutines share round trips. Every answer waits for the store.
func enqueueRow(name string, bar float64, goroutines int) row {
	return row{name: name, peer: "hibiken/asynq", unit: "/s", bar: bar, pinned: goroutines == 1, setup: func(e *env) (side, side, error) {
		t, err := e.open()
		if err != nil {
			return nil, nil, err
		}
		client := queue.NewClient(t.Queue(), queue.ClientOptions{})
		peer := e.asynqClient()
		ours := perSecond(goroutines, func(ctx context.Context, _, _ int) error {
			_, err := queue.Enqueue(ctx, client, noop, payload100)
			return err
		})
		theirs := perSecond(goroutines, func(ctx context.Context, _, _ int) error {
			_, err := peer.EnqueueContext(ctx, asynq.NewTask("noop", payload100))
			return err
		})
		return emptied(e, ours), emptied(e, theirs), nil
	}}
}

// emptied lets a side begin with an empty store.
func emptied(e *env, s side) side {
	return func(ctx context.Context) (float64, error) {
		if err := e.flush(); err != nil {
			return 0, err
		}
		return s(ctx)
	}
}

// idlePickUp is how long a task waits when every worker is idle: from before Enqueue to the handler's first line.
func idlePickUp(e *env) (side, side, error) {
	t, err := e.open()
	if err != nil {
		return nil, nil, err
	}
	client := queue.NewClient(t.Queue(), queue.ClientOptions{})
	worker, err := queue.NewWorker(t.Queue(), queue.WorkerOptions{Concurrency: 8})
	if err != nil {
		return nil, nil, err
	}
	began := make(chan time.Time, 1)
	if err := queue.Handle(worker, noop, func(context.Context, *queue.Job[[]byte]) error { began <- time.Now(); return nil }); err != nil {
		return nil, nil, err
	}
	if err := worker.Start(e.ctx); err != nil {
		return nil, nil, err
	}
	e.cleanup(func() { worker.Stop(e.ctx) })
	ours := sampled(100, func(ctx context.Context) (time.Duration, error) {
		time.Sleep(5 * time.Millisecond) // everything is at rest again
		start := time.Now()
		if _, err := queue.Enqueue(ctx, client, noop, payload100); err != nil {
			return 0, err
		}
		return (<-began).Sub(start), nil
	})

	raw, blocked := e.client(), e.client()
	popped := make(chan time.Time, 1)
	popping, stop := context.WithCancel(e.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for popping.Err() == nil {
			if err := blocked.BLMove(popping, "from", "to", "RIGHT", "LEFT", time.Second).Err(); err == nil {
				popped <- time.Now()
			} else if !errors.Is(err, goredis.Nil) {
				return
			}
		}
	}()
	e.cleanup(func() { stop(); <-ended })
	theirs := sampled(100, func(ctx context.Context) (time.Duration, error) {
		time.Sleep(5 * time.Millisecond)
		start := time.Now()
		if err := raw.LPush(ctx, "from", payload100).Err(); err != nil {
			return 0, err
		}
		return (<-popped).Sub(start), nil
	})
	return ours, theirs, nil
}

// memoryPerTask fills the queue with 100,000 tasks and divides what the server's data has grown by.
func memoryPerTask(e *env) (side, side, error) {
	const tasks = 100_000
	measure := func(fill func(context.Context) error) side {
		return func(ctx context.Context) (float64, error) {
			if err := e.flush(); err != nil {
				return 0, err
			}
			before, err := e.usedMemory()
			if err != nil {
				return 0, err
			}
			if err := fill(ctx); err != nil {
				return 0, err
			}
			after, err := e.usedMemory()
			return (after - before) / tasks, err
		}
	}
	t, err := e.open()
	if err != nil {
		return nil, nil, err
	}
	peer := e.asynqClient()
	return measure(func(ctx context.Context) error { return fill(ctx, t, tasks) }),
		measure(func(ctx context.Context) error {
			return inParallel(64, tasks, func(int) error {
				_, err := peer.EnqueueContext(ctx, asynq.NewTask("noop", payload100))
				return err
			})
		}), nil
}

// claimWithBacklog times a claim of one task and its release, with a long backlog and a short one.
func claimWithBacklog(e *env) (side, side, error) {
	long, err := transports.OpenURL(e.ctx, "redis://"+e.addr, transports.Settings{Namespace: "long"})
	if err != nil {
		return nil, nil, err
	}
	e.cleanup(func() { long.Close() })
	short, err := transports.OpenURL(e.ctx, "redis://"+e.addr, transports.Settings{Namespace: "short"})
	if err != nil {
		return nil, nil, err
	}
	e.cleanup(func() { short.Close() })
	for t, n := range map[transports.Transport]int{long: 1_000_000, short: 1_000} {
		if err := fill(e.ctx, t, n); err != nil {
			return nil, nil, err
		}
		if err := fill(e.ctx, t, n, queue.In(24*time.Hour)); err != nil {
			return nil, nil, err
		}
	}
	claim := func(t transports.Transport) side {
		driver := t.Queue()
		number := uint64(0)
		return sampled(2000, func(ctx context.Context) (time.Duration, error) {
			start := time.Now()
			got, err := driver.Claim(ctx, queue.Claim{Worker: "bench", Queues: []string{queue.DefaultQueue}, Max: 1})
			took := time.Since(start)
			if err != nil {
				return 0, err
			}
			if len(got.Tasks) != 1 {
				return 0, errors.New("nothing to claim")
			}
			number++
			errs, err := driver.Settle(ctx, queue.Settlements{Worker: "bench", Number: number, Items: []queue.Settlement{
				{Ref: got.Tasks[0].Ref(), Outcome: queue.Release},
			}})
			return took, errors.Join(append(errs, err)...)
		})
	}
	return claim(long), claim(short), nil
}
