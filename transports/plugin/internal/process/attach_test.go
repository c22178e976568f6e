package process_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// debugged is a plugin that runs in its debug mode, and where.
func debugged(t *testing.T, address string) (cmd *exec.Cmd, attach string) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "plugin", "good")
	cmd.Env = append(os.Environ(), "BACKPLANE_PLUGIN_DEBUG="+address, "GORACE=atexit_sleep_ms=0")
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // some tests have ended it
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	quoted, ok := strings.CutPrefix(line, "attach: ")
	require.True(t, ok, line)
	require.Contains(t, line, "for debugging only")
	quoted, err = strconv.QuotedPrefix(quoted)
	require.NoError(t, err)
	attach, err = strconv.Unquote(quoted)
	require.NoError(t, err)
	return cmd, attach
}

func TestAttachingToAPluginThatRuns(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": "unix:" + filepath.Join(os.TempDir(), "debug")} {
		t.Run(network, func(t *testing.T) {
			if network == "unix" && runtime.GOOS == "windows" {
				t.Skip("plugins listen on TCP here")
			}
			ctx := within(t)
			cmd, attach := debugged(t, address)
			seen := newLog()
			p, err := process.Start(ctx, process.Config{Attach: attach, Logger: slogOf(seen)})
			require.NoError(t, err)
			seen.find(t, "not authenticated")
			answer, err := tell(ctx, p, "hello")
			require.NoError(t, err)
			require.Equal(t, "hello", answer)
			require.Zero(t, p.PID())

			require.NoError(t, p.Stop(ctx))
			require.NoError(t, ended(t, p))

			killed, err := process.Start(ctx, process.Config{Attach: attach, Logger: slogOf(seen)})
			require.NoError(t, err)
			killed.Kill(fault.New(fault.Corrupt, "sent rubbish"))
			require.ErrorIs(t, ended(t, killed), fault.Corrupt)

			again, err := process.Start(ctx, process.Config{Attach: attach, Logger: slogOf(seen)})
			require.NoError(t, err, "it was left running")
			if runtime.GOOS == "windows" {
				require.NoError(t, cmd.Process.Kill())
			} else {
				require.NoError(t, cmd.Process.Signal(os.Interrupt))
				require.NoError(t, cmd.Wait(), "it ends in order")
			}
			err = ended(t, again)
			require.ErrorIs(t, err, fault.Unavailable)
			require.ErrorContains(t, err, attach)
		})
	}
}

func TestAttachedPluginIsFoundAgain(t *testing.T) {
	ctx := within(t)
	cmd, attach := debugged(t, "127.0.0.1:0")
	s, started := supervise(t, process.Supervision{
		Config:   process.Config{Attach: attach, Logger: slogOf(newLog())},
		MinDelay: time.Millisecond, MaxDelay: time.Millisecond, MaxFailures: 1,
	})
	next(t, started)
	require.NoError(t, cmd.Process.Kill())
	eventually(t, "it is missed", func() bool {
		err := s.State().LastError
		return err != nil && strings.Contains(err.Error(), "nobody serves there")
	})

	_, _ = debugged(t, attach)

	require.NoError(t, next(t, started).Ping(ctx))
	require.NoError(t, s.Stop(ctx))
}

func TestAttachedPluginThatDoesNotAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()

	_, err = process.Start(within(t), process.Config{Attach: listener.Addr().String(), StartTimeout: 100 * time.Millisecond})

	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorContains(t, err, "nobody answers there within 100ms")
}

func TestAddressesThatCannotBeAttachedTo(t *testing.T) {
	for attach, says := range map[string]string{
		"nonsense":       "is no address",
		"192.0.2.1:7000": "is not on this machine",
		"example.org:80": "is not on this machine",
		"unix:relative":  "an absolute path",
		"127.0.0.1:1":    "nobody serves there",
	} {
		_, err := process.Start(within(t), process.Config{Attach: attach})
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, attach)
	}
	_, err := process.Start(within(t), process.Config{Attach: "127.0.0.1:1", Program: "x"})
	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "leave out program")
}
