package process_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// file writes a program into a folder of the test's.
func file(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin.sh")
	require.NoError(t, os.WriteFile(path, []byte(content), mode))
	require.NoError(t, os.Chmod(path, mode)) // whatever the umask says
	return path
}

func sum(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	hash := sha256.Sum256(content)
	return hex.EncodeToString(hash[:])
}

// refused starts what cannot work, and gives the error.
func refused(t *testing.T, c process.Config) error {
	t.Helper()
	p, err := process.Start(within(t), c)
	require.Error(t, err)
	require.Nil(t, p)
	require.ErrorContains(t, err, c.Program, "the error names the program")
	return err
}

func TestProgramsThatCannotBeStarted(t *testing.T) {
	folder := t.TempDir()
	own := os.Args[0]
	for name, c := range map[string]struct {
		config process.Config
		says   string
	}{
		"no program":          {process.Config{}, "no program is named"},
		"not there":           {process.Config{Program: filepath.Join(folder, "none")}, "there is no such file"},
		"not on the PATH":     {process.Config{Program: "no-such-program-anywhere"}, "not on the PATH"},
		"a folder":            {process.Config{Program: folder}, "is a folder"},
		"a folder in between": {process.Config{Program: filepath.Join(own, "x")}, "cannot be read"},
		"no working folder":   {process.Config{Program: own, Dir: filepath.Join(folder, "none")}, "make it, or leave dir out"},
		"no checksum":         {process.Config{Program: own, SHA256: "abc"}, "64 hexadecimal digits"},
		"wrong checksum":      {process.Config{Program: own, SHA256: strings.Repeat("0", 64)}, "not the program that was approved"},
		"a bad variable":      {process.Config{Program: own, Env: map[string]string{"A=B": ""}}, "env \"A=B\""},
		"a variable of ours":  {process.Config{Program: own, Env: map[string]string{"PLUGIN_CLIENT_CERT": ""}}, "belong to the handshake"},
		"NUL in an argument":  {process.Config{Program: own, Args: []string{"a\x00"}}, "NUL"},
		"negative":            {process.Config{Program: own, StartTimeout: -1}, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			err := refused(t, c.config)

			require.ErrorIs(t, err, fault.Invalid)
			require.ErrorContains(t, err, c.says)
			require.False(t, fault.IsRetryable(err))
		})
	}
}

