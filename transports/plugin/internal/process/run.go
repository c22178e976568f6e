package process

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/gobackplane/backplane/fault"
)

var _ runner.Runner = (*run)(nil)

// run is how go-plugin starts and ends the program: our way.
type run struct {
	config  *Config
	program *program
	output  *output

	certificate []byte // PEM, of the host

	cmd     *exec.Cmd
	dir     string      // of the socket; private to this process
	socket  *os.File    // keeps the socket reachable after dir is gone; nil where that is not possible
	greeted atomic.Bool // its handshake was good
	served  atomic.Bool // it has answered
	watch   sync.WaitGroup
	hello   io.ReadCloser // its handshake, for go-plugin to read
	tell    *io.PipeWriter

	mu     sync.Mutex
	child  *child // nil until started
	reason error  // of a kill that came before
}

// prepare is go-plugin's RunnerFunc: cmd holds the variables of the handshake, dir is the folder for the socket.
func (r *run) prepare(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
	r.dir = dir
	r.hello, r.tell = io.Pipe()
	r.cmd = exec.Command(r.program.path, r.config.Args...)
	r.cmd.Dir = r.config.Dir
	r.cmd.Env = append(append(r.config.environment(), cmd.Env...),
		"PLUGIN_CLIENT_CERT="+string(r.certificate), lifelineVar+"="+lifelineIn,
		patienceVar+"="+r.config.StopTimeout.String())
	if r.config.MaxMemory > 0 {
		r.cmd.Env = append(r.cmd.Env, memoryHint(r.config)...)
	}
	return r, nil
}

// Start starts the program.
func (r *run) Start(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != nil {
		return r.reason
	}
	ready := make(chan struct{})
	child, err := spawn(r.cmd, r.program, func(stdout io.Reader) {
		<-ready
		r.readStdout(stdout)
	}, r.output.readAll)
	if err != nil {
		_ = r.tell.Close() // an io.Pipe's never fails
		return startProblem(err)
	}
	r.child = child
	close(ready)
	if r.config.MaxMemory > 0 {
		r.watch.Go(r.watchMemory)
	}
	return nil
}

// readStdout hands the first line to go-plugin, if it is good, and logs the others.
func (r *run) readStdout(stdout io.Reader) {
	defer r.tell.Close()
	in := bufio.NewReaderSize(stdout, maxHandshake)
	line, err := in.ReadSlice('\n')
	if len(line) == 0 && err != nil {
		<-r.child.exited // that tells more than that it has printed nothing
		return
	}
	hello := strings.TrimSpace(string(line))
	problem := checkHandshake(hello, r.dir)
	if errors.Is(err, bufio.ErrBufferFull) {
		problem = "printed more than 16 KiB without a line's end where its handshake should be: is it a Backplane plugin?"
	}
	if problem != "" {
		r.child.kill(fault.New(fault.Invalid, "%s", problem))
	} else {
		r.greeted.Store(true)
		_, _ = io.WriteString(r.tell, hello+"\n") // it fails when go-plugin has given up
	}
	r.output.readAll(in)
}

// kill ends the program and its group, or keeps it from being started.
func (r *run) kill(reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child == nil {
		if r.reason == nil {
			r.reason = reason
		}
		return
	}
	r.child.kill(reason)
}

// Kill is called by go-plugin when it gives up on the start, when its patience with a stop is over, and when all is over.
func (r *run) Kill(context.Context) error {
	if r.served.Load() {
		r.kill(r.deaf())
	} else {
		r.kill(fault.New(fault.Invalid, "printed a handshake that go-plugin does not understand"))
	}
	return nil
}

func (r *run) deaf() error {
	return fault.New(fault.DeadlineExceeded, "did not end within %s of being asked to (stop_timeout), and was killed: a plugin ends when its standard input does", r.config.StopTimeout)
}

// Wait returns when the program has ended.
func (r *run) Wait(context.Context) error {
	<-r.child.exited
	return nil
}

// Stdout is what go-plugin reads the handshake from.
func (r *run) Stdout() io.ReadCloser { return r.hello }

// Stderr is empty: the lines are ours to read.
func (r *run) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name is the program's path.
func (r *run) Name() string { return r.program.path }

// ID is the process ID.
func (r *run) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child == nil {
		return ""
	}
	return strconv.Itoa(r.child.pid())
}

// Diagnose adds nothing: what is wrong with a handshake was said before go-plugin sees it.
func (r *run) Diagnose(context.Context) string { return "" }

// PluginToHost is the plugin's address as this process reaches it.
func (r *run) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" {
		return network, address, nil
	}
	if short, held := holdSocket(address); held != nil {
		// The folder is not needed from here on, so whatever becomes of the two processes, nothing is left of it.
		r.socket = held
		_ = os.RemoveAll(r.dir) // tried again in the end
		return network, short, nil
	}
	return network, address, nil
}

// HostToPlugin is asked for by go-plugin's broker, which is not used.
func (r *run) HostToPlugin(string, string) (string, string, error) {
	return "", "", errors.ErrUnsupported
}

// cleanUp removes what is left when the program has ended.
func (r *run) cleanUp() {
	r.watch.Wait()
	if r.socket != nil {
		_ = r.socket.Close() // it holds no data
	}
	if r.dir != "" {
		_ = os.RemoveAll(r.dir) // most often gone already
	}
}
