package memory_test

import (
	"context"
	"fmt"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

// Two nodes of one process on the same store, opened as any transport is.
func Example() {
	ctx := context.Background()
	settings := transports.Settings{Namespace: "shop"}
	a, err := transports.OpenURL(ctx, "memory:example", settings)
	if err != nil {
		panic(err)
	}
	defer a.Close()
	b, err := transports.OpenURL(ctx, "memory:example", settings)
	if err != nil {
		panic(err)
	}
	defer b.Close()

	_, _ = a.Cache().Set(ctx, []cache.Write{{Key: "greeting", Value: []byte("hello")}})
	got, _ := b.Cache().Get(ctx, []cache.Read{{Key: "greeting"}})
	fmt.Printf("%s\n", got[0].Entry.Value)
	// Output: hello
}

// A store of one's own, which no other test can meet by name.
func ExampleStore() {
	var store memory.Store
	node, err := store.Open("shop")
	if err != nil {
		panic(err)
	}
	defer node.Close()

	fmt.Println(node.Kind(), node.Cache().Capabilities.MinTTL)
	// Output: memory 1ms
}
