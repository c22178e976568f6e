package plugin

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

type duration = time.Duration

// Config says which program to start, and within which bounds. Only Program (or Attach) is needed.
type Config struct {
	Program string            // a path, or a name on the PATH
	Args    []string          // its arguments
	Env     map[string]string // variables for it; it gets few others
	Dir     string            // the folder that it works in; "": the host's
	SHA256  string            // of the program's file, in hex; "": not checked

	StartTimeout time.Duration // from the start to the first answer; 0: 10 s
	StopTimeout  time.Duration // how long it may take to finish what it does when it is stopped; 0: 5 s
	MaxMemory    int64         // bytes that it may hold; 0: as many as it likes. Linux only

	Attach string // address of a plugin that was started for debugging, in place of all of the above

	Logger *slog.Logger // gets what the plugin prints, too; nil: slog.Default()
}

func (c Config) name() string {
	if c.Attach != "" {
		return c.Attach
	}
	return c.Program
}

// Program is a plugin that runs, and is started again when it ends. Nodes that are opened in it share one process.
type Program struct {
	supervisor *process.Supervisor

	mu      sync.Mutex
	process *process.Process // nil while none runs
	changed chan struct{}    // closed when process changes
}

// Start starts a plugin, and returns when it has answered. ctx bounds that alone. Stop must be called.
//
// A program that cannot be started is Invalid; one that does not answer is Unavailable.
func Start(ctx context.Context, c Config) (*Program, error) {
	p := &Program{changed: make(chan struct{})}
	supervisor, err := process.Supervise(ctx, process.Supervision{
		Config: process.Config{
			Program: c.Program, Args: c.Args, Env: c.Env, Dir: c.Dir, SHA256: c.SHA256,
			StartTimeout: c.StartTimeout, StopTimeout: c.StopTimeout, MaxMemory: c.MaxMemory,
			Attach: c.Attach, Logger: c.Logger,
		},
		Started: func(_ context.Context, now *process.Process) error { p.runs(now); return nil },
		Ended:   func(*process.Process, error) { p.runs(nil) },
	})
	if err != nil {
		return nil, err
	}
	p.supervisor = supervisor
	return p, nil
}

func (p *Program) runs(now *process.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = now
	close(p.changed)
	p.changed = make(chan struct{})
}

// Open opens a node in the plugin. Of the settings Namespace, URL, Options and Logger are used, and those three are the
// plugin's. A node whose settings and namespace are those of another is on the same store.
func (p *Program) Open(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	t, err := p.open(ctx, s, func() error { return nil })
	if err != nil {
		return nil, located(err, "plugin: open", s.Namespace)
	}
	return t, nil
}

func (p *Program) open(ctx context.Context, s transports.Settings, release func() error) (transports.Transport, error) {
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		_ = release() // why there is no node matters more
		return nil, err
	}
	n, err := openNode(ctx, p, s, release)
	if err != nil {
		return nil, err // not n: a nil *node is not a nil Transport
	}
	return n, nil
}

// Conn is the connection to the process that runs; it waits for one.
func (p *Program) Conn(ctx context.Context) (*grpc.ClientConn, error) {
	for {
		p.mu.Lock()
		now, changed := p.process, p.changed
		p.mu.Unlock()
		if now != nil {
			return now.Conn(), nil
		}
		select {
		case <-changed:
		case <-p.supervisor.Done():
			_, err := p.supervisor.Process()
			return nil, err
		case <-ctx.Done():
			return nil, fault.FromContext(ctx)
		}
	}
}

// Down is why no process runs; nil while one does.
func (p *Program) Down() error {
	_, err := p.supervisor.Process()
	return err
}

// PID is the ID of the process that runs; 0 when there is none.
func (p *Program) PID() int { return p.supervisor.State().PID }

// Stop stops the plugin, with up to Config.StopTimeout for what it does. Its nodes should be closed before. It may be
// called twice.
func (p *Program) Stop() error { return p.supervisor.Stop(context.Background()) }
