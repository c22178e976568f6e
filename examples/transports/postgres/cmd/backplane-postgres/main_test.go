//go:build unix

package main

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/examples/transports/postgres/internal/pgsuite"
	"github.com/gobackplane/backplane/examples/transports/postgres/internal/pgtest"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// asPlugin has this test's own binary be the plugin.
const asPlugin = "serve as a plugin"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asPlugin {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// TestConformance runs the whole suite as the transport's own test does, with the plugin's process between.
func TestConformance(t *testing.T) {
	clock := pgtest.NewClock(t)
	server := pgtest.Start(t, pgtest.Options{Clock: clock})
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := plugin.Start(t.Context(), plugin.Config{Program: self, Args: []string{asPlugin}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, program.Stop()) })

	pgsuite.Run(t, server, clock, func(ctx context.Context, s transports.Settings) (transports.Transport, error) {
		return program.Open(ctx, s)
	})
}
