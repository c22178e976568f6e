package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"

	"github.com/gobackplane/backplane/backplane"
)

// crew are the nodes at work: processes, or goroutines of this one.
type crew interface {
	// hire starts nodes, all at once, and returns when they can be given tasks.
	hire(ctx context.Context, root string, configs ...backplane.Config) error
	// kill ends the oldest node without a goodbye.
	kill() error
	// lost tells of nodes that ended though nobody told them to.
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

func newGoroutines(most int) *goroutines { return &goroutines{losses: make(chan error, most)} }

func (g *goroutines) hire(ctx context.Context, root string, configs ...backplane.Config) error {
	for _, c := range configs {
		if err := g.hireOne(ctx, root, c); err != nil {
			return err
		}
	}
	return nil
}

func (g *goroutines) hireOne(ctx context.Context, root string, c backplane.Config) error {
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
			g.losses <- fmt.Errorf("%s ended by itself", c.Node.Name)
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

// processes run each node in a process of its own, as a cluster does.
type processes struct {
	stderr  io.Writer
	quiet   bool // they log nothing
	running []*process
	losses  chan error
}

// newProcesses makes a crew that hires so many at most.
func newProcesses(stderr io.Writer, quiet bool, most int) *processes {
	return &processes{stderr: stderr, quiet: quiet, losses: make(chan error, most)}
}

type process struct {
	name   string
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stdin  io.Closer     // the node works until this is closed, be it because its parent is gone
	told   chan struct{} // closed when it was told to end; what becomes of it then is no news
	exited chan struct{} // closed when it has; then these say how
	lost   bool          // by itself
	err    error
}

// assignment is what a node's process is told, on its standard input: not in its arguments, because it holds the
// cluster's key and the store's password.
type assignment struct {
	Node       backplane.NodeConfig
	Cluster    backplane.ClusterConfig
	Transports map[string]backplane.TransportConfig
	Root       string
	Quiet      bool
}

func (a assignment) config() backplane.Config {
	c := backplane.Config{Node: a.Node, Cluster: a.Cluster, Transports: a.Transports}
	if a.Quiet {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// NodeCommand is the hidden subcommand that a node's process runs.
const NodeCommand = "demo-node"

// readyLine is what it prints when it can be given tasks.
const readyLine = "ready"

func (p *processes) hire(ctx context.Context, root string, configs ...backplane.Config) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var started []*process
	for _, c := range configs {
		var each *process
		if each, err = p.start(ctx, self, root, c); err != nil {
			break
		}
		started = append(started, each)
	}
	for _, each := range started {
		if err != nil {
			_ = each.stdin.Close() // they would wait for those that are not there
		}
	}
	for _, each := range started {
		line, _ := each.stdout.ReadString('\n') // whatever keeps us from reading, the line is not there
		go p.attend(ctx, each)                  // ends with the process: see dismiss
		p.running = append(p.running, each)
		if line != readyLine+"\n" && err == nil {
			err = fmt.Errorf("node %s did not start: see its messages above", each.name)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// start starts one process, and gives it its assignment.
func (p *processes) start(ctx context.Context, self, root string, c backplane.Config) (*process, error) {
	cmd := exec.CommandContext(ctx, self, NodeCommand)
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// When the run is interrupted a node may finish what it is at, as on dismissal.
	cmd.Cancel, cmd.WaitDelay = stdin.Close, 2*patience
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// A process that does not read it does not get ready either.
	_ = json.NewEncoder(stdin).Encode(assignment{Node: c.Node, Cluster: c.Cluster, Transports: c.Transports, Root: root, Quiet: p.quiet})
	return &process{
		name: c.Node.Name, cmd: cmd, stdin: stdin, stdout: bufio.NewReader(stdout), told: make(chan struct{}), exited: make(chan struct{}),
	}, nil
}

// attend waits for a process, and tells if it ended by itself.
func (p *processes) attend(ctx context.Context, each *process) {
	each.err = each.cmd.Wait()
	defer close(each.exited)
	select {
	case <-each.told:
	case <-ctx.Done():
	default:
		each.lost = true
		p.losses <- fmt.Errorf("%s ended by itself (%v)", each.name, each.cmd.ProcessState)
	}
}

func (p *processes) kill() error {
	for i, victim := range p.running {
		select {
		case <-victim.exited: // somebody else was faster
			continue
		default:
		}
		p.running = slices.Delete(p.running, i, i+1)
		close(victim.told)
		err := victim.cmd.Process.Kill()
		<-victim.exited
		return err
	}
	return errors.New("there is no node left to kill")
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
		if each.err != nil && !errors.Is(each.err, context.Canceled) && !each.lost {
			errs = append(errs, fmt.Errorf("%s: %w", each.name, each.err))
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
	return runNode(ctx, a.config(), a.Root, func() { fmt.Fprintln(out, readyLine) })
}
