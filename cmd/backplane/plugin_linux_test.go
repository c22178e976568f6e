package main

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/testserver"
)

// killPluginsFor is how long the plugins of demos are killed: BACKPLANE_KILL_PLUGINS, or 10 s.
func killPluginsFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("BACKPLANE_KILL_PLUGINS")
	if text == "" {
		return 10 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// Every two seconds one of a demo's plugins, each node has one with Redis behind it, gets a SIGKILL, in one demo after the
// other. Each of them counts every file once; afterwards nothing of the plugins is left.
func TestKillingPluginsLosesNothingAndLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a while (-short)")
	}
	redis := testserver.Redis(t)
	folder := t.TempDir()
	program := filepath.Join(folder, "plugin-of-redis")
	built, err := exec.Command("go", "build", "-o", program, "github.com/gobackplane/backplane/examples/transports/redis").CombinedOutput()
	require.NoError(t, err, string(built))
	binary(t) // in the usual folder
	t.Setenv("TMPDIR", t.TempDir())
	transport := "plugin:" + program + "?url=" + url.QueryEscape(redis.URL())

	stop, killed := make(chan struct{}), make(chan int)
	go func() {
		kills := 0
		defer func() { killed <- kills }()
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			// One that has served: a plugin that does not even start is not tried again.
			all := slices.DeleteFunc(processesOf(program), func(pid int) bool { return age(pid) < time.Second })
			if len(all) > 0 && syscall.Kill(all[kills%len(all)], syscall.SIGKILL) == nil {
				kills++
			}
		}
	}()
	demos, reruns := 0, 0
	for began := time.Now(); time.Since(began) < killPluginsFor(t); demos++ {
		code, stdout, stderr := invoke(t, "demo", "--transport", transport, "--json")
		require.Zero(t, code, "%s\n%s", stdout, stderr)
		o := decodeOutcome(t, stdout)
		require.True(t, o.OK)
		require.Zero(t, o.Lost)
		require.Zero(t, o.Double)
		reruns += o.Reruns
	}
	close(stop)
	kills := <-killed

	require.Positive(t, kills)
	t.Logf("%d demos, %d plugins killed, %d tasks run again", demos, kills, reruns)
	for deadline := time.Now().Add(10 * time.Second); len(processesOf(program)) > 0; time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "plugins outlive their nodes: %v", processesOf(program))
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, left, "sockets or folders are left")
}

// processesOf are the processes of a program.
func processesOf(program string) []int {
	entries, _ := os.ReadDir("/proc")
	var all []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		target, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if errors.Is(err, os.ErrNotExist) || strings.TrimSuffix(target, " (deleted)") != program {
			continue
		}
		all = append(all, pid)
	}
	return all
}

// age is about how long a process has been there.
func age(pid int) time.Duration {
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	if err != nil {
		return 0
	}
	return time.Since(info.ModTime())
}
