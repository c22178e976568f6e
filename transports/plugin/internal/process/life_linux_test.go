package process_test

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

func gone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "process "+strconv.Itoa(pid)+" has ended", func() bool { return !alive(pid) })
}

// files are all that is in the temporary folder beside what the test itself has there.
func files(t *testing.T, own string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(os.TempDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it was removed while we looked
		}
		if own != "" && strings.HasPrefix(path, own) {
			return fs.SkipDir
		}
		if path != os.TempDir() {
			all = append(all, path)
		}
		return nil
	}))
	return all
}

func TestNothingOfARunningPluginIsInTheFileSystem(t *testing.T) {
	ctx := within(t)
	p := start(t, config(t, "good"))

	require.Empty(t, files(t, ""), "the socket's folder is gone as soon as the plugin is reached")

	require.NoError(t, p.Stop(ctx))
	require.Empty(t, files(t, ""))
	require.False(t, alive(p.PID()))
}

func TestPluginHasNoFilesOfTheHost(t *testing.T) {
	secret, err := os.Open(os.Args[0]) // as any file that a host may have open
	require.NoError(t, err)
	defer secret.Close()
	c := config(t, "good")
	c.SHA256 = sum(t, c.Program) // which opens the program, too
	p := start(t, c)

	answer, err := tell(within(t), p, "files")

	require.NoError(t, err)
	require.NotContains(t, answer, os.Args[0])
}

func TestHostKeepsNoFilesOfAPlugin(t *testing.T) {
	ctx := within(t)
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	once := func() {
		c := config(t, "good")
		c.SHA256 = sum(t, c.Program)
		p, err := process.Start(ctx, c)
		require.NoError(t, err)
		require.NoError(t, p.Stop(ctx))
		_ = refused(t, config(t, "exits"))
	}
	once() // what the runtime keeps for itself
	before := open()

	for range 3 {
		once()
	}

	require.LessOrEqual(t, open(), before)
}

func TestPluginsThatAreStartedAtOnceEndOneByOne(t *testing.T) {
	ctx := within(t)
	plugins := make([]*process.Process, 4)
	var all errgroup
	for i := range plugins {
		all.Go(func() (err error) {
			plugins[i], err = process.Start(ctx, config(t, "good"))
			return err
		})
	}
	require.NoError(t, all.Wait())

	for i, p := range plugins {
		require.NoError(t, p.Stop(ctx), "no other plugin holds its standard input open")
		for _, other := range plugins[i+1:] {
			require.NoError(t, other.Ping(ctx))
		}
	}
}

// errgroup runs functions and gives their errors.
type errgroup struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func (g *errgroup) Go(f func() error) {
	g.wg.Go(func() {
		err := f()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.errs = append(g.errs, err)
	})
}

func (g *errgroup) Wait() error {
	g.wg.Wait()
	return errors.Join(g.errs...)
}

func TestWhatAPluginHasStartedEndsWithIt(t *testing.T) {
	for _, end := range []string{"stop", "kill", "crash"} {
		t.Run(end, func(t *testing.T) {
			ctx := within(t)
			p := start(t, config(t, "with a child"))
			answer, err := tell(ctx, p, "child")
			require.NoError(t, err)
			child, err := strconv.Atoi(answer)
			require.NoError(t, err)
			require.True(t, alive(child))

			switch end {
			case "stop":
				require.NoError(t, p.Stop(ctx))
			case "kill":
				p.Kill(fault.New(fault.Internal, "enough"))
			case "crash":
				_, err := tell(ctx, p, "exit")
				require.Error(t, err)
			}

			_ = ended(t, p)
			gone(t, child)
		})
	}
}

