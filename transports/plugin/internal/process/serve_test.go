package process_test

import (
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPluginStartedByHandSaysWhatItIsFor(t *testing.T) {
	cmd := exec.Command(os.Args[0], "plugin", "good")

	output, err := cmd.CombinedOutput()

	require.Error(t, err)
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, string(output), "this program is a plugin of Backplane")
	require.Contains(t, string(output), "kind: plugin, program: ")
	require.Contains(t, string(output), "BACKPLANE_PLUGIN_DEBUG=127.0.0.1:0")
}

// byHost runs a plugin as a host would, but without the signal that the death of a host gives on Linux: all that happens
// is that the other end of its standard input closes.
func byHost(t *testing.T, mode, dir string) (cmd *exec.Cmd, lifeline io.Closer) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "plugin", mode)
	cmd.Env = append(os.Environ(), "BACKPLANE_PLUGIN=the backplane of a cluster starts me", "BACKPLANE_PLUGIN_LIFELINE=stdin",
		"PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000", "PLUGIN_UNIX_SOCKET_DIR="+dir, "GORACE=atexit_sleep_ms=0")
	lifeline, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // most often it has ended
	greeting := make([]byte, 4)
	_, err = io.ReadFull(output, greeting)
	require.NoError(t, err)
	require.Equal(t, "1|1|", string(greeting))
	return cmd, lifeline
}

func TestPluginEndsWhenItsInputDoes(t *testing.T) {
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	cmd, lifeline := byHost(t, "good", dir)

	require.NoError(t, lifeline.Close())

	require.NoError(t, cmd.Wait(), "it ends in order")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "its socket is removed")
}

func TestPluginThatHangsAsItEndsExits(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	cmd, lifeline := byHost(t, "hangs as it ends", dir)

	require.NoError(t, lifeline.Close())

	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
}

func TestDebugAddressElsewhereIsRefused(t *testing.T) {
	cmd := exec.Command(os.Args[0], "plugin", "good")
	cmd.Env = append(os.Environ(), "BACKPLANE_PLUGIN_DEBUG=0.0.0.0:0")

	output, err := cmd.CombinedOutput()

	require.Error(t, err)
	require.Contains(t, string(output), "must be an address on this machine")
}
