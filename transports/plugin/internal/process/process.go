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
// It stands on go-plugin, whose handshake every language can speak (docs/plugin-process.md says how), and guards
// against what go-plugin 1.8 does not: its calls have no deadline, it reads what a plugin logs in a way that can panic,
// it leaves plugins, sockets and folders behind. So a [Process] has its own runner, its own reader of the output, and
// its own way to the end.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
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

	client  *plugin.Client // nil when attached
	runner  *run           // nil when attached
	killed  sync.Once      // go-plugin's Kill
	stopped chan struct{}  // closed when Stop was called
	stop    sync.Once

	done chan struct{}
	err  error // why it ended; read it after done
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
	defer program.close()

	p := &Process{
		config: config, output: newOutput(config.Logger, config.short()), since: time.Now(),
		stopped: make(chan struct{}), done: make(chan struct{}),
	}
	p.runner = &run{config: &p.config, program: program, output: p.output}
	return p, p.start(ctx)
}

var errSlow = errors.New("the plugin was too slow")

func (p *Process) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.StartTimeout, errSlow)
	defer cancel()
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{protocolVersion: {"backplane": services{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		RunnerFunc:       p.runner.prepare,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: socketBase()},
		StartTimeout:     2*p.config.StartTimeout + time.Minute, // ours comes first
		SyncStdout:       p.output.writer(),
		SyncStderr:       p.output.writer(),
		// Its own reading of the plugin's log is off: it panics where a field has another type than it expects.
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
		GRPCDialOptions: append([]grpc.DialOption{
			grpc.WithIdleTimeout(0), // the connection stands as long as the plugin
			grpc.WithDisableServiceConfig(),
		}, p.config.DialOptions...),
	})

	// Go-plugin's calls know no context: whoever wants them to end kills the plugin.
	connected := make(chan error, 1)
	go func() {
		client, err := p.client.Client()
		if err == nil {
			p.conn = client.(*plugin.GRPCClient).Conn
		}
		connected <- err
	}()
	var err error
	select {
	case err = <-connected:
	case <-ctx.Done():
		p.runner.kill(ended(ctx))
		err = <-connected
	}
	if err == nil {
		if err = p.Ping(ctx); err != nil && ctx.Err() != nil {
			p.runner.kill(ended(ctx))
		}
	}
	if err == nil && !p.runner.program.unchanged() {
		err = fault.New(fault.Invalid, "its file was changed while it was started: what runs is not what was checked")
	}
	if p.runner.child == nil { // it was never started: nothing to wait for
		p.runner.cleanUp()
		if err == nil {
			err = errors.New("no process")
		}
		return fault.In(err, "plugin: start", p.config.Program)
	}
	if err != nil {
		p.runner.kill(err)
	}
	go p.await()
	if err != nil {
		<-p.done
		return p.err
	}
	if p.config.MaxMemory > 0 {
		go p.watchMemory()
	}
	return nil
}

// ended is why a start was given up.
func ended(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errSlow) {
		return errSlow
	}
	return fault.FromContext(ctx)
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
	answer, err := grpc_health_v1.NewHealthClient(p.conn).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName}, grpc.WaitForReady(true))
	if err != nil {
		if ctx.Err() != nil {
			return fault.In(fault.FromContext(ctx), "plugin: ping", p.config.name())
		}
		return fault.In(fault.New(fault.Unavailable, "does not answer grpc.health.v1.Health for the service %q: %w", plugin.GRPCServiceName, err), "plugin: ping", p.config.name())
	}
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fault.In(fault.New(fault.Unavailable, "says of itself that it is %s", answer.GetStatus()), "plugin: ping", p.config.name())
	}
	return nil
}

// Kill ends the plugin and all that it has started, at once. Err will give the reason.
func (p *Process) Kill(reason error) {
	if p.runner == nil {
		p.detach(reason)
		return
	}
	p.runner.kill(reason)
}

