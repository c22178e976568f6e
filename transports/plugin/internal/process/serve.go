package process

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process/logline"
)

// ServeOptions are what a plugin may set.
type ServeOptions struct {
	Server []grpc.ServerOption // message sizes, interceptors

	// Drain is called once, when the host asks the plugin to end or is gone. New calls are refused by then. It should
	// have those under way finish, streams too: what is left when DrainTimeout is over is broken off.
	Drain        func(ctx context.Context)
	DrainTimeout time.Duration // 0: four fifths of what the host waits for (stop_timeout)
}

// drainTimeout leaves the host some of its patience for what comes after the last call.
func (o *ServeOptions) drainTimeout() time.Duration {
	if o.DrainTimeout > 0 {
		return o.DrainTimeout
	}
	patience, err := time.ParseDuration(os.Getenv(patienceVar))
	if err != nil || patience <= 0 {
		patience = defaultStop
	}
	return patience / 5 * 4
}

// debugVar has a program serve at an address of its own, for whoever attaches.
const debugVar = "BACKPLANE_PLUGIN_DEBUG"

// Serve is what a plugin does: it serves what register registers to the host that has started it, and returns when the
// host has asked it to end, or is gone. The program should end then. It is called once.
//
// What the program logs with slog or log, or prints to its standard error, reaches the host's log; a program that has set
// no handler of its own for slog gets one that writes JSON. Nothing may be printed to standard output before.
//
// Started by hand it returns an error that says what the program is for, and with BACKPLANE_PLUGIN_DEBUG set to an
// address ("127.0.0.1:7000", or "127.0.0.1:0" for a free port) it serves there, for a host with the option attach, until
// SIGINT or SIGTERM.
func Serve(register func(*grpc.Server), options ServeOptions) error {
	options.DrainTimeout = options.drainTimeout()
	s := &serving{options: options, made: make(chan struct{}), asked: make(chan struct{}), idle: make(chan struct{}), over: make(chan struct{})}
	if address := os.Getenv(debugVar); address != "" {
		return s.debug(address, register)
	}
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		return startedByHand()
	}
	s.stdout, s.stderr = os.Stdout, os.Stderr
	if fmt.Sprintf("%T", slog.Default().Handler()) == "*slog.defaultHandler" { // the program has set none of its own
		slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: logline.LevelTrace})))
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	defer signal.Stop(signals)
	var helpers sync.WaitGroup
	helpers.Go(func() {
		select {
		case <-signals:
			s.ask()
		case <-s.over:
		}
	})
	helpers.Go(s.drain)
	if os.Getenv(lifelineVar) == lifelineIn {
		go s.watchHost() // it ends with the process: a read of standard input cannot be broken off
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{protocolVersion: {"backplane": services{register: register}}},
		GRPCServer:       s.server,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	})
	close(s.over)
	helpers.Wait()
	select {
	case <-s.made:
		return nil
	default:
		return fault.New(fault.Internal, "the plugin could not serve: the lines before this one say why")
	}
}

// serving is a plugin at work.
type serving struct {
	options ServeOptions
	grpc    *grpc.Server
	made    chan struct{} // closed when grpc is set
	asked   chan struct{} // closed when the plugin should end
	once    sync.Once
	idle    chan struct{} // closed when it should, and no call is under way
	over    chan struct{} // closed when nothing is served any more

	stdout, stderr *os.File
	printing       sync.Once // restores them

	mu       sync.Mutex
	draining bool
	calls    sync.WaitGroup // under way, but for those of go-plugin itself
}

// server is go-plugin's factory.
func (s *serving) server(options []grpc.ServerOption) *grpc.Server {
	s.grpc = grpc.NewServer(append(append(options, s.options.Server...),
		grpc.ChainUnaryInterceptor(s.unary), grpc.ChainStreamInterceptor(s.stream))...)
	close(s.made)
	return s.grpc
}

// watchHost waits for the end of standard input, whose other end the host holds and never writes to. The host may be
// gone by then, with nobody left to end a plugin that hangs as it ends: so this does.
func (s *serving) watchHost() {
	_, _ = io.Copy(io.Discard, os.Stdin) // an error means the same: nobody is there
	s.ask()
	time.AfterFunc(s.options.DrainTimeout+lastResort, func() {
		slog.Error("the plugin did not end, and exits")
		os.Exit(1)
	})
}

// lastResort is how long a plugin may take after its last call before it ends itself.
const lastResort = 5 * time.Second

func (s *serving) ask() { s.once.Do(func() { close(s.asked) }) }

// drain lets the calls finish when the plugin should end, and then stops the server, whatever is still under way.
func (s *serving) drain() {
	select {
	case <-s.over:
		return
	case <-s.asked:
	}
	select {
	case <-s.over:
		return
	case <-s.made:
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.options.DrainTimeout)
	defer cancel()
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		if s.options.Drain != nil {
			s.options.Drain(ctx)
		}
		s.calls.Wait()
		close(s.idle)
		s.grpc.GracefulStop() // returns when the last answers are sent
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		slog.Warn("calls were still under way when the plugin had to end", "drain_timeout", s.options.DrainTimeout)
	}
	s.grpc.Stop()
}

// startedByHand tells a person what to do with the program.
func startedByHand() error {
	name := "/path/to/plugin"
	if path, err := os.Executable(); err == nil {
		name = path
	}
	return fault.New(fault.Invalid, `this program is a plugin of Backplane: a node starts it, it does nothing by itself. Name it in the node's config:

    transports:
      mine:  { kind: plugin, program: %q }

To run it in a debugger, start it with %s=127.0.0.1:0 in its environment, and give the node what it prints:

    transports:
      mine:  { kind: plugin, attach: "127.0.0.1:PORT" }
`, filepath.ToSlash(name), debugVar)
}

// announce prints where a plugin in its debug mode listens.
func announce(w io.Writer, address string) {
	fmt.Fprintf(w, "attach: %q    # this plugin serves anybody on this machine: for debugging only\n", address)
}
