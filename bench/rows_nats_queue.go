package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/queue"
)

// natsQueueRows are those of the task queue over JetStream, on files.
var natsQueueRows = []row{
	{name: "nats: queue process, concurrency 64", peer: "JetStream consume + DoubleAck", unit: "/s", bar: 0.25, nats: true, setup: natsProcessAgainstRaw},
	{name: "nats: queue process, concurrency 64", peer: "watermill-nats, synchronous ack", unit: "/s", bar: 2, nats: true, setup: natsProcessAgainstWatermill},
	{name: "nats: enqueue, 64 goroutines", peer: "JetStream publish, acknowledged", unit: "/s", bar: 0.8, nats: true, setup: natsEnqueue},
	{name: "nats: queue idle pick-up, p50", peer: "JetStream publish, blocked pull", unit: "µs", less: true, bar: 0.4, pinned: true, nats: true, setup: natsIdlePickUp},
}

const (
	natsTasks       = 10_000
	natsConcurrency = 64
)

// natsProcess fills a queue, then times a worker from its start until the last task's handler has run. Budget: three
// messages a task (the task, its lease, its end), each under a condition, in batches.
func natsProcess(e *env) side {
	round := 0
	return func(ctx context.Context) (float64, error) {
		round++
		name := "round" + strconv.Itoa(round)
		t, err := e.openNATS()
		if err != nil {
			return 0, err
		}
		defer t.Close()
		if err := fill(ctx, t, natsTasks, queue.OnQueue(name)); err != nil {
			return 0, err
		}
		worker, err := queue.NewWorker(t.Queue(), queue.WorkerOptions{Concurrency: natsConcurrency, Queues: map[string]int{name: 1}})
		if err != nil {
			return 0, err
		}
		done := newCountdown(natsTasks)
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
		stats, err := t.Queue().Admin.Stats(ctx, name)
		if err != nil {
			return 0, err
		}
		if stats.Totals.Completed != natsTasks {
			return 0, fmt.Errorf("completed %d of %d", stats.Totals.Completed, natsTasks)
		}
		return natsTasks / took.Seconds(), nil
	}
}

func (e *env) rawJetStream() (jetstream.JetStream, error) {
	nc, err := e.rawNATS()
	if err != nil {
		return nil, err
	}
	return jetstream.New(nc)
}

// natsProcessAgainstRaw has the peer confirm each message, from as many goroutines as we have handlers.
func natsProcessAgainstRaw(e *env) (side, side, error) {
	js, err := e.rawJetStream()
	if err != nil {
		return nil, nil, err
	}
	theirs := func(ctx context.Context) (float64, error) {
		stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "RAW", Subjects: []string{"raw"}, Retention: jetstream.WorkQueuePolicy})
		if err != nil {
			return 0, err
		}
		for range natsTasks {
			if _, err := js.PublishAsync("raw", payload100); err != nil {
				return 0, err
			}
		}
		<-js.PublishAsyncComplete()
		consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "raw", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
		if err != nil {
			return 0, err
		}
		work := make(chan jetstream.Msg, natsTasks)
		done := newCountdown(natsTasks)
		var failed atomic.Pointer[error]
		for range natsConcurrency {
			go func() {
				for m := range work {
					if err := m.DoubleAck(ctx); err != nil {
						failed.Store(&err)
					}
					done.one()
				}
			}()
		}
		start := time.Now()
		consuming, err := consumer.Consume(func(m jetstream.Msg) { work <- m })
		if err != nil {
			return 0, err
		}
		err = done.wait(ctx, time.Minute)
		took := time.Since(start)
		consuming.Stop()
		<-consuming.Closed()
		close(work)
		if f := failed.Load(); f != nil {
			err = errors.Join(err, *f)
		}
		return natsTasks / took.Seconds(), err
	}
	return natsProcess(e), theirs, nil
}

