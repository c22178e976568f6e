package process

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare gives the child a process group of its own, so that all it starts can be killed with it and Ctrl-C in a
// terminal reaches the host alone, and has the kernel kill it when the host ends, however that ends.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// awaitExit returns when the process has ended, and leaves it to be waited for: until then its ID, which is its group's
// too, is given to nobody else, and the group can be killed without a risk for strangers.
func awaitExit(cmd *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return // an error: Wait will say what is wrong
		}
	}
}
