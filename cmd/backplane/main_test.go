package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/internal/testserver"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(suite{testserver.Main(m)})
}

// suite removes the command after the last test.
type suite struct{ tests *testserver.Suite }

func (s suite) Run() int {
	defer func() {
		if command.dir != "" {
			_ = os.RemoveAll(command.dir)
		}
	}()
	return s.tests.Run()
}

// command is the program under test, built once, with the race detector if the tests have it.
var command struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func binary(t *testing.T) string {
	t.Helper()
	command.once.Do(func() {
		if command.dir, command.err = os.MkdirTemp("", "backplane-command-"); command.err != nil {
			return
		}
		command.path = filepath.Join(command.dir, "backplane.exe")
		args := []string{"build", "-o", command.path}
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "-race" && s.Value == "true" {
					args = append(args, "-race")
				}
			}
		}
		if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
			command.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, command.err)
	return command.path
}

// running is the command at work, with a temporary folder of its own.
type running struct {
	*exec.Cmd
	temp           string
	stdout, stderr *bytes.Buffer // to be read when it has ended
}

// launch starts the command. It is killed when the test ends before it does.
func launch(t *testing.T, args ...string) *running {
	t.Helper()
	path := binary(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	r := &running{Cmd: exec.CommandContext(ctx, path, args...), temp: t.TempDir(), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	r.Stdout, r.Stderr = r.stdout, r.stderr
	r.WaitDelay = 10 * time.Second
	r.Env = append(os.Environ(), "TMPDIR="+r.temp)
	require.NoError(t, r.Start())
	return r
}

// ended waits for the end and gives the exit code. Nothing of the run may be left.
func (r *running) ended(t *testing.T) int {
	t.Helper()
	err := r.Wait()
	if exit := new(exec.ExitError); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	requireNothingLeft(t, r.temp)
	return r.ProcessState.ExitCode()
}

func requireNothingLeft(t *testing.T, temp string) {
	t.Helper()
	require.Empty(t, processesWith("TMPDIR="+temp), "processes that were left behind")
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left, "temporary files that were left behind")
}

// found is a process: its ID and its command line.
type found struct {
	pid  int
	line string
}

// processesWith finds the processes by a setting in their environment, where the system shows it.
func processesWith(setting string) []found {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	var processes []found
	for _, path := range all {
		if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, []byte(setting)) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			if len(line) > 0 { // not one that has ended and was not waited for
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				processes = append(processes, found{pid, strings.ReplaceAll(string(line), "\x00", " ")})
			}
		}
	}
	return processes
}

// invoke runs the command to its end.
func invoke(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	r := launch(t, args...)
	code = r.ended(t)
	return code, r.stdout.String(), r.stderr.String()
}

func TestBadInputIsToldInOneLineThatNamesTheRemedy(t *testing.T) {
	t.Parallel()
	empty, oneFile := t.TempDir(), writeTree(t, map[string]string{"a.go": "package a"})
	unwritable := filepath.Join(empty, "no-such-folder", "counts.txt")
	for args, says := range map[string]string{
		"frobnicate":                               `unknown command "frobnicate"`,
		"demo extra":                               `unknown command "extra"`,
		"demo --bogus":                             "unknown flag: --bogus; see backplane demo --help",
		"demo --nodes many":                        `invalid argument "many" for "--nodes"`,
		"demo --nodes 0":                           "--nodes 0: 1 to 100 are allowed",
		"demo --nodes 101":                         "--nodes 101: 1 to 100 are allowed",
		"demo --transport memory: --kill":          "and --kill needs processes; leave it out",
		"demo --servers 2":                         "1, or 3 to 5 and no more than there are nodes (3)",
		"demo --servers 3 --nodes 2":               "no more than there are nodes (2)",
		"demo --servers 3 --cluster c":             "leave out --servers",
		"demo --servers 3 --transport memory:":     "leave out --transport",
		"demo --transport memory: --root " + empty: "there is no Go file under " + empty + "; name another tree with --root",
		"demo --transport memory: --root " + empty + "/nowhere":               "no such file or directory",
		"demo --transport memory: --root " + oneFile + " --out " + unwritable: "--out: open " + unwritable,
		"demo --transport redis://127.0.0.1:1 --root " + oneFile:              "attempt 3 of 3 failed: no answer from the server at 127.0.0.1:1",
		"demo --transport bogus:// --root " + oneFile:                         `unknown transport scheme "bogus"; this program has: memory, nats, nats-embedded, plugin, redis`,
		"demo --transport redis --root " + oneFile:                            `write for example "redis://127.0.0.1:6379" or "memory:"`,
		"demo --transport memory: --cluster a:b --root " + oneFile:            "cluster.name",
		"demo-node":   "is started by the demo",
		"conformance": "Give --transport URL, --plugin PROGRAM or --config FILE",
		"conformance --transport memory: --config f.yaml":                 "exclude each other",
		"conformance --transport memory: --format yaml":                   `--format "yaml": write text, json, junit, markdown, html or badge`,
		"conformance --transport memory: --run nothing/such":              `--run "nothing/such": no case has such a name`,
		"conformance --transport memory: --run pubsub/group,pubsub/gruop": `--run "pubsub/gruop": no case has such a name`,
		"conformance --transport memory: --run cache/[":                   `--run "cache/[": no case has such a name`,
		"conformance --transport memory: --repeat 0":                      "--repeat 0: at least 1",
		"conformance --transport memory: --parallel 0":                    "--parallel 0: at least 1",
		"conformance --transport memory: --slow -1":                       "--slow -1: more than 0",
		"conformance --transport redis://127.0.0.1:1":                     "attempt 3 of 3 failed: no answer from the server at 127.0.0.1:1",
		"conformance --transport redis://127.0.0.1:1?pool=3":              `URL parameter "pool" is not known; there are: address`,
		"conformance --config " + empty + "/backplane.yaml":               "cannot read the config",
		"conformance --transport bogus:":                                  `unknown transport scheme "bogus"`,
		"version now":                                                     `unknown command "now"`,
		"key 16":                                                          `unknown command "16"`,
	} {
		t.Run(strings.ReplaceAll(args, empty, "EMPTY"), func(t *testing.T) {
			code, stdout, stderr := invoke(t, strings.Fields(args)...)

			require.Equal(t, 2, code, stderr)
			require.Empty(t, stdout)
			require.Contains(t, stderr, says)
			require.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %s", stderr)
			require.Equal(t, 1, strings.Count(stderr, "backplane: "), "the program's name once: %s", stderr)
		})
	}
}

func TestVersionNamesTheTransports(t *testing.T) {
	t.Parallel()
	code, stdout, _ := invoke(t, "version")

	require.Zero(t, code)
	require.Regexp(t, `^backplane \S+ go1\S+ \w+/\w+, transports: memory, nats, nats-embedded, plugin, redis\n$`, stdout)
}

func TestKeyIsNewAndHas32Bytes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 3 {
		code, stdout, stderr := invoke(t, "key")

		require.Zero(t, code)
		require.Empty(t, stderr)
		key, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(stdout, "\n"))
		require.NoError(t, err)
		require.Len(t, key, 32)
		require.False(t, seen[stdout])
		seen[stdout] = true
	}
}

func TestHelpExplains(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{"": "conformance", "demo --help": "SIGKILL", "conformance --help": "junit", "key --help": "cluster.keys"} {
		code, stdout, _ := invoke(t, strings.Fields(args)...)

		require.Zero(t, code)
		require.Contains(t, stdout, says)
		require.NotContains(t, stdout, "demo-node", "what is not for people is hidden")
	}
}
