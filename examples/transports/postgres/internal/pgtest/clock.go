//go:build unix

package pgtest

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

//go:embed clock.c.txt
var clockSource []byte

// Clock is a wall clock that a test can move, for a server that is started with it. It needs Linux and a C compiler.
type Clock struct {
	dir string

	mu     sync.Mutex
	offset time.Duration
	file   *os.File
}

// NewClock makes a clock that shows the machine's time until it is moved. Where it cannot be made it is nil, and says why.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Log("a server's clock can be moved on Linux only")
		return nil
	}
	dir, err := os.MkdirTemp("", "pgclock-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &Clock{dir: dir}
	if err := c.build(); err != nil {
		t.Logf("a server's clock cannot be moved here: %v", err)
		return nil
	}
	t.Cleanup(func() { _ = c.file.Close() })
	return c
}

func (c *Clock) build() (err error) {
	source := filepath.Join(c.dir, "clock.c")
	if err := os.Chmod(c.dir, 0o755); err != nil { // the server is somebody else
		return err
	}
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O2", "-o", filepath.Join(c.dir, "clock.so"), source).CombinedOutput(); err != nil {
		return fmt.Errorf("compile it: %w: %s", err, out)
	}
	if c.file, err = os.OpenFile(filepath.Join(c.dir, "offset"), os.O_CREATE|os.O_RDWR, 0o644); err != nil {
		return err
	}
	return c.write()
}

func (c *Clock) environment() []string {
	return append(os.Environ(), "LD_PRELOAD="+filepath.Join(c.dir, "clock.so"), "MOVABLE_CLOCK="+c.file.Name())
}

// Advance moves the clock forward; what reads it next sees that.
func (c *Clock) Advance(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
	return c.write()
}

// Reset makes the clock show the machine's time again.
func (c *Clock) Reset() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = 0
	return c.write()
}

func (c *Clock) write() error {
	_, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(c.offset)), 0)
	return err
}
