//go:build !linux

package process

import (
	"os"
	"os/exec"
)

// execute leaves cmd as it is: no other system starts a program from an open file. So one who may write to the
// program's folder has the moment between checksum and start; afterwards the exchange is noticed, and the plugin killed
// before it is used.
func (p *program) execute(*exec.Cmd, uintptr) {}

func sameContent(before, now os.FileInfo) bool {
	return before.Size() == now.Size() && before.ModTime().Equal(now.ModTime())
}
