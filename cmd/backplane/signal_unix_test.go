//go:build unix

package main

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/testserver"
)

// nodesOf waits until the demo's nodes run, as processes.
func nodesOf(t *testing.T, r *running, n int) {
	t.Helper()
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("skipped: this system does not show the environment of processes")
	}
	require.Eventually(t, func() bool {
		return len(processesWith("TMPDIR="+r.temp)) > n // and the command itself
	}, 30*time.Second, 5*time.Millisecond)
}

func TestInterruptedDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	for name, each := range map[string]struct {
		args   []string
		signal os.Signal
	}{
		"its own server, Ctrl-C":     {nil, os.Interrupt},
		"its own server, terminated": {[]string{"--kill"}, syscall.SIGTERM},
		"a given server":             {[]string{"--transport", server.URL()}, os.Interrupt},
	} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, append([]string{"demo", "--json"}, each.args...)...)
			nodesOf(t, r, 3)

			require.NoError(t, r.Process.Signal(each.signal))

			require.Equal(t, exitCanceled, r.ended(t), r.stderr)
			require.Empty(t, r.stdout.String())
			require.Contains(t, r.stderr.String(), "backplane: interrupted\n")
			require.Empty(t, entryKeys(t, server.URL()))
		})
	}
}

func TestNodesEndWithADemoThatWasKilled(t *testing.T) {
	t.Parallel()
	server := testserver.Shared(t)
	for name, args := range map[string][]string{"its own server": nil, "a given server": {"--transport", server.URL()}} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, append([]string{"demo"}, args...)...)
			nodesOf(t, r, 3)

			require.NoError(t, r.Process.Kill())
			_ = r.Wait()

			require.Eventually(t, func() bool { return len(processesWith("TMPDIR="+r.temp)) == 0 }, 30*time.Second, 5*time.Millisecond)
		})
	}
}

func TestDemoEndsWhenItsStoreDoes(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	r := launch(t, "demo", "--transport", server.URL())
	nodesOf(t, r, 3)

	server.Kill()

	require.Equal(t, exitCannot, r.ended(t), r.stderr)
	require.Contains(t, r.stderr.String(), "no answer from the server at "+server.Addr())
}

func TestInterruptedConformanceGivesNoVerdict(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	r := launch(t, "conformance", "--transport", server.URL(), "--repeat", "1000")
	require.Eventually(t, func() bool { return len(entryKeys(t, server.URL())) > 0 }, 30*time.Second, 5*time.Millisecond)

	require.NoError(t, r.Process.Signal(syscall.SIGTERM))

	require.Equal(t, exitCanceled, r.ended(t), r.stderr)
	require.Empty(t, r.stdout.String())
}
