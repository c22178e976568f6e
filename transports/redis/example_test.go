package redis_test

import (
	"context"
	"fmt"
	"log"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/redis"
)

// Importing the package is enough to open it by its URL.
func ExampleOpen() {
	ctx := context.Background()
	t, err := transports.OpenURL(ctx, "rediss://app:secret@10.0.0.5:6379/0?tls_ca=/etc/ssl/redis.pem&pool_size=20",
		transports.Settings{Namespace: "shop"})
	if err != nil {
		log.Fatal(err) // says which address was tried, how often, and what to do
	}
	defer t.Close()

	got, err := t.Cache().Get(ctx, []cache.Read{{Key: "user:42"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", got[0].Entry.Value)
}

// An application's own client is used as it is, and left open.
func ExampleNew() {
	ctx := context.Background()
	client := goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, ContextTimeoutEnabled: true})
	defer client.Close()

	t, err := redis.New(ctx, client, transports.Settings{Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
}
