package process_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// TestMain makes this binary a plugin, or a host, when it is asked to be one: "plugin MODE", "host MODE".
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "plugin" {
		bePlugin(os.Args[2])
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "host" {
		beHost(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

// slow is a bound that only something broken exceeds.
const slow = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	t.Cleanup(cancel)
	return ctx
}

// config is for this test binary as a plugin.
func config(t *testing.T, mode string) process.Config {
	t.Helper()
	return process.Config{
		Program: os.Args[0], Args: []string{"plugin", mode}, StartTimeout: slow, Logger: slog.New(newLog(t)),
	}
}

// start starts a plugin that is gone, with all that belongs to it, when the test ends.
func start(t *testing.T, config process.Config) *process.Process {
	t.Helper()
	p, err := process.Start(within(t), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.Kill(fmt.Errorf("the test is over"))
		<-p.Done()
	})
	return p
}

// ended waits for the end of a process.
func ended(t *testing.T, p *process.Process) error {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(slow):
		require.FailNow(t, "the process has not ended")
	}
	return p.Err()
}

// log keeps what was logged.
type log struct {
	t     *testing.T
	mu    sync.Mutex
	lines []slog.Record
	attrs []slog.Attr
	root  *log
}

func newLog(t *testing.T) *log { return &log{t: t} }

func (*log) Enabled(context.Context, slog.Level) bool { return true }

func (l *log) Handle(_ context.Context, r slog.Record) error {
	root := l
	if l.root != nil {
		root = l.root
	}
	root.mu.Lock()
	defer root.mu.Unlock()
	r = r.Clone()
	r.AddAttrs(l.attrs...)
	root.lines = append(root.lines, r)
	return nil
}

func (l *log) WithAttrs(attrs []slog.Attr) slog.Handler {
	root := l
	if l.root != nil {
		root = l.root
	}
	return &log{attrs: append(l.attrs[:len(l.attrs):len(l.attrs)], attrs...), root: root}
}

func (l *log) WithGroup(string) slog.Handler { return l }
