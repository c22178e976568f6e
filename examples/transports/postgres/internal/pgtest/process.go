//go:build unix

package pgtest

import (
	"os/exec"
	"runtime"
)

// start starts a child and closes exited when it has ended. The goroutine keeps its thread, because Linux sends the signal
// of a parent's death when the thread ends that has started the child.
func start(cmd *exec.Cmd, exited chan struct{}) error {
	started := make(chan error, 1)
	go func() {
		defer close(exited)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	return <-started
}
