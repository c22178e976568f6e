//go:build unix

package nodesqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// TestConformanceThroughCrashes kills and stops the plugin, and moves its clock, in the cases that are about that. Each has a
// plugin of its own: one that dies again and again is not started any more.
func TestConformanceThroughCrashes(t *testing.T) {
	program := main(t)
	clock, err := filepath.Abs("test/clock.mjs")
	require.NoError(t, err)
	dir := t.TempDir()
	var stores atomic.Int64
	harness := conformance.Harness{Timing: busy, New: func(t conformance.T) conformance.Cluster {
		s := &store{file: filepath.Join(dir, fmt.Sprint(stores.Add(1)))}
		s.AdvanceClock(0)
		var err error
		s.plugin, err = plugin.Start(t.Context(), plugin.Config{
			Program: "node", Args: []string{"--import", clock, program},
			Env: map[string]string{"TEST_CLOCK": s.clock()}, StartTimeout: slow,
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.plugin.Stop()) })
		s.Cluster = conformance.OfFunc(func(ctx context.Context, namespace string) (transports.Transport, error) {
			return openSoon(ctx, s.plugin, on(s.file, namespace))
		}).New(t)
		return s
	}}

	conformance.Test(t, harness, conformance.Match("transport/store,cache/restart,cache/lock/*restart*,cache/lock/*paused*,queue/store,"+
		"cache/lifetime/a-day-is-a-day,cache/lock/fences-are-remembered*,queue/clock"))
}

// store is a file behind one process of the plugin, which can be killed and stopped, and whose clock can be moved.
type store struct {
	conformance.Cluster // opens nodes
	plugin              *plugin.Program
	file                string
	ahead               time.Duration // of the machine's clock
}

// clock is the file that says how far.
func (s *store) clock() string { return s.file + ".clock" }

// AdvanceClock moves the plugin's clock.
func (s *store) AdvanceClock(d time.Duration) {
	s.ahead += d
	// The plugin may be reading it: a file is put in the place of the other.
	next := s.clock() + ".next"
	if err := os.WriteFile(next, []byte(fmt.Sprint(s.ahead.Milliseconds())), 0o600); err != nil {
		panic(err) // the hook has no other way to say that the test cannot go on
	}
	if err := os.Rename(next, s.clock()); err != nil {
		panic(err)
	}
}

// openSoon opens a node, and is patient while the plugin is being started again.
func openSoon(ctx context.Context, p *plugin.Program, s transports.Settings) (transports.Transport, error) {
	ctx, cancel := context.WithTimeout(ctx, slow)
	defer cancel()
	for {
		node, err := p.Open(ctx, s)
		if !errors.Is(err, fault.Unavailable) {
			return node, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// running is the process of a plugin as it is now.
func running(p *plugin.Program) (*os.Process, error) {
	pid := p.PID()
	if pid == 0 {
		return nil, fmt.Errorf("the plugin does not run: %w", p.Down())
	}
	return os.FindProcess(pid)
}

// kill ends a plugin's process without a goodbye, and returns when its host has noticed.
func kill(ctx context.Context, p *plugin.Program) error {
	process, err := running(p)
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil {
		return err
	}
	for p.PID() == process.Pid {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Restart kills the plugin, and returns when the next process serves the file.
func (s *store) Restart(ctx context.Context) error {
	if err := kill(ctx, s.plugin); err != nil {
		return err
	}
	node, err := openSoon(ctx, s.plugin, on(s.file, "restarted"))
	if err != nil {
		return err
	}
	return node.Close()
}

// Pause stops the plugin in its tracks. A host that finds it frozen kills it before long.
func (s *store) Pause(context.Context) (resume func(), err error) {
	p, err := running(s.plugin)
	if err != nil {
		return nil, err
	}
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { _ = p.Signal(syscall.SIGCONT) }), nil // fails when it was killed
}
