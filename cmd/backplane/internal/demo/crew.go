package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"github.com/gobackplane/backplane/backplane"
)

// crew are the nodes at work: processes, or goroutines of this one.
type crew interface {
	// hire starts a node and returns when it can be given tasks.
	hire(ctx context.Context, c backplane.Config, root string) error
	// kill ends the oldest node without a goodbye.
	kill() error
	// lost tells of a node that ended though nobody told it to.
	lost() <-chan error
	// dismiss lets all nodes finish and waits for them.
	dismiss() error
}

// goroutines run the nodes in this process.
type goroutines struct {
	nodes  sync.WaitGroup
	stops  []context.CancelFunc
	losses chan error
	mu     sync.Mutex
	errs   []error
}

func newGoroutines() *goroutines { return &goroutines{losses: make(chan error, 1)} }

func (g *goroutines) hire(ctx context.Context, c backplane.Config, root string) error {
	ctx, stop := context.WithCancel(ctx)
	g.stops = append(g.stops, stop)
	ready, ended := make(chan struct{}), make(chan error, 1)
	g.nodes.Go(func() {
		err := runNode(ctx, c, root, func() { close(ready) })
		g.mu.Lock()
		g.errs = append(g.errs, err)
		g.mu.Unlock()
		ended <- err
		if ctx.Err() == nil {
			tell(g.losses, fmt.Errorf("node %s ended by itself", c.Node.Name))
		}
	})
	select {
	case <-ready:
		return nil
	case err := <-ended:
		return err
	}
}

func (g *goroutines) kill() error {
	return errors.New("nodes in one process cannot be killed one by one")
}

func (g *goroutines) lost() <-chan error { return g.losses }

func (g *goroutines) dismiss() error {
	for _, stop := range g.stops {
		stop()
	}
	g.nodes.Wait()
	return errors.Join(g.errs...)
}

// tell tells the first loss. Nobody asks for another.
func tell(losses chan error, err error) {
	select {
	case losses <- err:
	default:
	}
}

// processes run each node in a process of its own, as a cluster does.
type processes struct {
	stderr  io.Writer
	running []*process
	losses  chan error
}

func newProcesses(stderr io.Writer) *processes {
	return &processes{stderr: stderr, losses: make(chan error, 1)}
}

type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer     // the node works until this is closed, be it because its parent is gone
	told   chan struct{} // closed when it was told to end
	exited chan struct{} // closed when it has, and err is how
	err    error
}

// assignment is what a node's process is told, on its standard input: not in its arguments, because it holds the
// cluster's key and the store's password.
type assignment struct {
	Config backplane.Config
	Root   string
}

// NodeCommand is the hidden subcommand that a node's process runs.
const NodeCommand = "demo-node"

// readyLine is what it prints when it can be given tasks.
const readyLine = "ready"

func (p *processes) hire(ctx context.Context, c backplane.Config, root string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, NodeCommand)
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	// When the run is interrupted a node may finish what it is at, as on dismissal.
	cmd.Cancel, cmd.WaitDelay = stdin.Close, 2*patience
	if err := cmd.Start(); err != nil {
		return err
	}
	each := &process{name: c.Node.Name, cmd: cmd, stdin: stdin, told: make(chan struct{}), exited: make(chan struct{})}
	err = json.NewEncoder(stdin).Encode(assignment{Config: c, Root: root})
	line, _ := bufio.NewReader(stdout).ReadString('\n') // whatever keeps us from reading, the line is not there
	go p.attend(ctx, each)                              // ends with the process: see dismiss
	p.running = append(p.running, each)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil || line != readyLine+"\n":
		return fmt.Errorf("node %s did not start: see its messages above", c.Node.Name)
	}
	return nil
}

// attend waits for a process, and tells if it ended by itself.
func (p *processes) attend(ctx context.Context, each *process) {
	each.err = each.cmd.Wait()
	close(each.exited)
	select {
	case <-each.told:
	case <-ctx.Done():
	default:
		tell(p.losses, fmt.Errorf("node %s ended by itself (%v): see its messages above", each.name, each.cmd.ProcessState))
	}
}

func (p *processes) kill() error {
	victim := p.running[0]
	p.running = p.running[1:]
	close(victim.told)
	err := victim.cmd.Process.Kill()
	<-victim.exited // it says "killed", which is the point
	return err
}

func (p *processes) lost() <-chan error { return p.losses }

func (p *processes) dismiss() error {
	for _, each := range p.running {
		close(each.told)
		_ = each.stdin.Close() // closed already, if the run was interrupted
	}
	var errs []error
	for _, each := range p.running {
		<-each.exited
		if each.err != nil && !errors.Is(each.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("node %s: %w", each.name, each.err))
		}
	}
	p.running = nil
	return errors.Join(errs...)
}

// RunNode is the other end: it reads its assignment and works until the input ends.
func RunNode(ctx context.Context, in io.Reader, out io.Writer) error {
	var a assignment
	input := bufio.NewReader(in)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s is started by the demo, with its assignment on standard input: %w", NodeCommand, err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with the process, or with its input
		_, _ = io.Copy(io.Discard, input)
		stop()
	}()
	return runNode(ctx, a.Config, a.Root, func() { fmt.Fprintln(out, readyLine) })
}