// natsProcessAgainstWatermill has Watermill handle one message after the other, as one subscription does, each confirmed
// before the next.
func natsProcessAgainstWatermill(e *env) (side, side, error) {
	nc, err := e.rawNATS()
	if err != nil {
		return nil, nil, err
	}
	publisher, err := wmjetstream.NewPublisher(wmjetstream.PublisherConfig{Conn: nc, Logger: watermill.NopLogger{}})
	if err != nil {
		return nil, nil, err
	}
	subscriber, err := wmjetstream.NewSubscriber(wmjetstream.SubscriberConfig{
		Conn: nc, AckWaitTimeout: 30 * time.Second, ResourceInitializer: wmjetstream.GroupedConsumer("bench"), Logger: watermill.NopLogger{},
	})
	if err != nil {
		return nil, nil, err
	}
	round := 0
	theirs := func(ctx context.Context) (float64, error) {
		round++
		topic := "wm" + strconv.Itoa(round)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if err := subscriber.SubscribeInitialize(topic); err != nil {
			return 0, err
		}
		if err := inParallel(natsConcurrency, natsTasks, func(i int) error {
			return publisher.Publish(topic, message.NewMessage(strconv.Itoa(i), payload100))
		}); err != nil {
			return 0, err
		}
		start := time.Now()
		all, err := subscriber.Subscribe(ctx, topic)
		if err != nil {
			return 0, err
		}
		for range natsTasks {
			select {
			case m := <-all:
				m.Ack()
			case <-time.After(time.Minute):
				return 0, errors.New("no message for a minute")
			}
		}
		return natsTasks / time.Since(start).Seconds(), nil
	}
	return natsProcess(e), theirs, nil
}

// natsEnqueue: one message a task, and its answer, on both sides; ours has a condition.
func natsEnqueue(e *env) (side, side, error) {
	t, err := e.openNATS()
	if err != nil {
		return nil, nil, err
	}
	client := queue.NewClient(t.Queue(), queue.ClientOptions{})
	js, err := e.rawJetStream()
	if err != nil {
		return nil, nil, err
	}
	if _, err := js.CreateStream(e.ctx, jetstream.StreamConfig{Name: "RAW", Subjects: []string{"raw"}, Retention: jetstream.WorkQueuePolicy}); err != nil {
		return nil, nil, err
	}
	ours := perSecond(natsConcurrency, func(ctx context.Context, _, _ int) error {
		_, err := queue.Enqueue(ctx, client, noop, payload100)
		return err
	})
	theirs := perSecond(natsConcurrency, func(ctx context.Context, _, _ int) error {
		_, err := js.Publish(ctx, "raw", payload100)
		return err
	})
	return ours, theirs, nil
}

// natsIdlePickUp is how long a task waits when every worker is idle: from before Enqueue to the handler's first line.
func natsIdlePickUp(e *env) (side, side, error) {
	t, err := e.openNATS()
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

	js, err := e.rawJetStream()
	if err != nil {
		return nil, nil, err
	}
	stream, err := js.CreateStream(e.ctx, jetstream.StreamConfig{Name: "IDLE", Subjects: []string{"idle"}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		return nil, nil, err
	}
	consumer, err := stream.CreateConsumer(e.ctx, jetstream.ConsumerConfig{Durable: "idle", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		return nil, nil, err
	}
	pulled, stop, ended := make(chan time.Time, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if m, err := consumer.Next(jetstream.FetchMaxWait(time.Second)); err == nil {
				pulled <- time.Now()
				_ = m.Ack()
			}
		}
	}()
	e.cleanup(func() { close(stop); <-ended })
	theirs := sampled(100, func(ctx context.Context) (time.Duration, error) {
		time.Sleep(5 * time.Millisecond)
		start := time.Now()
		if _, err := js.Publish(ctx, "idle", payload100); err != nil {
			return 0, err
		}
		return (<-pulled).Sub(start), nil
	})
	return ours, theirs, nil
}
