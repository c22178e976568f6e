package queue_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

type Mail struct{ To, Subject string }

var SendMail = queue.NewKind[Mail]("mail.send", queue.MaxAttempts(5), queue.Timeout(time.Minute))

// A task is enqueued by one part of a program, and run by a worker in the same or another one.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	t, err := memory.Open(ctx, transports.Settings{Namespace: "example", URL: "memory:queue-example"})
	if err != nil {
		panic(err)
	}
	defer func() { _ = t.Close() }()

	client := queue.NewClient(t.Queue(), queue.ClientOptions{})
	if _, err := queue.Enqueue(ctx, client, SendMail, Mail{To: "ada@example.org", Subject: "Hello"}); err != nil {
		panic(err)
	}

	worker, err := queue.NewWorker(t.Queue(), queue.WorkerOptions{Concurrency: 8})
	if err != nil {
		panic(err)
	}
	err = queue.Handle(worker, SendMail, func(ctx context.Context, job *queue.Job[Mail]) error {
		fmt.Printf("attempt %d: %s to %s\n", job.Attempt(), job.Payload.Subject, job.Payload.To)
		stop()
		return nil
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(worker.Run(ctx), worker.Stats().Done)
	// Output:
	// attempt 1: Hello to ada@example.org
	// <nil> 1
}

// What a handler returns decides what becomes of its task.
func ExampleHandle() {
	var worker *queue.Worker // from queue.NewWorker
	errNoMailbox := errors.New("no such mailbox")
	send := func(context.Context, Mail) (int, error) { return 250, nil }

	register := func() error {
		return queue.Handle(worker, SendMail, func(ctx context.Context, job *queue.Job[Mail]) error {
			code, err := send(ctx, job.Payload)
			switch {
			case errors.Is(err, errNoMailbox):
				return queue.Skip(err) // dead at once: trying again cannot help
			case code == 421:
				return queue.RetryIn(err, time.Hour) // counts as an attempt
			case code == 450:
				return queue.SnoozeFor(time.Minute) // does not
			}
			return err
		}, queue.WithBackoff(queue.Exponential(10*time.Second, time.Hour)))
	}
	_ = register
}

// Middleware stands around every handler of a worker.
func ExampleMiddleware() {
	timed := func(next queue.Handler) queue.Handler {
		return func(ctx context.Context, d *queue.Delivery) error {
			began := time.Now()
			err := next(ctx, d)
			fmt.Println(d.Kind, time.Since(began), err)
			return err
		}
	}
	_ = queue.WorkerOptions{Middleware: []queue.Middleware{timed}}
}

// A bulk takes few round trips, and each task has a receipt of its own.
func ExampleEnqueueMany() {
	ctx := context.Background()
	t, err := memory.Open(ctx, transports.Settings{Namespace: "example", URL: "memory:bulk-example"})
	if err != nil {
		panic(err)
	}
	defer func() { _ = t.Close() }()
	client := queue.NewClient(t.Queue(), queue.ClientOptions{})

	mails := []Mail{{To: "ada@example.org"}, {To: "bob@example.org"}, {To: "ada@example.org"}}
	receipts, err := queue.EnqueueMany(ctx, client, SendMail, mails, queue.UniquePayload(time.Hour))

	fmt.Println(err)
	for _, r := range receipts {
		fmt.Println(r.Duplicate, r.ID == receipts[0].ID)
	}
	// Output:
	// <nil>
	// false true
	// false false
	// true true
}

// An operator looks at what failed for good, and has it tried again.
func ExampleInspector() {
	ctx := context.Background()
	t, err := memory.Open(ctx, transports.Settings{Namespace: "example", URL: "memory:inspector-example"})
	if err != nil {
		panic(err)
	}
	defer func() { _ = t.Close() }()

	inspector := queue.NewInspector(t.Queue())
	for info, err := range inspector.Tasks(ctx, queue.DefaultQueue, queue.DeadLetter) {
		if err != nil {
			panic(err)
		}
		fmt.Println(info.Kind, info.LastError)
		if err := inspector.Requeue(ctx, info.Queue, info.ID); err != nil {
			panic(err)
		}
	}
	// Output:
}
