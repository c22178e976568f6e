package process

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/gobackplane/backplane/fault"
)

// attach connects to a plugin that runs in its debug mode. Nobody is proved there, and nothing is encrypted, so it has
// to be on this machine.
func attach(ctx context.Context, config Config) (*Process, error) {
	invalid := func(format string, args ...any) error {
		return fault.In(fault.New(fault.Invalid, format, args...), "plugin: attach", config.Attach)
	}
	target := config.Attach
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return nil, invalid("must be unix: and an absolute path")
		}
	} else {
		host, _, err := net.SplitHostPort(target)
		if err != nil {
			return nil, invalid("is no address: write what the plugin printed in its debug mode, as 127.0.0.1:7000 or unix:/path")
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, invalid("is not on this machine: attaching is neither encrypted nor authenticated, and for debugging only")
		}
		target = "passthrough:///" + target
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
	}, config.DialOptions...)
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, invalid("cannot be dialled: %w", err)
	}
	p := &Process{
		config: config, conn: conn, output: newOutput(config.Logger, config.short()), since: time.Now(),
		stopped: make(chan struct{}), done: make(chan struct{}),
	}
	ctx, cancel := context.WithTimeoutCause(ctx, config.StartTimeout, errSlow)
	defer cancel()
	if err := p.Ping(ctx); err != nil {
		_ = conn.Close() // it never served
		if ctx.Err() != nil {
			err = ended(ctx)
		}
		if err == errSlow {
			err = fault.New(fault.Unavailable, "nobody answers there within %s: is the plugin running in its debug mode (%s)?", config.StartTimeout, debugVar)
		}
		return nil, fault.In(err, "plugin: attach", config.Attach)
	}
	config.Logger.Warn("attached to a plugin: the connection is not authenticated", pluginKey, config.Attach)
	go p.attached()
	return p, nil
}

// attached ends the Process when its connection does. There are no pings: a plugin in a debugger may stand still.
func (p *Process) attached() {
	defer close(p.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for state := p.conn.GetState(); state == connectivity.Ready && p.conn.WaitForStateChange(ctx, state); state = p.conn.GetState() {
		}
	}()
	select {
	case <-p.stopped:
	case <-lost:
		if !p.isStopped() {
			p.err = fault.In(fault.New(fault.Unavailable, "the connection to the attached plugin is lost"), "plugin: run", p.config.Attach)
		}
	}
	cancel()
	<-lost
	_ = p.conn.Close() // nothing is in flight that could be told
}

// detach ends the connection and leaves the plugin.
func (p *Process) detach(error) { p.stop.Do(func() { close(p.stopped) }) }
