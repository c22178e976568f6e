package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/transports"
	_ "github.com/gobackplane/backplane/transports/memory"
)

// open is what backplane.Open does for a node's Cache.
func open(ctx context.Context) (c *cache.Cache, done func()) {
	transport, err := transports.OpenURL(ctx, "memory:examples", transports.Settings{Namespace: "shop"})
	if err != nil {
		panic(err)
	}
	c = cache.New(transport.Cache(), cache.Options{Transport: transport.Kind(), Node: "web-1"})
	return c, func() {
		_ = c.Close()
		_ = transport.Close()
	}
}

func Example() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()

	_, _ = c.Set(ctx, "greeting", []byte("hello"), cache.TTL(time.Hour))
	entry, err := c.Get(ctx, "greeting")
	fmt.Println(string(entry.Value), err)

	_, err = c.Get(ctx, "farewell")
	fmt.Println(errors.Is(err, cache.ErrNotFound), err)
	// Output:
	// hello <nil>
	// true cache: get "farewell": there is no such entry
}

func ExampleCache_Set_condition() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()

	first, _ := c.Set(ctx, "stock", []byte("3"), cache.IfAbsent())
	_, err := c.Set(ctx, "stock", []byte("2"), cache.IfRevision(first))
	fmt.Println(err)
	_, err = c.Set(ctx, "stock", []byte("2"), cache.IfRevision(first))
	fmt.Println(errors.Is(err, cache.ErrConflict))
	// Output:
	// <nil>
	// true
}

func ExampleCache_Load() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()

	how := cache.LoadOptions{TTL: time.Hour, Fresh: time.Minute, Jitter: 0.1, AbsentFor: time.Second}
	for range 2 {
		entry, err := c.Load(ctx, "page:/", how, func(ctx context.Context) ([]byte, error) {
			fmt.Println("rendering, once in the cluster")
			return []byte("<h1>Shop</h1>"), nil
		})
		fmt.Println(string(entry.Value), err)
	}
	// Output:
	// rendering, once in the cluster
	// <h1>Shop</h1> <nil>
	// <h1>Shop</h1> <nil>
}

func ExampleCache_Lock() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()

	lock, err := c.Lock(ctx, "account:7")
	if err != nil {
		return
	}
	defer lock.Unlock(ctx)

	// Work with lock.Context(): it ends before another can have the lock. And what the process sends too late, because
	// it was stopped in between, the store refuses by the lock's fence:
	_, err = c.Set(lock.Context(), "account:7", []byte("100"), cache.Under(lock))
	fmt.Println(err)

	_, err = c.TryLock(ctx, "account:7")
	fmt.Println(errors.Is(err, cache.ErrLocked))
	// Output:
	// <nil>
	// true
}

func ExampleCache_WithLock() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()

	err := c.WithLock(ctx, "lock:billing", func(ctx context.Context) error {
		fmt.Println("only here in the whole cluster")
		return nil
	})
	fmt.Println(err)
	// Output:
	// only here in the whole cluster
	// <nil>
}

func ExampleTyped() {
	type user struct{ Name string }
	ctx := context.Background()
	c, done := open(ctx)
	defer done()

	users := cache.Typed[user](c, nil) // JSON
	_, _ = users.Set(ctx, "user:42", user{Name: "Jo"}, cache.TTL(time.Hour))
	jo, err := users.Get(ctx, "user:42")
	fmt.Println(jo.Name, err)
	// Output: Jo <nil>
}

func ExampleCache_Dump() {
	ctx := context.Background()
	c, done := open(ctx)
	defer done()
	_, _ = c.Set(ctx, "user:42", []byte("Jo"))
	_, _ = c.Push(ctx, "mails", [][]byte{[]byte("1"), []byte("2")})

	var backup bytes.Buffer // or DumpFile and RestoreFile
	dumped, err := c.Dump(ctx, &backup, cache.DumpOptions{})
	fmt.Println(dumped.Entries, dumped.Lists, err)

	_, _ = c.Clear(ctx, "")
	restored, err := c.Restore(ctx, bytes.NewReader(backup.Bytes()), cache.RestoreOptions{})
	fmt.Println(restored.Entries, restored.Lists, err)
	// Output:
	// 1 1 <nil>
	// 1 1 <nil>
}
