// Package process is the boundary between a node and a plugin, which is a program of its own: how it is started, proved,
// reached, watched, ended and replaced, and what it does in its turn. What the two say to each other then is not known
// here.
//
//	p, err := process.Start(ctx, process.Config{Program: "/opt/plugins/postgres"})
//	client := pb.NewTransportClient(p.Conn())
//	select {
//	case <-p.Done(): // p.Err() says why, with the last lines that the plugin printed
//	…
//
// and in the plugin:
//
//	err := process.Serve(func(s *grpc.Server) { pb.RegisterTransportServer(s, t) }, process.ServeOptions{})
//
// It stands on go-plugin, whose handshake every language can speak (docs/plugin-process.md says how), and guards against
// what go-plugin 1.8 does not: its calls have no deadline, it reads what a plugin logs in a way that can panic,
// it leaves plugins, sockets and folders behind. So a [Process] has its own runner, its own reader of the output, and
// its own way to the end.
package process

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gobackplane/backplane/fault"
)

// Process is a running plugin and the one connection to it.
type Process struct {
	config Config
	conn   *grpc.ClientConn
	output *output
	since  time.Time

	client *plugin.Client // nil when attached
	runner *run           // nil when attached
	killed sync.Once      // go-plugin's Kill

	stopped chan struct{} // closed when Stop was called
	stop    sync.Once
	life    context.Context // ends when the plugin does, a little before done
	die     context.CancelFunc

	done chan struct{} // closed when nothing is left
	err  error         // why it ended; read it after done
}

func newProcess(config Config) *Process {
	p := &Process{
		config: config, output: newOutput(config.Logger, config.short()), since: time.Now(),
		stopped: make(chan struct{}), done: make(chan struct{}),
	}
	p.life, p.die = context.WithCancel(context.Background())
	return p
}

// Start starts the plugin, or attaches to one, and returns when it has answered its first ping. ctx bounds the start,
// and no more than that; so does Config.StartTimeout.
//
// A program or config that cannot work is Invalid; a plugin that ends, hangs or does not answer is Unavailable. The
// message names the program, what happened, what can be done about it, and the last lines that it printed.
func Start(ctx context.Context, config Config) (*Process, error) {
	config, err := config.checked()
	if err != nil {
		return nil, err
	}
	if config.Attach != "" {
		return attach(ctx, config)
	}
	program, err := find(&config)
	if err != nil {
		return nil, err
	}
	return launch(ctx, config, program)
}

// launch starts a program that was found and checked.
func launch(ctx context.Context, config Config, program *program) (*Process, error) {
	defer program.close()
	p := newProcess(config)
	p.runner = &run{config: &p.config, program: program, output: p.output}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Conn is the connection to the plugin. It closes with the process.
func (p *Process) Conn() *grpc.ClientConn { return p.conn }

// Done is closed when the process has ended and nothing of it is left.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is the process ID; 0 when attached.
func (p *Process) PID() int {
	if p.runner == nil {
		return 0
	}
	return p.runner.child.pid()
}

// Err says why the process ended: nil while it runs and after a Stop that it obeyed.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Ping asks the plugin whether it serves. Give ctx a deadline: a frozen plugin does not answer.
func (p *Process) Ping(ctx context.Context) error {
	return fault.In(p.ask(ctx, true), "plugin: ping", p.config.name())
}

// ask asks the health service; patient: while the connection is made anew, too.
func (p *Process) ask(ctx context.Context, patient bool) error {
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)() // one that has ended will not answer
	answer, err := grpc_health_v1.NewHealthClient(p.conn).Check(call,
		&grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName}, grpc.WaitForReady(patient))
	switch {
	case err == nil && answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING:
		return nil
	case err == nil:
		return fault.New(fault.Unavailable, "says of itself that it is %s", answer.GetStatus())
	case ctx.Err() != nil:
		return fault.FromContext(ctx)
	case p.life.Err() != nil:
		return fault.New(fault.Unavailable, "has ended")
	}
	return fault.New(fault.Unavailable, "does not answer grpc.health.v1.Health for the service %q: %w", plugin.GRPCServiceName, err)
}