func TestWhoeverLeavesTheGroupDelaysNobody(t *testing.T) {
	c := config(t, "good")
	c.Program, c.Args = "/bin/sh", []string{"-c", `setsid "$0" plugin hangs & echo $! >&2; exec "$0" plugin good`, os.Args[0]}
	seen := newLog()
	c.Logger = slogOf(seen)
	p := start(t, c)
	var runaway int
	eventually(t, "the number of the process that left", func() bool {
		for _, e := range seen.all() {
			if n, err := strconv.Atoi(e.message); err == nil {
				runaway = n
			}
		}
		return runaway != 0
	})
	defer func() { _ = syscall.Kill(-runaway, syscall.SIGKILL) }() // nobody else does
	require.True(t, alive(runaway))

	require.NoError(t, p.Stop(within(t)), "it holds the plugin's output open, and is not waited for")
}

func TestFrozenPluginIsKilledAndReplaced(t *testing.T) {
	s, started := supervise(t, process.Supervision{
		Config: config(t, "good"), PingEvery: 50 * time.Millisecond, PingTimeout: 2 * time.Second,
	})
	first := next(t, started)

	require.NoError(t, syscall.Kill(first.PID(), syscall.SIGSTOP))

	err := ended(t, first)
	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorContains(t, err, "is frozen: it answered no ping for 4s")
	second := next(t, started)
	require.NoError(t, second.Ping(within(t)))
	require.NoError(t, s.Stop(within(t)))
}

func TestFrozenPluginIsStopped(t *testing.T) {
	c := config(t, "good")
	c.StopTimeout = 200 * time.Millisecond
	p := start(t, c)
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGSTOP))

	err := p.Stop(within(t))

	require.ErrorIs(t, err, fault.DeadlineExceeded)
	require.False(t, alive(p.PID()))
}

func TestPluginThatOutgrowsItsMemoryIsKilled(t *testing.T) {
	ctx := within(t)
	c := config(t, "good")
	c.MaxMemory = 200 << 20
	p := start(t, c)

	_, err := tell(ctx, p, "grow")

	require.Error(t, err)
	err = ended(t, p)
	require.ErrorIs(t, err, fault.Exhausted)
	require.ErrorContains(t, err, "max_memory allows 200.0 MiB")
	require.ErrorContains(t, err, os.Args[0])
}

func TestProgramThatIsBeingInstalled(t *testing.T) {
	c := approved(t, false)
	c.SHA256 = ""
	f, err := os.OpenFile(c.Program, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	defer f.Close()

	err = refused(t, c)

	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorContains(t, err, "is being written to")
}

func TestPluginThatIsKilledFromOutside(t *testing.T) {
	p := start(t, config(t, "good"))

	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGKILL))

	err := ended(t, p)
	require.ErrorContains(t, err, "signal: killed")
	require.ErrorContains(t, err, "perhaps the system for want of memory")
}

func TestPluginEndsInOrderWhenItGetsSIGTERM(t *testing.T) {
	p := start(t, config(t, "good"))

	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGTERM))

	require.ErrorContains(t, ended(t, p), "exit status 0")
}

// host runs this binary as a host of a plugin, and gives both process IDs.
func host(t *testing.T, mode string) (cmd *exec.Cmd, pids map[string]int) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "host", mode)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most often it is gone
		_ = cmd.Wait()
	})
	pids = map[string]int{}
	for lines := bufio.NewScanner(output); pids["pid"] == 0 && lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		require.NotEqual(t, "error", name, value)
		pids[name], err = strconv.Atoi(value)
		require.NoError(t, err)
	}
	require.NotZero(t, pids["pid"])
	return cmd, pids
}

func TestPluginEndsWhenItsHostIsKilled(t *testing.T) {
	for _, state := range []string{"running", "frozen", "deaf"} {
		t.Run(state, func(t *testing.T) {
			mode := "good"
			if state == "deaf" {
				mode = "deaf"
			}
			cmd, pids := host(t, mode)
			if state == "frozen" {
				require.NoError(t, syscall.Kill(pids["pid"], syscall.SIGSTOP))
			}

			require.NoError(t, cmd.Process.Kill())

			gone(t, pids["pid"])
			require.Empty(t, files(t, ""), "no socket is left")
		})
	}
}
