package plugin_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
	"github.com/gobackplane/backplane/transports/plugin"
)

// The program here is this test itself, which is a plugin when it gets these arguments.
func ExampleStart() {
	ctx := context.Background()
	program, err := plugin.Start(ctx, plugin.Config{Program: os.Args[0], Args: []string{"plugin", "memory"}})
	if err != nil {
		panic(err)
	}
	defer program.Stop()
	a, err := program.Open(ctx, transports.Settings{Namespace: "shop"})
	if err != nil {
		panic(err)
	}
	defer a.Close()
	b, err := program.Open(ctx, transports.Settings{Namespace: "shop"}) // another node on the same store
	if err != nil {
		panic(err)
	}
	defer b.Close()

	if _, err := cache.New(a.Cache(), cache.Options{}).Set(ctx, "user:42", []byte("Ada")); err != nil {
		panic(err)
	}
	entry, err := cache.New(b.Cache(), cache.Options{}).Get(ctx, "user:42")
	fmt.Printf("%s %v\n", entry.Value, err)
	// Output: Ada <nil>
}

// A whole plugin.
func ExampleServe() {
	open := func(ctx context.Context, s transports.Settings) (transports.Transport, error) {
		return memory.Open(ctx, s)
	}
	if err := plugin.Serve(open); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
