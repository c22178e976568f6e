//go:build unix

package process

import (
	"errors"
	"os"
	"syscall"
)

// killGroup kills the process and all that it started and that did not leave its group.
func killGroup(p *os.Process) {
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL) // it fails only when nobody is left
}

func isFormat(err error) bool { return errors.Is(err, syscall.ENOEXEC) }
