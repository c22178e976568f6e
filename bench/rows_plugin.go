package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
)

// pluginRows compare what the boundary of a plugin costs with gRPC used as it comes. Ours is the memory transport as a
// plugin: nothing but the boundary takes time.
var pluginRows = []row{
	{name: "plugin: cache get, 1 caller, p50", peer: "go-plugin, unary gRPC echo", unit: "µs", less: true, bar: 0.8, pinned: true, setup: pluginGetOne},
	{name: "plugin: cache get, 64 callers", peer: "go-plugin, unary gRPC echo", unit: "/s", bar: 2, setup: pluginGetMany},
	{name: "plugin: pub/sub delivery, 128 B", peer: "go-plugin, gRPC server stream", unit: "/s", bar: 0.7, setup: pluginDeliver},
	{name: "plugin: queue process on memory, 50k tasks", peer: "hibiken/asynq on Redis", unit: "/s", bar: 2, setup: pluginProcess},
}

// pluginGet is a read of one entry, as the driver has it, and an echo of as many bytes.
func pluginGet(e *env, pinned bool) (ours, theirs func(ctx context.Context) error, err error) {
	p, err := e.startPlugin(pinned)
	if err != nil {
		return nil, nil, err
	}
	t, err := e.openPlugin(p)
	if err != nil {
		return nil, nil, err
	}
	reads := []cache.Read{{Key: "key"}}
	if _, err := t.Cache().Set(e.ctx, []cache.Write{{Key: "key", Value: payload100}}); err != nil {
		return nil, nil, err
	}
	conn, err := e.startBare(pinned)
	if err != nil {
		return nil, nil, err
	}
	echoed := &wrapperspb.BytesValue{Value: payload100}
	return func(ctx context.Context) error {
			got, err := t.Cache().Get(ctx, reads)
			if err == nil && !got[0].Found {
				err = errors.New("the entry is not there")
			}
			return err
		}, func(ctx context.Context) error {
			return conn.Invoke(ctx, bareEcho, echoed, &wrapperspb.BytesValue{})
		}, nil
}

// Budget: a message there and one back on a stream that is open, which spares the headers and trailers of a unary call.
func pluginGetOne(e *env) (side, side, error) {
	ours, theirs, err := pluginGet(e, true)
	return microseconds(4000, ours), microseconds(4000, theirs), err
}

// Budget: many callers share a message.
func pluginGetMany(e *env) (side, side, error) {
	ours, theirs, err := pluginGet(e, false)
	each := func(call func(context.Context) error) side {
		return perSecond(64, func(ctx context.Context, _, _ int) error { return call(ctx) })
	}
	return each(ours), each(theirs), err
}

// Budget: every message is two more copies and a handful of allocations; many share one on the wire.
func pluginDeliver(e *env) (side, side, error) {
	p, err := e.startPlugin(false)
	if err != nil {
		return nil, nil, err
	}
	t, err := e.openPlugin(p)
	if err != nil {
		return nil, nil, err
	}
	var heard, lost atomic.Int64
	_, err = t.PubSub().Subscribe(e.ctx, pubsub.Filter{Subject: sourceSubject}, func(events []pubsub.Event) {
		for _, event := range events {
			if event.Gap != nil {
				lost.Add(int64(event.Gap.Lost))
			}
		}
		heard.Add(int64(len(events)))
	})
	if err != nil {
		return nil, nil, err
	}
	ours := func(ctx context.Context) (float64, error) {
		const ordered = 2048 // at a time, and twice that under way: a quarter of what the memory holds for a slow receiver
		order := []pubsub.Message{{Subject: sourceOrder, Payload: []byte(strconv.Itoa(ordered)), Sender: "bench", Seq: 1, SubjectSeq: 1}}
		heard.Store(0)
		start, sent := time.Now(), int64(0)
		for time.Since(start) < window {
			if _, err := t.PubSub().Publish(ctx, order); err != nil {
				return 0, err
			}
			sent += ordered
			for heard.Load()+lost.Load() < sent-ordered {
				time.Sleep(20 * time.Microsecond)
			}
		}
		for heard.Load() < sent {
			time.Sleep(20 * time.Microsecond)
		}
		if lost.Load() > 0 {
			return 0, errors.New("messages were lost, so it measures nothing")
		}
		return float64(sent) / time.Since(start).Seconds(), nil
	}
	conn, err := e.startBare(false)
	if err != nil {
		return nil, nil, err
	}
	theirs := func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, bareStream)
		if err != nil {
			return 0, err
		}
		if err := stream.SendMsg(&wrapperspb.BytesValue{}); err != nil {
			return 0, err
		}
		start, n := time.Now(), 0
		for time.Since(start) < window {
			for range 64 {
				if err := stream.RecvMsg(&wrapperspb.BytesValue{}); err != nil {
					return 0, err
				}
				n++
			}
		}
		return float64(n) / time.Since(start).Seconds(), nil
	}
	return ours, theirs, nil
}

// Budget: claims and settlements in batches, several in flight.
func pluginProcess(e *env) (side, side, error) {
	const tasks, concurrency = 50_000, 64
	p, err := e.startPlugin(false)
	if err != nil {
		return nil, nil, err
	}
	ours := func(ctx context.Context) (float64, error) {
		t, err := e.openPlugin(p) // a namespace of its own: nothing of the last round is left in it
		if err != nil {
			return 0, err
		}
		if err := fill(ctx, t, tasks); err != nil {
			return 0, err
		}
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
		return tasks / took.Seconds(), t.Close()
	}
	return ours, asynqProcess(e, tasks/5, concurrency), nil
}