func TestFilesThatAreNoPrograms(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes here, and scripts no first line")
	}
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		says    string
	}{
		"not executable":      {"#!/bin/sh\n", 0o644, "chmod +x"},
		"no interpreter":      {"#!/no/such/interpreter\n", 0o755, "the interpreter in its #! line"},
		"neither":             {"\x00\x01\x02\x03", 0o755, "built for another system"},
		"a script without #!": {"echo hello\n", 0o755, "without a #! line"},
	} {
		t.Run(name, func(t *testing.T) {
			err := refused(t, process.Config{Program: file(t, c.content, c.mode)})

			require.ErrorIs(t, err, fault.Invalid)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestProgramsThatAreNoPlugins(t *testing.T) {
	cert := strings.Repeat("A", 100)
	for name, c := range map[string]struct {
		mode []string
		code fault.Code
		says []string
	}{
		"prints something else":     {[]string{"says", "Hello, world"}, fault.Invalid, []string{`"Hello, world"`, "is it a Backplane plugin?"}},
		"prints a banner first":     {[]string{"chatty"}, fault.Invalid, []string{"Welcome to the plugin!", "logs belong on its standard error"}},
		"prints a line without end": {[]string{"long"}, fault.Invalid, []string{"more than 16 KiB"}},
		"another core version":      {[]string{"says", "2|1|tcp|127.0.0.1:1|grpc|" + cert}, fault.Invalid, []string{`version "2" of go-plugin's protocol`}},
		"another version":           {[]string{"of another version"}, fault.Invalid, []string{`speaks version "2" of Backplane's plugin protocol, this host version 1`}},
		"net/rpc":                   {[]string{"net/rpc"}, fault.Invalid, []string{"does not speak gRPC"}},
		"no certificate":            {[]string{"says", "1|1|tcp|127.0.0.1:1|grpc"}, fault.Invalid, []string{"no certificate"}},
		"no base64":                 {[]string{"says", "1|1|tcp|127.0.0.1:1|grpc|" + cert + "=!"}, fault.Invalid, []string{"not base64"}},
		"no X.509":                  {[]string{"says", "1|1|tcp|127.0.0.1:1|grpc|" + cert}, fault.Invalid, []string{"X.509"}},
		"a socket elsewhere":        {[]string{"says", "1|1|unix|/tmp/socket|grpc|" + cert}, fault.Invalid, []string{"PLUGIN_UNIX_SOCKET_DIR"}},
		"another machine":           {[]string{"says", "1|1|tcp|192.0.2.1:80|grpc|" + cert}, fault.Invalid, []string{"192.0.2.1:80", "only 127.0.0.1"}},
		"another network":           {[]string{"says", "1|1|udp|127.0.0.1:80|grpc|" + cert}, fault.Invalid, []string{"udp"}},
		"another program's plugin":  {[]string{"of another host"}, fault.Unavailable, []string{"exit status 1", "These are not meant to be executed directly"}},
		"ends with an error":        {[]string{"exits"}, fault.Unavailable, []string{"ended before it served (exit status 3)", "cannot find my database"}},
		"ends without one":          {[]string{"exits at once"}, fault.Unavailable, []string{"exit status 0", "is it a Backplane plugin?", "it printed nothing"}},
		"ends after its handshake":  {[]string{"greets and exits"}, fault.Unavailable, []string{"ended before it served (exit status 4)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := refused(t, config(t, c.mode...))

			require.ErrorIs(t, err, c.code)
			for _, words := range c.says {
				require.ErrorContains(t, err, words)
			}
		})
	}
}

func TestPluginsThatHangAreGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		mode string
		says []string
	}{
		"without a handshake":  {"hangs", []string{"printed no handshake within 1.5s (start_timeout)", "waiting for a database"}},
		"without an output":    {"closes its output", []string{"printed no handshake within 1.5s"}},
		"after the handshake":  {"mute", []string{"did not answer within 1.5s"}},
		"a program that reads": {"cat", []string{"printed no handshake within 1.5s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := config(t, c.mode)
			own.StartTimeout = 1500 * time.Millisecond
			if c.mode == "cat" {
				own.Program, own.Args = "cat", nil
			}
			err := refused(t, own)

			require.ErrorIs(t, err, fault.Unavailable)
			for _, words := range c.says {
				require.ErrorContains(t, err, words)
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	seen := newLog()
	c := config(t, "hangs")
	c.Logger = slogOf(seen)
	failed := make(chan error, 1)
	go func() {
		_, err := process.Start(ctx, c)
		failed <- err
	}()
	seen.find(t, "waiting for a database")

	cancel()

	select {
	case err := <-failed:
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, os.Args[0])
	case <-time.After(slow):
		require.FailNow(t, "the start goes on")
	}
}

func TestStartWithAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	_, err := process.Start(ctx, config(t, "good"))

	require.ErrorIs(t, err, context.Canceled)
}

func TestPluginGetsNoVariableThatItWasNotGiven(t *testing.T) {
	t.Setenv("MY_SECRET", "hunter2")
	t.Setenv("GIVEN", "of the host")
	c := config(t, "good")
	c.Env["GIVEN"] = "of the config"
	c.Env["HOME"] = "/nowhere"
	c.Dir = t.TempDir()
	ctx := within(t)
	p := start(t, c)

	answer, err := tell(ctx, p, "environment")
	require.NoError(t, err)
	env := strings.Split(answer, "\x00")
	require.NotContains(t, answer, "MY_SECRET")
	require.Contains(t, env, "GIVEN=of the config")
	require.Contains(t, env, "HOME=/nowhere")
	require.Contains(t, env, "PATH="+os.Getenv("PATH"))
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		require.Condition(t, func() bool {
			return strings.HasPrefix(name, "PLUGIN_") || strings.HasPrefix(name, "BACKPLANE_PLUGIN") ||
				strings.Contains(" PATH HOME TMPDIR TMP TEMP LANG LC_ALL TZ GIVEN GORACE ", " "+name+" ") ||
				runtime.GOOS == "windows" // which needs more of them
		}, "unasked: %s", name)
	}

	folder, err := tell(ctx, p, "folder")
	require.NoError(t, err)
	want, err := filepath.EvalSymlinks(c.Dir)
	require.NoError(t, err)
	require.Equal(t, want, folder)
}

func TestTemporaryFolderThatIsNotThere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it is found by other means there")
	}
	c := config(t, "good")
	t.Setenv("TMPDIR", "/no/such/folder")

	err := refused(t, c)

	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "TMPDIR")
}

func TestLongTemporaryFolderIsNotUsedForSockets(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("plugins listen on TCP here")
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	require.NoError(t, os.Mkdir(long, 0o700))
	t.Setenv("TMPDIR", long)

	p := start(t, config(t, "good"))

	require.NoError(t, p.Ping(within(t)))
}
