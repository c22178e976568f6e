package process

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// child is one running program and all that it started: a process group of its own, which is killed as a whole once
// the program has ended.
type child struct {
	cmd      *exec.Cmd
	lifeline *os.File      // the other end of its standard input; it closes with this process, however that ends
	exited   chan struct{} // closed once the program is gone and waited for
	drained  chan struct{} // closed once all that it printed is read
	released sync.Once     // of the lifeline

	mu     sync.Mutex
	reaped bool  // the process ID may be another's now
	reason error // why we killed it; the first counts
}

// stragglers is how long the output of an ended program is read when somebody still holds the other end: a process
// that left the group.
const stragglers = 2 * time.Second

// spawn starts cmd with the program's file. stdout and stderr are called in goroutines of their own, read to the end, and are waited for.
//
// One goroutine, bound to its thread, starts the child and waits for it: the parent-death signal of Linux is tied to the
// thread that started the child, so that thread has to live as long as the child does.
func spawn(cmd *exec.Cmd, program *program, stdout, stderr func(io.Reader)) (*child, error) {
	c := &child{cmd: cmd, exited: make(chan struct{}), drained: make(chan struct{})}
	var theirs, ours []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close() // pipes: nothing is lost by closing
		}
	}
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(theirs)
			closeAll(ours)
			return nil, err
		}
		if len(ours) == 0 {
			theirs, ours = append(theirs, r), append(ours, w)
		} else {
			theirs, ours = append(theirs, w), append(ours, r)
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	c.lifeline = ours[0]
	program.execute(cmd, max(theirs[0].Fd(), theirs[1].Fd(), theirs[2].Fd()))
	prepare(cmd)

	started := make(chan error, 1)
	go func() {
		defer close(c.exited)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.wait()
		}
	}()
	err := <-started
	closeAll(theirs)
	if err != nil {
		<-c.exited
		closeAll(ours)
		return nil, err
	}

	var readers sync.WaitGroup
	readers.Go(func() { stdout(ours[1]) })
	readers.Go(func() { stderr(ours[2]) })
	go func() {
		defer close(c.drained)
		read := make(chan struct{})
		go func() { readers.Wait(); close(read) }()
		<-c.exited
		late := time.NewTimer(stragglers)
		defer late.Stop()
		select {
		case <-read:
		case <-late.C:
		}
		closeAll(ours[1:]) // ends the readers, but not on Windows when they are at it
		late.Reset(stragglers)
		select {
		case <-read:
		case <-late.C:
		}
	}()
	return c, nil
}

// wait ends the group together with its first process.
func (c *child) wait() {
	awaitExit(c.cmd)
	c.mu.Lock()
	killGroup(c.cmd.Process)
	c.reaped = true
	c.mu.Unlock()
	_ = c.cmd.Wait() // its state says how it ended; a second call does nothing
	c.release()
}

// kill ends the whole group at once. The reason is kept, unless there is one already or the program has ended by itself.
func (c *child) kill(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return
	}
	if c.reason == nil {
		c.reason = reason
	}
	killGroup(c.cmd.Process)
}

// release closes the plugin's standard input, which asks it to end.
func (c *child) release() {
	c.released.Do(func() { _ = c.lifeline.Close() }) // nothing was written to it
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// ending is why the program ended. It is called after exited.
func (c *child) ending() (how string, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return describe(c.cmd.ProcessState), c.reason
}

// describe says how a process ended: "exit status 3", "signal: killed".
func describe(state *os.ProcessState) string {
	if state == nil {
		return "an unknown state"
	}
	if state.ExitCode() == 0 {
		return "exit status 0"
	}
	return state.String()
}

// startProblem says what can be done about a start that the system refused.
func startProblem(err error) error {
	switch {
	case isFormat(err):
		return fault.New(fault.Invalid, "cannot be executed on %s/%s: it is built for another system, or is a script without a #! line: %w", runtime.GOOS, runtime.GOARCH, err)
	case errors.Is(err, os.ErrNotExist):
		return fault.New(fault.Invalid, "the interpreter in its #! line, or a loader that it needs, is not installed: %w", err)
	case errors.Is(err, os.ErrPermission):
		return fault.New(fault.Invalid, "this user may not execute it; look at its mode and folder, and whether the file system is mounted noexec: %w", err)
	case errors.Is(err, syscall.ETXTBSY):
		return fault.New(fault.Unavailable, "is being written to; wait for its installation to end: %w", err)
	}
	return fault.New(fault.Unavailable, "could not be started: %w", err) // out of processes, memory or files
}
