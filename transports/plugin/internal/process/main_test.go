package process_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// TestMain makes this binary a plugin or a host when it is asked to be one. Otherwise it runs the tests, in a temporary
// folder of their own, and sees to it that nothing is left of them: no goroutine, no process, no file.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "plugin" {
		bePlugin(os.Args[2:])
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "host" {
		beHost(os.Args[2:])
		return
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bp") // short: sockets go into it
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		if err := os.Setenv(name, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code := m.Run()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		problem := leftovers(dir)
		if problem == nil {
			return code
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, "left behind:", problem)
			return 1
		}
	}
}

func leftovers(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(files) > 0 {
		return fmt.Errorf("files in the temporary folder: %v", files)
	}
	if pids := plugins(); len(pids) > 0 {
		return fmt.Errorf("plugin processes: %v", pids)
	}
	return goleak.Find()
}

// slow is a bound that only something broken exceeds.
const slow = 30 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	t.Cleanup(cancel)
	return ctx
}

// config is for this test binary as a plugin.
func config(t *testing.T, mode ...string) process.Config {
	t.Helper()
	return process.Config{
		Program: os.Args[0], Args: append([]string{"plugin"}, mode...), StartTimeout: slow, StopTimeout: slow,
		Logger: slog.New(newLog()),
		Env:    map[string]string{"GORACE": "atexit_sleep_ms=0"}, // a second otherwise
	}
}

// start starts a plugin that is gone, with all that belongs to it, when the test ends.
func start(t *testing.T, config process.Config) *process.Process {
	t.Helper()
	p, err := process.Start(within(t), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.Kill(errors.New("the test is over"))
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

// eventually polls on the test's own goroutine.
func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	for deadline := time.Now().Add(slow); !true(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "never: %s", what)
	}
}

// log keeps what was logged.
type log struct {
	attrs []slog.Attr
	book  *book
}

type book struct {
	mu      sync.Mutex
	entries []entry
}

type entry struct {
	level   slog.Level
	message string
	attrs   map[string]any
}

func slogOf(l *log) *slog.Logger { return slog.New(l) }

func newLog() *log { return &log{book: &book{}} }

func (*log) Enabled(context.Context, slog.Level) bool { return true }

func (l *log) Handle(_ context.Context, r slog.Record) error {
	e := entry{level: r.Level, message: r.Message, attrs: map[string]any{}}
	for _, a := range l.attrs {
		e.attrs[a.Key] = a.Value.Any()
	}
	r.Attrs(func(a slog.Attr) bool {
		e.attrs[a.Key] = a.Value.Any()
		return true
	})
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	l.book.entries = append(l.book.entries, e)
	return nil
}

func (l *log) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &log{attrs: append(l.attrs[:len(l.attrs):len(l.attrs)], attrs...), book: l.book}
}

func (l *log) WithGroup(string) slog.Handler { return l }

// find waits for an entry whose message holds the text.
func (l *log) find(t *testing.T, text string) entry {
	t.Helper()
	var found entry
	eventually(t, "a log line with "+text, func() bool {
		some := l.with(text)
		if len(some) > 0 {
			found = some[0]
		}
		return len(some) > 0
	})
	return found
}

// with are the entries whose message holds the text.
func (l *log) with(text string) []entry {
	var some []entry
	for _, e := range l.all() {
		if strings.Contains(e.message, text) {
			some = append(some, e)
		}
	}
	return some
}

func (l *log) all() []entry {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	return append([]entry(nil), l.book.entries...)
}
