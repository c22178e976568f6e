package rpc_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	_ "github.com/gobackplane/backplane/transports/memory"
)

// node opens a peer on the process's memory store; a real one opens another transport, and gives Keys.
func node(ctx context.Context, name string) (*rpc.Peer, func()) {
	t, err := transports.OpenURL(ctx, "memory:examples", transports.Settings{Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	p, err := rpc.New(transports.RPCOf(t), rpc.Options{Name: name, Insecure: true})
	if err != nil {
		log.Fatal(err)
	}
	return p, func() {
		_ = p.Close()
		_ = t.Close()
	}
}

func Example() {
	ctx := context.Background()
	web, closeWeb := node(ctx, "web-1")
	defer closeWeb()
	db, closeDB := node(ctx, "db-1")
	defer closeDB()

	err := rpc.Handle(db, "greet", func(_ context.Context, name string) (string, error) {
		if name == "" {
			return "", fault.New(fault.Invalid, "whom?")
		}
		return "Hello " + name, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := db.Start(ctx); err != nil {
		log.Fatal(err)
	}
	if err := web.Start(ctx); err != nil {
		log.Fatal(err)
	}

	greeting, err := rpc.Call[string](ctx, web, rpc.Any(), "greet", "Ada")
	fmt.Println(greeting, err)
	_, err = rpc.Call[string](ctx, web, rpc.Any(), "greet", "")
	fmt.Println(fault.CodeOf(err), fault.IsRemote(err), err)
	_, err = rpc.Call[string](ctx, web, rpc.Any(), "dance", "")
	fmt.Println(fault.CodeOf(err), fault.IsRemote(err))
	// Output:
	// Hello Ada <nil>
	// invalid true rpc: call "greet": whom? (on node db-1)
	// unimplemented false
}

func ExampleGather() {
	ctx := context.Background()
	var first *rpc.Peer
	for i := range 3 {
		p, stop := node(ctx, fmt.Sprint("node-", i))
		defer stop()
		_ = rpc.Handle(p, "load", func(context.Context, struct{}) (int, error) {
			if i == 2 {
				return 0, fault.New(fault.Unavailable, "my disk is gone")
			}
			return 10 * (i + 1), nil
		})
		if err := p.Start(ctx); err != nil {
			log.Fatal(err)
		}
		first = p
	}

	results, err := rpc.Gather[int](ctx, first, rpc.All(), "load", struct{}{})
	slices.SortFunc(results, func(a, b rpc.Result[int]) int { return a.Value - b.Value })
	for _, r := range results {
		fmt.Println(r.Member.Name, r.Value, r.Err == nil)
	}
	fmt.Println(err)
	// Output:
	// node-2 0 false
	// node-0 10 true
	// node-1 20 true
	// rpc: call "load": 1 of 3 nodes failed; node-2: my disk is gone (on node node-2)
}

func ExamplePeer_Watch() {
	ctx := context.Background()
	a, closeA := node(ctx, "a")
	defer closeA()
	b, closeB := node(ctx, "b")
	defer closeB()
	_, _ = a.Start(ctx), b.Start(ctx)

	for e := range a.Watch(ctx) {
		if e.Member.Name == "b" {
			fmt.Println(e.Kind, e.Member.Name)
			break
		}
	}
	// Output:
	// joined b
}
