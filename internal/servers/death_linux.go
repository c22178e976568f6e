package servers

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the child when this program ends, however it ends. The child gets a process group
// of its own, so that Ctrl-C in a terminal reaches this program alone, which then stops its servers in order.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
