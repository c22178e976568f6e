// Command pubsub shows who gets a message: every subscriber whose filter matches, and of a group one. And what a slow
// subscriber is told: that something is missing, where, and how much.
//
//	go run ./examples/pubsub
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/pubsub"
	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// Order is what the messages are about.
type Order struct{ ID int }

// A topic that can be published to, and a filter that can only be listened to.
var (
	created = pubsub.NewTopic[Order]("orders.eu.created")
	all     = pubsub.NewTopic[Order]("orders.>")
)

const orders = 10

func main() {
	ctx := context.Background()
	node, err := backplane.Open(ctx, backplane.URL(cmp.Or(os.Getenv("BACKPLANE_URL"), "memory:example-pubsub")))
	check(err)
	defer node.Close()
	bus := node.PubSub()

	// Each of these returns when it is sure to get what is published from now on.
	audit, err := all.Subscribe(ctx, bus)
	check(err)
	billed := make(chan int, 2*orders)
	for range 2 { // two members of a group, as two nodes would be
		member, err := created.SubscribeFunc(ctx, bus, func(_ context.Context, e pubsub.TopicEvent[Order]) {
			if e.Message != nil && e.Err == nil {
				billed <- e.Value.ID
			}
		}, pubsub.Group("billing"))
		check(err)
		defer member.Close()
	}
	slow, err := all.Subscribe(ctx, bus, pubsub.Buffer(3))
	check(err)

	for id := range orders {
		_, err := created.Publish(ctx, bus, Order{ID: id})
		check(err)
	}

	fmt.Println("audit saw", count(ctx, audit), "of", orders)
	seen := map[int]bool{}
	for range orders {
		seen[<-billed] = true
	}
	fmt.Println("billing, both members together, saw", len(seen))
	fmt.Println("slow saw", count(ctx, slow), "and was told what is missing")
}

// count reads until every order was seen, or is known to be missing.
func count(ctx context.Context, stream *pubsub.TopicStream[Order]) (seen int) {
	defer stream.Close()
	missing := 0
	for event, err := range stream.All(ctx) {
		check(err)
		switch {
		case event.Gap != nil: // ask the source of truth again; here it is enough to know
			missing += max(0, event.Gap.Lost)
		case event.Err != nil:
			panic(event.Err) // somebody published what is no Order
		default:
			seen++
		}
		if seen+missing == orders {
			break
		}
	}
	return seen
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
