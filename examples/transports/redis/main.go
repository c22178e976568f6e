// A plugin with Backplane's own transport on Redis in it: what a transport in Go needs to become one. A node runs it with
//
//	transports:
//	  store: { kind: plugin, program: ./redis, url: "redis://127.0.0.1:6379" }
package main

import (
	"fmt"
	"os"

	"github.com/gobackplane/backplane/transports/plugin"
	"github.com/gobackplane/backplane/transports/redis"
)

func main() {
	if err := plugin.Serve(redis.Open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
