// Command backplane is Backplane's tool for operators and transport authors.
//
//	backplane demo                               a cluster at work, and the proof that nothing was lost
//	backplane conformance --transport URL        what a transport promises, checked
//	backplane transport new NAME                 a transport of your own, to begin with
//	backplane key                                a new key for cluster.keys
//	backplane version
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/nats"
	_ "github.com/gobackplane/backplane/transports/nats/embedded"
	_ "github.com/gobackplane/backplane/transports/plugin"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// Exit codes.
const (
	exitFailed   = 1   // what was asked for was done, and found wanting
	exitCannot   = 2   // it could not be done: bad arguments, no server
	exitCanceled = 130 // it was interrupted
)

// errFailed ends the command with exitFailed after its report has said everything.
var errFailed = errors.New("failed")

// clientLog receives what go-redis prints of its own accord, to standard error if left alone: what matters of it comes
// back as an error too, in our words. (A program may say where it goes; a library had better not.)
type clientLog struct{}

func (clientLog) Printf(ctx context.Context, format string, args ...any) {
	slog.DebugContext(ctx, fmt.Sprintf(format, args...), "from", "go-redis")
}

func main() {
	redis.SetLogger(clientLog{})
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
	root.AddCommand(demoCommand(), demoNodeCommand(), conformanceCommand(), transportCommand(), keyCommand(), versionCommand())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
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
	fmt.Fprintln(os.Stderr, "backplane:", strings.TrimPrefix(err.Error(), "backplane: "))
	return exitCannot
}
