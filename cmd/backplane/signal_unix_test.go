//go:build unix

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cmd/backplane/internal/demo"
	"github.com/gobackplane/backplane/internal/testserver"
)

// nodesOf waits until the demo's nodes run, and gives their process IDs.
func nodesOf(t *testing.T, r *running, n int) (pids []int) {
	t.Helper()
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("skipped: this system does not show the environment of processes")
	}
	require.Eventually(t, func() bool {
		pids = nil
		for _, p := range processesWith("TMPDIR=" + r.temp) {
			if strings.HasSuffix(p.line, " "+demo.NodeCommand+" ") {
				pids = append(pids, p.pid)
			}
		}
		return len(pids) == n
	}, 30*time.Second, 5*time.Millisecond)
	return pids
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

func TestDemoGoesOnWhenSomebodyKillsANode(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	r := launch(t, "demo", "--json", "--transport", server.URL())
	nodes := nodesOf(t, r, 3)
	atWork(t, server.URL())

	require.NoError(t, syscall.Kill(nodes[0], syscall.SIGKILL))

	require.Zero(t, r.ended(t), r.stderr)
	require.Regexp(t, `node-\d ended by itself \(signal: killed\); the others go on`, r.stderr.String())
	o := decodeOutcome(t, r.stdout.String())
	require.True(t, o.OK)
	require.Zero(t, o.Killed, "by the demo")
}

func TestDemoEndsWhenNoNodeIsLeft(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	r := launch(t, "demo", "--json", "--transport", server.URL())
	nodes := nodesOf(t, r, 3)
	atWork(t, server.URL())

	for _, pid := range nodes {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}

	require.Equal(t, exitCannot, r.ended(t), r.stderr)
	require.Contains(t, r.stderr.String(), "no node is left")
}

// atWork waits until there is something in the store.
func atWork(t *testing.T, address string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(entryKeys(t, address)) > 0 }, 30*time.Second, 5*time.Millisecond)
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
	atWork(t, server.URL())

	require.NoError(t, r.Process.Signal(syscall.SIGTERM))

	require.Equal(t, exitCanceled, r.ended(t), r.stderr)
	require.Empty(t, r.stdout.String())
}
