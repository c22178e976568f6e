package process

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// prepare keeps Ctrl-C in the console from the plugin. What a plugin starts is not killed with it here.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func awaitExit(cmd *exec.Cmd) { _ = cmd.Wait() }

func killGroup(p *os.Process) { _ = p.Kill() } // it fails only when the process has ended

// errBadFormat is ERROR_BAD_EXE_FORMAT.
const errBadFormat = syscall.Errno(193)

func isFormat(err error) bool { return errors.Is(err, errBadFormat) }
