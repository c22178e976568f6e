package process

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"

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
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}, config.DialOptions...)
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, invalid("cannot be dialled: %w", err)
	}
	p := newProcess(config)
	p.conn = conn
	ctx, cancel := context.WithTimeoutCause(ctx, config.StartTimeout, errSlow)
	defer cancel()
	if err := p.ask(ctx, false); err != nil {
		p.die()
		_ = conn.Close() // it never served
		switch {
		case errors.Is(context.Cause(ctx), errSlow):
			err = fault.New(fault.Unavailable, "nobody answers there within %s (start_timeout): does it stand still in a debugger?", config.StartTimeout)
		case ctx.Err() == nil:
			err = fault.New(fault.Unavailable, "nobody serves there: does the plugin run in its debug mode (%s)? %w", debugVar, err)
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
	defer p.die()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for p.conn.GetState() == connectivity.Ready && p.conn.WaitForStateChange(ctx, connectivity.Ready) {
		}
	}()
	select {
	case <-p.stopped:
	case <-lost:
		p.end(&fault.Error{
			Code: fault.Unavailable, Op: "plugin: run", Subject: p.config.Attach, Retryable: true,
			Message: "the connection to the plugin that was attached to is lost",
		})
	}
	cancel()
	<-lost
	_ = p.conn.Close() // nothing is in flight that could be told
}
