package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// execute has cmd start the very file that was checked, through an open handle. The handle is still open in the new
// process when the kernel reads this, and closed by the same call (close-on-exec), so that the plugin does not have it.
// Its number is far above those of the pipes that cmd hands over: numbers just above may be reused on the way.
//
// A script cannot be started so: the kernel tells the interpreter a name, and the interpreter opens that.
func (p *program) execute(cmd *exec.Cmd, highest uintptr) {
	if p.file == nil || p.script || !procWorks() {
		return
	}
	fd, err := unix.FcntlInt(p.file.Fd(), unix.F_DUPFD_CLOEXEC, int(highest)+16)
	if err != nil {
		return // out of numbers: by path, then
	}
	p.handle = os.NewFile(uintptr(fd), p.path)
	cmd.Path = fmt.Sprintf("/proc/self/fd/%d", fd)
}

// sameContent compares the change times, too: a write sets them, and nobody can set them back.
func sameContent(before, now os.FileInfo) bool {
	a, _ := before.Sys().(*syscall.Stat_t)
	b, _ := now.Sys().(*syscall.Stat_t)
	return a != nil && b != nil && a.Size == b.Size && a.Mtim == b.Mtim && a.Ctim == b.Ctim
}

// procWorks tells whether this process can reach its open files by name.
func procWorks() bool {
	_, err := os.Stat("/proc/self/fd")
	return err == nil
}
