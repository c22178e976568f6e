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
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
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

// errSlow tells the start's own bound from the caller's.
var errSlow = errors.New("start timeout")

func (p *Process) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.StartTimeout, errSlow)
	defer cancel()
	err := p.connect(ctx)
	if p.runner.child == nil { // there is nothing to wait for
		p.die()
		p.killClient()
		p.runner.cleanUp()
		return fault.In(err, "plugin: start", p.config.Program)
	}
	if err == nil {
		err = p.greet(ctx)
	}
	if err == nil && !p.runner.program.unchanged() {
		err = fault.New(fault.Invalid, "its file was changed while it was started: what runs is not what was checked")
	}
	if err == nil {
		p.runner.served.Store(true)
	} else {
		p.Kill(err)
	}
	go p.await()
	if err != nil {
		<-p.done
		return p.err
	}
	return nil
}

// connect starts the program and connects to it. Go-plugin's calls know no context: whoever wants them to end kills the
// plugin.
func (p *Process) connect(ctx context.Context) error {
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{protocolVersion: {"backplane": services{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true, // it would come after ours, and win
		RunnerFunc:       p.runner.prepare,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: socketBase()},
		StartTimeout:     2*p.config.StartTimeout + time.Minute, // ours comes first
		SyncStdout:       p.output.writer(),
		SyncStderr:       p.output.writer(),
		// Its own reading of what the plugin logs is off: it panics where a field has another type than it expects.
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
		GRPCDialOptions: append([]grpc.DialOption{
			grpc.WithIdleTimeout(0), // the connection stands as long as the plugin
			grpc.WithDisableServiceConfig(),
		}, p.config.DialOptions...),
	})
	kill := context.AfterFunc(ctx, func() { p.Kill(p.tooLate(ctx, nil)) })
	defer kill()
	client, err := p.client.Client()
	if err != nil {
		if f := (*fault.Error)(nil); errors.As(err, &f) {
			return err // ours, on its way through go-plugin
		}
		if p.runner.dir == "" {
			return fault.New(fault.Invalid, "no folder for its socket can be made: is the temporary folder (TMPDIR) there, and writable? %w", err)
		}
		return fault.New(fault.Unavailable, "could not be started: %w", err)
	}
	p.conn = client.(*plugin.GRPCClient).Conn
	return nil
}

// greet waits for the first answer. A plugin may print its handshake a moment before it listens.
func (p *Process) greet(ctx context.Context) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	var last error
	for {
		err := p.ask(ctx, false)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return p.tooLate(ctx, last)
		case <-p.runner.child.exited:
			return err
		}
	}
}

// tooLate is why a start was given up when its context has ended.
func (p *Process) tooLate(ctx context.Context, last error) error {
	if !errors.Is(context.Cause(ctx), errSlow) {
		return fault.FromContext(ctx)
	}
	what := "printed no handshake"
	if p.runner.greeted.Load() {
		what = "printed its handshake, but did not answer"
	}
	why := "it hangs, or needs longer"
	if last != nil {
		why = last.Error()
	}
	return fault.New(fault.Unavailable, "%s within %s (start_timeout): %s", what, p.config.StartTimeout, why)
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

// Kill ends the plugin and all that it has started, at once. Err will give the reason.
func (p *Process) Kill(reason error) {
	if reason == nil {
		reason = fault.New(fault.Unavailable, "was killed by its host")
	}
	if p.runner == nil {
		p.detach()
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
		p.abandon()
		<-p.done
		return p.err
	case <-patience.C:
	}
	// One that does not know what the end of its input means may know go-plugin's own call, which is abrupt. Go-plugin
	// gives the call no deadline.
	go p.killClient()
	last := time.NewTimer(shutdownGrace)
	defer last.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
	case <-last.C:
	}
	p.Kill(p.runner.deaf())
	<-p.done
	return p.err
}

// abandon ends a stop whose caller's context has ended.
func (p *Process) abandon() {
	p.Kill(fault.New(fault.DeadlineExceeded, "had not ended when the patience of the one who stopped it did, and was killed"))
}

// shutdownGrace is how long go-plugin's own way to the end may take; it kills two seconds after the plugin has answered.
const shutdownGrace = 3 * time.Second

// killClient has go-plugin close what it holds. It returns only when the plugin has ended; a second caller waits for the
// first.
func (p *Process) killClient() { p.killed.Do(p.client.Kill) }

// await is the owner of all that belongs to the process: it waits for its end and clears away.
func (p *Process) await() {
	defer close(p.done)
	<-p.runner.child.exited
	p.die()
	<-p.runner.child.drained
	p.killClient()
	p.runner.cleanUp()
	p.err = p.cause()
}

// cause is why the process ended, in words.
func (p *Process) cause() error {
	how, reason := p.runner.child.ending()
	f := &fault.Error{Code: fault.Unavailable, Op: "plugin: run", Subject: p.config.Program, Retryable: true}
	if !p.runner.served.Load() {
		f.Op = "plugin: start"
	}
	var known *fault.Error
	switch {
	case errors.As(reason, &known):
		f.Code, f.Retryable, f.Err, f.Message = known.Code, known.Retryable, reason, known.Message
		if f.Message == "" {
			f.Message = reason.Error()
		}
	case reason != nil:
		f.Err, f.Message = reason, reason.Error()
	case p.isStopped():
		return nil // as it was asked to, whatever its exit status is
	case !p.runner.served.Load():
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

// socketBase is the folder in which the private one for the socket is made. The path of a socket may have about 100
// bytes, of which go-plugin's names take 38.
func socketBase() string {
	base := os.TempDir()
	if len(base) > 60 && runtime.GOOS != "windows" { // which has no such sockets here
		return "/tmp"
	}
	return base
}
