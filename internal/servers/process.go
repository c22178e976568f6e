package servers

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// process is one running child. It dies with this program where the system can arrange that (Linux).
type process struct {
	cmd    *exec.Cmd
	output tail
	exited chan struct{} // closed once the child is gone and was waited for
	err    error         // how it ended; read it after exited
}

// spawn starts a command. One goroutine, bound to its thread, starts the child and waits for it: the parent-death
// signal of Linux is tied to the thread that started the child, so that thread has to live as long as the child does.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	dieWithParent(cmd)
	started := make(chan error, 1)
	go func() {
		defer close(p.exited)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-p.exited
		return nil, err
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// stop asks the child to end, and kills it when it has not after patience.
func (p *process) stop(patience time.Duration) {
	if !p.running() {
		return
	}
	_ = resume(p.cmd.Process) // a stopped process would not hear the request
	if terminate(p.cmd.Process) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		select {
		case <-p.exited:
			return
		case <-ctx.Done():
		}
	}
	p.kill()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it fails only when the process has ended
	<-p.exited
}

// tail keeps the last bytes that a child printed, for error messages.
type tail struct {
	sync.Mutex
	kept []byte
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.Lock()
	defer t.Unlock()
	t.kept = append(t.kept, b...)
	if extra := len(t.kept) - tailSize; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.Lock()
	defer t.Unlock()
	return strings.TrimSpace(string(t.kept))
}
