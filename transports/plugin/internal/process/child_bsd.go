//go:build unix && !linux

package process

import (
	"os/exec"
	"syscall"
)

// prepare gives the child a process group of its own. The system has no signal for the death of a parent: the plugin
// notices that its standard input ends.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// awaitExit waits for the process for good. In the moment before its group is killed, its ID could be given to another.
func awaitExit(cmd *exec.Cmd) { _ = cmd.Wait() }
