package process

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gobackplane/backplane/fault"
)

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
	identity, certificate, err := hostIdentity()
	if err != nil {
		return fault.New(fault.Internal, "no certificate can be made: %w", err)
	}
	p.runner.certificate = certificate
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{protocolVersion: {"backplane": services{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		TLSConfig:        identity,
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
			grpc.WithConnectParams(reconnect),
			grpc.WithChainStreamInterceptor(withoutBroker),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)), // go-plugin takes 2 GiB
		}, p.config.DialOptions...),
	})
	stop := context.AfterFunc(ctx, func() { p.Kill(p.tooLate(ctx, nil)) })
	defer stop()
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

// withoutBroker keeps go-plugin from opening the stream by which a plugin announces further servers: none is used, and each
// announcement would cost the host a goroutine for five seconds, however many there are.
func withoutBroker(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	if method == "/plugin.GRPCBroker/StartStream" {
		return nil, status.Error(codes.Unimplemented, "the broker is not used")
	}
	return open(ctx, desc, conn, method, options...)
}

// maxMessage is the largest that is received, as gRPC has it by default; Config.DialOptions may say otherwise.
const maxMessage = 4 << 20

// reconnect is quick, because the other end is on this machine: a plugin that printed its handshake a moment before it
// listened is found at once.
var reconnect = grpc.ConnectParams{
	Backoff:           grpcbackoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 20 * time.Second,
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
