package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gobackplane/backplane/fault"
)

// program is a file that can be started. Where a checksum was asked for, it is held open from before the checksum until
// the plugin has answered, so that what was checked and what runs can be told to be one.
type program struct {
	path   string
	file   *os.File // nil without a checksum
	handle *os.File // by which it was started; nil: by its path
	want   [sha256.Size]byte
	before os.FileInfo // the file as it was when the checksum was taken
	script bool        // "#!": the system has another program read it again
}

// find looks the program up, and checks its file.
func find(c *Config) (*program, error) {
	invalid := func(format string, args ...any) error {
		f := fault.New(fault.Invalid, format, args...)
		f.Op, f.Subject = "plugin: start", c.Program
		return f
	}
	path := c.Program
	if filepath.Base(path) == path {
		found, err := exec.LookPath(path)
		if err != nil {
			return nil, invalid("is not on the PATH: install it, or set program to its path (%w)", err)
		}
		path = found
	}
	path, err := filepath.Abs(path) // relative to the host's folder, whatever Dir is
	if err != nil {
		return nil, invalid("has no absolute path: %w", err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, invalid("there is no such file: set program to the plugin's path (looked for %s)", path)
	case err != nil:
		return nil, invalid("cannot be read: %w", err)
	case info.IsDir():
		return nil, invalid("is a folder: set program to the file in it that is to be started")
	case !info.Mode().IsRegular():
		return nil, invalid("is no regular file (%s)", info.Mode().Type())
	case runtime.GOOS != "windows" && info.Mode()&0o111 == 0:
		return nil, invalid("is not executable (mode %s): chmod +x it, or name its interpreter as program and it among args", info.Mode().Perm())
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
			return nil, invalid("its working folder %q is not there: make it, or leave dir out", c.Dir)
		}
	}
	p := &program{path: path}
	if c.SHA256 == "" {
		return p, nil
	}
	want, err := hex.DecodeString(strings.ToLower(strings.TrimSpace(c.SHA256)))
	if err != nil || len(want) != sha256.Size {
		return nil, invalid("sha256 must be 64 hexadecimal digits, as sha256sum prints them")
	}
	if p.file, err = os.Open(path); err != nil {
		return nil, invalid("cannot be read for its checksum: %w", err)
	}
	if p.before, err = p.file.Stat(); err != nil {
		p.close()
		return nil, invalid("cannot be read for its checksum: %w", err)
	}
	copy(p.want[:], want)
	got, err := p.sum()
	if err != nil {
		p.close()
		return nil, invalid("cannot be read for its checksum: %w", err)
	}
	if got != p.want {
		p.close()
		return nil, invalid("its sha256 is %x, the config wants %x: it is not the program that was approved; install that one, or put the new checksum in", got, want)
	}
	var mark [2]byte
	n, _ := p.file.ReadAt(mark[:], 0)
	p.script = n == 2 && string(mark[:]) == "#!"
	return p, nil
}

// unchanged tells, once the program runs, whether the file that was checked is still as it was, and still the one at
// its path. The first covers a file that was written to in place; the second one that was exchanged, where the system
// had to be given the path again.
func (p *program) unchanged() bool {
	if p.file == nil {
		return true
	}
	now, err := p.file.Stat()
	if err != nil {
		return false
	}
	same := sameContent(p.before, now)
	if p.handle != nil {
		// Removing its name changes a file's times too. Nobody can write to a program while it runs, so what is read now
		// is what was started.
		if !same {
			sum, err := p.sum()
			same = err == nil && sum == p.want
		}
		return same
	}
	there, err := os.Stat(p.path)
	return same && err == nil && os.SameFile(p.before, there)
}

func (p *program) sum() (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	_, err = io.Copy(hash, io.NewSectionReader(p.file, 0, math.MaxInt64))
	hash.Sum(sum[:0])
	return sum, err
}

func (p *program) close() {
	for _, f := range []*os.File{p.file, p.handle} {
		if f != nil {
			_ = f.Close() // it was only read
		}
	}
}
