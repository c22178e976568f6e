// Command rpc shows calls between nodes: to any that serves a method, to all of them with the answers gathered, and to all
// with the answers as they come.
//
//	go run ./examples/rpc
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// Load is what a node says of itself.
type Load struct{ Jobs int }

func main() {
	ctx := context.Background()
	front := open(ctx, "front")
	defer front.Close()
	for i := range 3 {
		node := open(ctx, fmt.Sprint("work-", i+1))
		defer node.Close()
		check(rpc.Handle(node.RPC(), "load", func(context.Context, struct{}) (Load, error) {
			return Load{Jobs: 10 * (i + 1)}, nil
		}))
		check(rpc.Handle(node.RPC(), "reserve", func(_ context.Context, jobs int) (string, error) {
			if jobs > 100 {
				return "", fault.New(fault.Exhausted, "%d jobs are too many for me", jobs)
			}
			return node.Name(), nil
		}, rpc.Concurrency(16)))
	}
	check(serving(ctx, front, 3))

	by, err := rpc.Call[string](ctx, front.RPC(), rpc.Any(), "reserve", 7)
	check(err)
	fmt.Println("one node reserved:", by != "")

	_, err = rpc.Call[string](ctx, front.RPC(), rpc.Any(), "reserve", 700)
	fmt.Println("a handler's error keeps its code:", errors.Is(err, fault.Exhausted), "and says that it is remote:", fault.IsRemote(err))

	results, err := rpc.Gather[Load](ctx, front.RPC(), rpc.All(), "load", struct{}{}, rpc.Timeout(5*time.Second))
	check(err) // partial answers come with the error
	slices.SortFunc(results, func(a, b rpc.Result[Load]) int { return cmp.Compare(a.Member.Name, b.Member.Name) })
	for _, r := range results {
		fmt.Println(r.Member.Name, "has", r.Value.Jobs)
	}

	sum := 0
	for result, err := range rpc.Stream[Load](ctx, front.RPC(), rpc.All(), "load", struct{}{}) {
		check(err)
		sum += result.Value.Jobs // as each comes: the slowest holds up nobody
	}
	fmt.Println("together", sum)
}

// serving waits until a node knows of so many that serve the method. A program that runs for longer need not: calls to
// whoever is there find whoever is there.
func serving(ctx context.Context, node *backplane.Node, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for range node.RPC().Watch(ctx) {
		have := 0
		for _, m := range node.Members() {
			if m.Serves("load") && m.Serves("reserve") {
				have++
			}
		}
		if have == want {
			return nil
		}
	}
	return ctx.Err()
}

func open(ctx context.Context, name string) *backplane.Node {
	config := backplane.URL(cmp.Or(os.Getenv("BACKPLANE_URL"), "memory:example-rpc"))
	config.Node.Name = name
	node, err := backplane.Open(ctx, config)
	check(err)
	return node
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
