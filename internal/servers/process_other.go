//go:build !unix

package servers

import (
	"fmt"
	"os"
	"runtime"
)

func terminate(*os.Process) error { return errUnsupported("asking a process to end") }
func pause(*os.Process) error     { return errUnsupported("pausing a process") }
func resume(*os.Process) error    { return errUnsupported("resuming a process") }

func errUnsupported(what string) error {
	return fmt.Errorf("servers: %s is not possible on %s", what, runtime.GOOS)
}
