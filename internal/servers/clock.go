package servers

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

//go:embed clock/clock.c
var clockSource []byte

// Clock is a wall clock that a test can move, for a server that is started with it. It needs Linux and a C compiler.
type Clock struct {
	dir string

	mu     sync.Mutex
	offset time.Duration
	file   *os.File
}

// NewClock makes a clock that shows the machine's time, until it is moved.
func NewClock() (*Clock, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("servers: a server's clock can be moved on linux only")
	}
	dir, err := os.MkdirTemp("", "clock-")
	if err != nil {
		return nil, fmt.Errorf("servers: make a clock: %w", err)
	}
	c := &Clock{dir: dir}
	if err := c.build(); err != nil {
		c.Close()
		return nil, fmt.Errorf("servers: make a clock: %w", err)
	}
	return c, nil
}

func (c *Clock) build() (err error) {
	source := filepath.Join(c.dir, "clock.c")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O2", "-o", c.library(), source).CombinedOutput(); err != nil {
		return fmt.Errorf("compile it: %w: %s", err, out)
	}
	if c.file, err = os.Create(filepath.Join(c.dir, "offset")); err != nil {
		return err
	}
	return c.write()
}

func (c *Clock) library() string { return filepath.Join(c.dir, "clock.so") }

// environment is what a program needs to live by the clock.
func (c *Clock) environment() []string {
	return append(os.Environ(), "LD_PRELOAD="+c.library(), "MOVABLE_CLOCK="+c.file.Name())
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

// Close removes the clock's files. The server must have stopped.
func (c *Clock) Close() {
	if c.file != nil {
		_ = c.file.Close()
	}
	_ = os.RemoveAll(c.dir)
}
