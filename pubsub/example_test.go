package pubsub_test

import (
	"context"
	"fmt"

	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

// open stands for a node: in an application, (*backplane.Node).PubSub gives the bus.
func open(ctx context.Context) (bus *pubsub.PubSub, closeAll func()) {
	t, err := memory.Open(ctx, transports.Settings{Kind: memory.Kind, URL: "memory:examples", Namespace: "shop"})
	if err != nil {
		panic(err)
	}
	bus = pubsub.New(t.PubSub(), pubsub.Options{})
	return bus, func() {
		_ = bus.Close()
		_ = t.Close()
	}
}

func Example() {
	ctx := context.Background()
	bus, closeAll := open(ctx)
	defer closeAll()

	stream, err := bus.Subscribe(ctx, "orders.*")
	if err != nil {
		panic(err)
	}
	for _, region := range []string{"eu", "us"} {
		if _, err := bus.Publish(ctx, "orders."+region, []byte("created")); err != nil {
			panic(err)
		}
	}

	seen := 0
	for event, err := range stream.All(ctx) {
		switch {
		case err != nil:
			panic(err)
		case event.Gap != nil:
			fmt.Println("something is missing:", event.Gap.Cause)
		default:
			fmt.Printf("%s: %s\n", event.Message.Subject, event.Message.Payload)
			seen++
		}
		if seen == 2 {
			break
		}
	}
	// Output:
	// orders.eu: created
	// orders.us: created
}

func ExampleTopic() {
	type Order struct{ ID int }
	created := pubsub.NewTopic[Order]("orders.created")

	ctx := context.Background()
	bus, closeAll := open(ctx)
	defer closeAll()
	stream, err := created.Subscribe(ctx, bus, pubsub.Group("billing"), pubsub.Buffer(100))
	if err != nil {
		panic(err)
	}

	receipt, err := created.Publish(ctx, bus, Order{ID: 7})
	if err != nil {
		panic(err)
	}
	event, err := stream.Next(ctx)
	if err != nil {
		panic(err)
	}

	fmt.Println(receipt.Receivers, event.Value.ID)
	// Output: 1 7
}

func ExamplePubSub_SubscribeFunc() {
	ctx := context.Background()
	bus, closeAll := open(ctx)
	defer closeAll()

	heard := make(chan string)
	stream, err := bus.SubscribeFunc(ctx, "news.>", func(_ context.Context, event pubsub.Event) {
		if event.Gap != nil {
			return // ask the source of truth what was missed
		}
		heard <- string(event.Message.Payload)
	})
	if err != nil {
		panic(err)
	}
	if _, err := bus.Publish(ctx, "news.sports.today", []byte("they won")); err != nil {
		panic(err)
	}

	fmt.Println(<-heard)
	_ = stream.Close()
	// Output: they won
}
