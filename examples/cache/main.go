// Command cache shows what nodes share: a page that one of them renders and all of them serve, a counter, and a lock whose
// fence lets the store refuse what a stopped process sends too late.
//
//	go run ./examples/cache
//	BACKPLANE_URL='redis://127.0.0.1:6379?insecure=true' go run ./examples/cache
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cache"
	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// Page is what is expensive to make.
type Page struct{ HTML string }

func main() {
	ctx := context.Background()
	one, two := open(ctx, "web-1"), open(ctx, "web-2")
	defer one.Close()
	defer two.Close()

	load(ctx, one, two)
	lock(ctx, one, two)

	// So that the next run begins as this one did.
	_, err := one.Cache().Clear(ctx, "example/")
	check(err)
}

// load asks for a page that nobody has, on two nodes at once: it is rendered once.
func load(ctx context.Context, nodes ...*backplane.Node) {
	var asking sync.WaitGroup
	for _, node := range nodes {
		pages := cache.Typed[Page](node.Cache(), nil)
		asking.Go(func() {
			how := cache.LoadOptions{TTL: time.Hour, Fresh: time.Minute, Jitter: 0.1}
			page, err := pages.Load(ctx, "example/page", how, func(ctx context.Context) (Page, error) {
				renders, err := node.Cache().Add(ctx, "example/renders", 1)
				return Page{fmt.Sprintf("<h1>Shop</h1> (rendering %d)", renders)}, err
			})
			check(err)
			if page.HTML != "<h1>Shop</h1> (rendering 1)" {
				panic("rendered twice")
			}
		})
	}
	asking.Wait()
	renders, err := nodes[0].Cache().Count(ctx, "example/renders")
	check(err)
	fmt.Println("two nodes asked, renderings:", renders)
}

// lock takes turns on an account.
func lock(ctx context.Context, one, two *backplane.Node) {
	const account = "example/account"
	held, err := one.Cache().Lock(ctx, account)
	check(err)

	_, err = two.Cache().TryLock(ctx, account)
	fmt.Println("the other node gets it:", !errors.Is(err, cache.ErrLocked))

	// Work with the lock's own context: it ends before another can have the lock.
	_, err = one.Cache().Set(held.Context(), account, []byte("100"), cache.Under(held))
	check(err)
	check(held.Unlock(ctx))

	next, err := two.Cache().Lock(ctx, account)
	check(err)
	defer func() { check(next.Unlock(ctx)) }()
	_, err = one.Cache().Set(ctx, account, []byte("0"), cache.Under(held))
	fmt.Println("a write under the old lock is refused:", err != nil)
	fmt.Println("fences rise:", next.Fence() > held.Fence())
}

func open(ctx context.Context, name string) *backplane.Node {
	config := backplane.URL(cmp.Or(os.Getenv("BACKPLANE_URL"), "memory:example-cache"))
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
