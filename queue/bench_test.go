package queue_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobackplane/backplane/queue"
)

// firehose is a driver that costs nothing but its round trip: what it measures is what stands above.
type firehose struct {
	queue.Driver
	left    atomic.Int64
	settled atomic.Int64
	claims  atomic.Int64
	settles atomic.Int64
	total   int64
	done    chan struct{}
	latency time.Duration
}

var payload100 = make([]byte, 100)

func (f *firehose) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	time.Sleep(f.latency)
	f.claims.Add(1)
	n := int(min(int64(c.Max), f.left.Load()))
	if f.left.Add(-int64(n)); n == 0 {
		if c.Wait > 0 {
			<-ctx.Done()
		}
		return queue.Claimed{}, nil
	}
	tasks := make([]queue.Leased, n)
	for i := range tasks {
		tasks[i] = queue.Leased{Task: queue.Task{ID: strconv.Itoa(i), Kind: "raw", Queue: "default", Payload: payload100, MaxAttempts: 5, MaxLost: 5}, Token: "t", Lease: queue.DefaultLease}
	}
	return queue.Claimed{Tasks: tasks}, nil
}

func (f *firehose) Settle(_ context.Context, s queue.Settlements) ([]error, error) {
	time.Sleep(f.latency)
	f.settles.Add(1)
	if f.settled.Add(int64(len(s.Items))) >= f.total {
		close(f.done)
	}
	return make([]error, len(s.Items)), nil
}

// What the worker itself costs per task, with round trips of no length and of one that a network has.
func BenchmarkWorker(b *testing.B) {
	for _, latency := range []time.Duration{0, 2500 * time.Microsecond} {
		b.Run(latency.String(), func(b *testing.B) {
			f := &firehose{total: int64(b.N), done: make(chan struct{}), latency: latency}
			f.left.Store(f.total)
			w, err := queue.NewWorker(&queue.Backend{Driver: f, Capabilities: queue.Capabilities{MaxBatch: 1000, MaxClaim: 64, MaxName: 256, MaxPayload: 1 << 20}}, queue.WorkerOptions{Concurrency: 64})
			if err != nil {
				b.Fatal(err)
			}
			kind := queue.NewKind[[]byte]("raw").WithCodec(queue.Raw)
			if err := queue.Handle(w, kind, func(context.Context, *queue.Job[[]byte]) error { return nil }); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := w.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			<-f.done
			b.StopTimer()
			b.ReportMetric(float64(b.N)/float64(f.claims.Load()), "tasks/claim")
			b.ReportMetric(float64(b.N)/float64(f.settles.Load()), "tasks/settle")
			if err := w.Stop(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

type nowhere struct{ queue.Driver }

func (nowhere) Enqueue(_ context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
	receipts := make([]queue.Receipt, len(tasks))
	for i := range tasks {
		receipts[i].ID = tasks[i].ID
	}
	return receipts, nil
}

// What the client itself costs per task.
func BenchmarkEnqueue(b *testing.B) {
	c := queue.NewClient(&queue.Backend{Driver: nowhere{}}, queue.ClientOptions{})
	kind := queue.NewKind[[]byte]("raw").WithCodec(queue.Raw)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := queue.Enqueue(b.Context(), c, kind, payload100); err != nil {
			b.Fatal(err)
		}
	}
}