// Stop asks the plugin to finish what it does and to end, kills it when it has not within Config.StopTimeout (or when
// ctx ends), and returns when nothing is left of it. The error says that it had to be killed. A plugin that is attached
// to is left running.
func (p *Process) Stop(ctx context.Context) error {
	p.stop.Do(func() { close(p.stopped) })
	if p.runner == nil {
		p.detach(nil)
		<-p.done
		return nil
	}
	p.runner.child.release()
	patience := time.NewTimer(p.config.StopTimeout)
	defer patience.Stop()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	case <-patience.C:
		// One that does not know what the end of its input means may know go-plugin's own call, which is abrupt.
		go p.killClient()
		last := time.NewTimer(shutdownGrace)
		defer last.Stop()
		select {
		case <-p.done:
			return p.err
		case <-ctx.Done():
		case <-last.C:
		}
	}
	p.runner.kill(errDeaf)
	<-p.done
	return p.err
}

var errDeaf = errors.New("it did not end when asked to")

// shutdownGrace is how long a plugin may take to end after go-plugin's shutdown call.
const shutdownGrace = 2 * time.Second

// killClient has go-plugin close what it holds. It returns only when the plugin has ended.
func (p *Process) killClient() { p.killed.Do(p.client.Kill) }

// await is the owner of all that belongs to the process: it waits for its end and clears away.
func (p *Process) await() {
	defer close(p.done)
	<-p.runner.child.exited
	<-p.runner.child.drained
	p.killClient()
	p.runner.cleanUp()
	p.err = p.cause()
}

// cause is why the process ended, in words.
func (p *Process) cause() error {
	how, reason := p.runner.child.ending()
	f := &fault.Error{Code: fault.Unavailable, Op: "plugin: run", Subject: p.config.Program, Retryable: true}
	if p.conn == nil {
		f.Op = "plugin: start"
	}
	var known *fault.Error
	switch {
	case errors.Is(reason, errSlow):
		f.Op = "plugin: start"
		what := "printed no handshake"
		if p.runner.greeted.Load() {
			what = "printed its handshake and then did not answer"
		}
		f.Message = fmt.Sprintf("%s within %s (start_timeout): it hangs, or needs longer", what, p.config.StartTimeout)
	case errors.Is(reason, errDeaf):
		f.Code, f.Retryable = fault.DeadlineExceeded, false
		f.Message = fmt.Sprintf("did not end within %s of being asked to (stop_timeout), and was killed: it must end when its standard input does", p.config.StopTimeout)
	case errors.As(reason, &known):
		f.Code, f.Retryable, f.Err = known.Code, known.Retryable, reason
		f.Message = known.Message
		if f.Message == "" {
			f.Message = reason.Error()
		}
	case reason != nil:
		f.Err, f.Message = reason, reason.Error()
	case p.isStopped():
		return nil // whatever its exit status is
	case p.conn == nil:
		f.Message = fmt.Sprintf("ended before it served (%s)", how)
		if strings.HasSuffix(how, "exit status 0") {
			f.Message += ": is it a Backplane plugin?"
		}
	default:
		f.Message = fmt.Sprintf("ended by itself after %s (%s)", time.Since(p.since).Round(time.Millisecond), how)
		if strings.Contains(how, "killed") {
			f.Message += ": somebody killed it, perhaps the system for want of memory"
		}
	}
	f.Message += said(p.output.lines())
	return f
}

func (p *Process) isStopped() bool {
	select {
	case <-p.stopped:
		return true
	default:
		return false
	}
}

// said shows the last lines of a plugin in an error.
func said(lines []string) string {
	if len(lines) == 0 {
		return "; it printed nothing"
	}
	return "; its last lines:\n\t" + strings.Join(lines, "\n\t")
}

// services stands for what the plugin offers where go-plugin wants to know; the plugin's own end registers it.
type services struct {
	plugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server)
}

func (s services) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	s.register(server)
	return nil
}

func (services) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.ErrUnsupported // nothing is dispensed: Conn is what callers use
}

var _ runner.Runner = (*run)(nil)

// socketBase is the folder in which the private one for the socket is made. The path of a socket may have about 100
// bytes, of which go-plugin's names take 38.
func socketBase() string {
	if base := os.TempDir(); len(base) <= 60 {
		return base
	}
	return "/tmp"
}
