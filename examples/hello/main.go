package main

import (
	"context"
	"fmt"
	"log"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/queue"
	_ "github.com/gobackplane/backplane/transports/memory"
)

var greet = queue.NewKind[string]("greet")

func main() {
	ctx, stop := context.WithCancel(context.Background())
	node, err := backplane.Open(ctx, backplane.URL("memory:")) // or "redis://127.0.0.1:6379", importing transports/redis
	if err != nil {
		log.Fatal(err)
	}
	worker, _ := node.Worker(queue.WorkerOptions{Concurrency: 4})
	queue.Handle(worker, greet, func(ctx context.Context, job *queue.Job[string]) error {
		times, err := node.Cache().Add(ctx, "greeted:"+job.Payload, 1)
		fmt.Println("Hello", job.Payload, times)
		stop()
		return err
	})
	queue.Enqueue(ctx, node.Queue(), greet, "Ada")
	log.SetFlags(0)
	if err := node.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
