//go:build !linux

package servers

import "os/exec"

// dieWithParent does nothing here: the system offers no such signal. Whoever starts a server stops it.
func dieWithParent(*exec.Cmd) {}
