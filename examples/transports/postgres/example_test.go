package postgres_test

import (
	"context"
	"fmt"

	"github.com/gobackplane/backplane/backplane"
	_ "github.com/gobackplane/backplane/examples/transports/postgres"
)

// A node whose whole backplane is a PostgreSQL server.
func Example() {
	ctx := context.Background()
	node, err := backplane.Open(ctx, backplane.URL("postgres://shop@127.0.0.1:5432/shop?sslmode=disable"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	visitors, err := node.Cache().Add(ctx, "visitors", 1)
	fmt.Println(visitors, err)
}
