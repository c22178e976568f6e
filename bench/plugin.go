package main

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
	"github.com/gobackplane/backplane/transports/plugin"
)

// pluginMode is set in a child process that is to be a plugin.
const pluginMode = "BENCH_PLUGIN"

// servePlugin serves and does not return, in such a child.
func servePlugin() {
	switch os.Getenv(pluginMode) {
	default:
		return
	case "memory":
		if err := plugin.Serve(openSource); err != nil {
			fail(err)
		}
	case "bare":
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig: bareHandshake, Plugins: goplugin.PluginSet{"bare": &bare{}}, GRPCServer: goplugin.DefaultGRPCServer,
			Logger: hclog.NewNullLogger(),
		})
	}
	os.Exit(0)
}

// Subjects of openSource.
const (
	sourceOrder   = "bench.order"
	sourceSubject = "bench.subject"
)

// openSource opens a memory in which a message on sourceOrder, with a number, brings so many messages on sourceSubject: for
// those who measure what comes out of a plugin, and do not want to send it there first.
func openSource(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	t, err := memory.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	_, err = t.PubSub().Subscribe(ctx, pubsub.Filter{Subject: sourceOrder}, func(events []pubsub.Event) {
		for _, e := range events {
			n, _ := strconv.Atoi(string(e.Message.Payload))
			for range n {
				_, _ = t.PubSub().Publish(context.Background(), []pubsub.Message{{Subject: sourceSubject, Payload: payload128, Sender: "bench", Seq: 1, SubjectSeq: 1}})
			}
		}
	})
	return t, err
}

// startPlugin starts our plugin.
func (e *env) startPlugin(pinned bool) (*plugin.Program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := plugin.Start(e.ctx, plugin.Config{
		Program: self, Env: map[string]string{pluginMode: "memory"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { p.Stop() })
	if pinned {
		if _, err := pin(p.PID()); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// openPlugin opens a node in a namespace of its own.
func (e *env) openPlugin(p *plugin.Program) (transports.Transport, error) {
	t, err := p.Open(e.ctx, transports.Settings{Namespace: "bench-" + strconv.FormatInt(time.Now().UnixNano(), 36)})
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { t.Close() })
	return t, nil
}

// bare is a plugin that has nothing but go-plugin and gRPC: a unary echo, and a stream of messages.
type bare struct {
	goplugin.NetRPCUnsupportedPlugin
}

var bareHandshake = goplugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BENCH_BARE", MagicCookieValue: "1"}

const (
	bareEcho   = "/bench.Bare/Echo"
	bareStream = "/bench.Bare/Stream"
)

// GRPCServer serves Echo and Stream.
func (*bare) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Bare", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			m := &wrapperspb.BytesValue{}
			return m, decode(m)
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(&wrapperspb.BytesValue{}); err != nil {
				return err
			}
			for {
				if err := stream.SendMsg(&wrapperspb.BytesValue{Value: payload128}); err != nil {
					return err
				}
			}
		}}},
	}, nil)
	return nil
}

// GRPCClient is the connection.
func (*bare) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// startBare starts the bare plugin.
func (e *env) startBare(pinned bool) (*grpc.ClientConn, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), pluginMode+"=bare")
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: bareHandshake, Plugins: goplugin.PluginSet{"bare": &bare{}}, Cmd: cmd, AutoMTLS: true,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
	})
	e.cleanup(client.Kill)
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	if pinned {
		if _, err := pin(cmd.Process.Pid); err != nil {
			return nil, err
		}
	}
	conn, err := protocol.Dispense("bare")
	if err != nil {
		return nil, err
	}
	return conn.(*grpc.ClientConn), nil
}
