// Package queue runs tasks in the background, on whichever node has a free slot, at least once each.
//
//	var Welcome = queue.NewKind[User]("mail.welcome", queue.MaxAttempts(5), queue.Timeout(time.Minute))
//
//	client := queue.NewClient(backend, queue.ClientOptions{})
//	receipt, err := queue.Enqueue(ctx, client, Welcome, user, queue.In(time.Hour))
//
//	worker, err := queue.NewWorker(backend, queue.WorkerOptions{Concurrency: 64})
//	err = queue.Handle(worker, Welcome, func(ctx context.Context, job *queue.Job[User]) error { return greet(ctx, job.Payload) })
//	err = worker.Run(ctx) // until ctx ends; then finishes what it has, or gives it back
//
// # What is promised
//
// What [Client.Enqueue] accepted runs, or is found among the dead, as long as the store keeps its data. A task may run
// more than once: when its worker died, was stopped for longer than the lease, or could not reach the store in time to
// say that it is done. Each claim of a task has a lease with a token of its own, so that only the newest claim can
// settle it: a worker that comes back from the dead changes nothing.
//
// A [Worker] extends the leases of what it runs every third of their length. When a lease is lost, or the task's
// timeout is over, or somebody cancelled the task, the handler's context ends, with a cause ([context.Cause]) that says
// which. The slot stays taken until the handler has returned, so that no more than Concurrency handlers ever run.
//
// A settlement that the store did not answer is repeated, under the same number and so without doing it twice, until
// the leases have ended. A failed attempt is tried again after a growing, jittered time ([Backoff]), until the task's
// MaxAttempts; then it is dead, and an operator may look at it and requeue it with the [Inspector].
//
// There is no leader and no scheduler: claiming moves due tasks itself.
//
// # What it costs
//
// Claims, settlements and lease extensions travel in batches, several at a time: each is sent at once when nothing of
// its sort is under way, and collects what comes meanwhile otherwise. An idle worker costs one waiting call, however
// many queues it serves.
//
// This package is two things in one room: what an application calls ([Client], [Worker], [Inspector]), written once, and
// [Driver], the small interface that a transport implements.
package queue

// DefaultQueue is where tasks go that name no queue, and what a worker serves that names none.
const DefaultQueue = "default"
