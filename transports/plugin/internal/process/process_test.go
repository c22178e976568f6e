package process_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

func TestPluginIsStartedCalledAndStopped(t *testing.T) {
	ctx := within(t)
	p, err := process.Start(ctx, config(t, "good"))
	require.NoError(t, err)

	require.NoError(t, p.Ping(ctx))
	answer, err := tell(ctx, p.Conn(), "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", answer)
	require.NoError(t, p.Err())
	require.NoError(t, p.Stop(ctx))

	require.NoError(t, ended(t, p), "a stop that was obeyed is no error")
	require.NoError(t, p.Stop(ctx), "twice is fine")
}

func TestCrashIsToldWithTheLastLines(t *testing.T) {
	ctx := within(t)
	p := start(t, config(t, "good"))

	_, err := tell(ctx, p.Conn(), "panic")

	require.Error(t, err, "the call ends with the process")
	err = ended(t, p)
	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorContains(t, err, os.Args[0])
	require.ErrorContains(t, err, "exit status 2")
	require.ErrorContains(t, err, "panic: the plugin is broken")
}
