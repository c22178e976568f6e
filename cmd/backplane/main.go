// Command backplane is Backplane's tool for operators and transport authors.
//
//	backplane demo                               a cluster at work, and the proof that nothing was lost
//	backplane conformance --transport URL        what a transport promises, checked
//	backplane key                                a new key for cluster.keys
//	backplane version
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// Exit codes.
const (
	exitFailed   = 1 // what was asked for was done, and found wanting
	exitCannot   = 2 // it could not be done: bad arguments, no server
	exitCanceled = 130
)

// errFailed ends the command with exitFailed after its report has said everything.
var errFailed = errors.New("failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "backplane",
		Short:         "The pluggable backplane of a cluster",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(demoCommand(), demoNodeCommand(), conformanceCommand(), keyCommand(), versionCommand())
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFailed):
		return exitFailed
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "backplane: interrupted")
		return exitCanceled
	}
	fmt.Fprintln(os.Stderr, "backplane:", err)
	return exitCannot
}
