// Command backplane-postgres is the transport on PostgreSQL as a plugin, for programs that do not link it:
//
//	transports:
//	  store: { kind: plugin, program: /usr/lib/shop/backplane-postgres, url: "postgres://shop@10.0.0.5/shop" }
package main

import (
	"fmt"
	"os"

	"github.com/gobackplane/backplane/examples/transports/postgres"
	"github.com/gobackplane/backplane/transports/plugin"
)

func main() {
	if err := plugin.Serve(postgres.Open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
