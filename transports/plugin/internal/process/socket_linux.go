package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// holdSocket opens the socket's file so that it can be reached, under the short name that is returned, when its folder
// is gone: connecting follows /proc/self/fd to the very file. It returns nil where that does not work.
func holdSocket(path string) (string, *os.File) {
	if !procWorks() {
		return "", nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil
	}
	file := os.NewFile(uintptr(fd), path)
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeSocket == 0 {
		_ = file.Close() // it holds no data
		return "", nil
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), file
}
