package main

import (
	"context"
	"fmt"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/queue"
	_ "github.com/gobackplane/backplane/transports/memory"
)

var greet = queue.NewKind[string]("greet")

func main() {
	ctx, stop := context.WithCancel(context.Background())
	node, err := backplane.Open(ctx, backplane.URL("memory:"))
	check(err)
	worker, err := node.Worker(queue.WorkerOptions{Concurrency: 8})
	check(err)
	check(queue.Handle(worker, greet, func(ctx context.Context, job *queue.Job[string]) error {
		defer stop()
		visitor, err := node.Cache().Add(ctx, "visitors", 1)
		fmt.Printf("Hello %s, visitor %d\n", job.Payload, visitor)
		return err
	}))
	_, err = queue.Enqueue(ctx, node.Queue(), greet, "Ada")
	check(err)
	check(node.Run(ctx))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
