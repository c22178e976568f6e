// Command queue shows the life of tasks: one that succeeds at its second attempt, one that never will and is found in the
// dead letter, and an operator who looks, repairs what was wrong, and has it run again.
//
//	go run ./examples/queue
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/queue"
	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// Mail is the payload of a task.
type Mail struct{ To string }

// SendMail is declared once, for those who enqueue and those who handle.
var SendMail = queue.NewKind[Mail]("mail.send", queue.OnQueue("mail"), queue.MaxAttempts(5), queue.Timeout(time.Minute))

var errNoMailbox = errors.New("there is no such mailbox")

// mailer is the handler, and what it depends on.
type mailer struct {
	mailboxes chan map[string]bool // one, taken out to look and put back
	done      chan string          // what has been told about
}

// send fails at Grace's first time, and at unknown mailboxes for good.
func (m *mailer) send(_ context.Context, job *queue.Job[Mail]) error {
	known := <-m.mailboxes
	exists := known[job.Payload.To]
	m.mailboxes <- known
	switch {
	case !exists:
		defer func() { m.done <- "" }()
		return queue.Skip(errNoMailbox) // no attempt can help: dead at once
	case job.Payload.To == "grace" && job.Attempt() == 1:
		return queue.RetryIn(errors.New("the server is busy"), 10*time.Millisecond)
	}
	m.done <- fmt.Sprintf("sent to %s, attempt %d", job.Payload.To, job.Attempt())
	return nil
}

func main() {
	ctx, stop := context.WithCancel(context.Background())
	node, err := backplane.Open(ctx, backplane.URL(cmp.Or(os.Getenv("BACKPLANE_URL"), "memory:example-queue")))
	check(err)
	m := &mailer{mailboxes: make(chan map[string]bool, 1), done: make(chan string)}
	m.mailboxes <- map[string]bool{"ada": true, "grace": true}
	worker, err := node.Worker(queue.WorkerOptions{Queues: map[string]int{"mail": 1}, Concurrency: 1})
	check(err)
	check(queue.Handle(worker, SendMail, m.send))
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()

	for _, to := range []string{"ada", "grace", "alan"} {
		_, err := queue.Enqueue(ctx, node.Queue(), SendMail, Mail{To: to})
		check(err)
		if said := <-m.done; said != "" {
			fmt.Println(said)
		}
	}
	repair(ctx, node, m)

	stop() // claims nothing more, lets running tasks end, leaves the cluster, closes the transports
	check(<-ended)
}

// repair is what an operator does about dead tasks.
func repair(ctx context.Context, node *backplane.Node, m *mailer) {
	inspector := node.Inspector()
	for dead := range deadTasks(ctx, inspector) {
		fmt.Printf("dead after %d attempt: %s: %s\n", dead.Attempts, dead.Payload, dead.LastError)
		known := <-m.mailboxes
		known["alan"] = true
		m.mailboxes <- known
		check(inspector.Requeue(ctx, "mail", dead.ID))
		fmt.Println(<-m.done)
	}
}

// deadTasks waits until the handler's verdict is in the store, and yields what is dead.
func deadTasks(ctx context.Context, inspector *queue.Inspector) func(yield func(queue.Info) bool) {
	return func(yield func(queue.Info) bool) {
		for {
			stats, err := inspector.Stats(ctx, "mail")
			check(err)
			if stats.Dead > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		for info, err := range inspector.Tasks(ctx, "mail", queue.DeadLetter) {
			check(err)
			if !yield(info) {
				return
			}
		}
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
