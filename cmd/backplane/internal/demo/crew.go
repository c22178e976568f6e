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
	// dismiss lets all nodes finish and waits for them.
	dismiss() error
}

// goroutines run the nodes in this process.
type goroutines struct {
	nodes sync.WaitGroup
	stops []context.CancelFunc
	mu    sync.Mutex
	errs  []error
}

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

func (g *goroutines) dismiss() error {
	for _, stop := range g.stops {
		stop()
	}
	g.nodes.Wait()
	return errors.Join(g.errs...)
}

// processes run each node in a process of its own, as a cluster does.
type processes struct {
	stderr  io.Writer
	running []*process
}

type process struct {
	cmd   *exec.Cmd
	stdin io.Closer // the node works until this is closed, be it because its parent is gone
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
	if err := cmd.Start(); err != nil {
		return err
	}
	p.running = append(p.running, &process{cmd, stdin})
	if err := json.NewEncoder(stdin).Encode(assignment{Config: c, Root: root}); err != nil {
		return err
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != readyLine+"\n" {
		return fmt.Errorf("node %s did not start: see its messages above", c.Node.Name)
	}
	return nil
}

func (p *processes) kill() error {
	victim := p.running[0]
	p.running = p.running[1:]
	if err := victim.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = victim.cmd.Wait() // it says "killed", which is the point
	return nil
}

func (p *processes) dismiss() error {
	var errs []error
	for _, each := range p.running {
		errs = append(errs, each.stdin.Close())
	}
	for _, each := range p.running {
		errs = append(errs, each.cmd.Wait())
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
