package process_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// bePlugin is what this binary does as a plugin. Each mode is one way to be good or bad.
func bePlugin(mode []string) {
	switch mode[0] {
	case "good":
		serve(process.ServeOptions{})
	case "hasty": // drains in no time
		serve(process.ServeOptions{DrainTimeout: time.Millisecond})
	case "draining":
		serve(process.ServeOptions{Drain: func(context.Context) { close(drained) }})
	case "says": // and nothing else
		fmt.Println(strings.Join(mode[1:], " "))
		forever()
	case "chatty":
		fmt.Println("Welcome to the plugin!")
		serve(process.ServeOptions{})
	case "long": // a first line without end
		fmt.Print(strings.Repeat("x", 1<<20))
		forever()
	case "exits":
		fmt.Fprintln(os.Stderr, "[ERROR] cannot find my database")
		os.Exit(3)
	case "exits at once":
	case "hangs":
		fmt.Fprintln(os.Stderr, "waiting for a database")
		forever()
	case "closes its output":
		_ = os.Stdout.Close()
		forever()
	case "mute": // greets and never answers
		greet()
		forever()
	case "greets and exits":
		greet()
		os.Exit(4)
	case "of another version":
		goPlugin(plugin.HandshakeConfig{ProtocolVersion: 2, MagicCookieKey: "BACKPLANE_PLUGIN", MagicCookieValue: os.Getenv("BACKPLANE_PLUGIN")}, plugin.DefaultGRPCServer)
	case "of another host":
		goPlugin(plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "TF_PLUGIN_MAGIC_COOKIE", MagicCookieValue: "d602bf8f"}, plugin.DefaultGRPCServer)
	case "net/rpc":
		goPlugin(plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BACKPLANE_PLUGIN", MagicCookieValue: os.Getenv("BACKPLANE_PLUGIN")}, nil)
	case "plain go-plugin": // ends by go-plugin's own call alone
		goPlugin(plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BACKPLANE_PLUGIN", MagicCookieValue: os.Getenv("BACKPLANE_PLUGIN")}, plugin.DefaultGRPCServer)
	case "deaf": // takes every request to end, and stays
		_ = os.Unsetenv("BACKPLANE_PLUGIN_LIFELINE")
		serve(process.ServeOptions{})
		forever()
	case "hangs as it ends":
		serve(process.ServeOptions{DrainTimeout: time.Millisecond})
		forever()
	case "with a child":
		child := exec.Command(os.Args[0], "plugin", "hangs")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr // it keeps the pipes open
		if err := child.Start(); err != nil {
			panic(err)
		}
		childPID = child.Process.Pid
		serve(process.ServeOptions{})
	default:
		panic("no such mode: " + mode[0])
	}
}

var (
	childPID int
	drained  = make(chan struct{})
)

func forever() { time.Sleep(time.Hour) }

func serve(options process.ServeOptions) {
	if err := process.Serve(register, options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// goPlugin is a plugin that was made without our package.
func goPlugin(h plugin.HandshakeConfig, server func([]grpc.ServerOption) *grpc.Server) {
	plugin.Serve(&plugin.ServeConfig{HandshakeConfig: h, GRPCServer: server, Plugins: plugin.PluginSet{"backplane": plain{}}})
}

type plain struct{ plugin.NetRPCUnsupportedPlugin }

func (plain) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	register(s)
	return nil
}

func (plain) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

// greet prints a good handshake of a server that does not answer.
func greet() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	if _, err := net.Listen("unix", path); err != nil {
		panic(err)
	}
	fmt.Printf("1|1|unix|%s|grpc|%s\n", path, base64.RawStdEncoding.EncodeToString(cert))
}

// register offers test.Echo/Say, which answers what it was told, after obeying it.
func register(s *grpc.Server) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Say", Handler: say}},
	}, struct{}{})
}

func say(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	var in wrapperspb.StringValue
	if err := decode(&in); err != nil {
		return nil, err
	}
	handle := func(ctx context.Context, _ any) (any, error) { return wrapperspb.String(obey(ctx, in.GetValue())), nil }
	if intercept == nil {
		return handle(ctx, &in)
	}
	return intercept(ctx, &in, &grpc.UnaryServerInfo{FullMethod: "/test.Echo/Say"}, handle)
}

var kept [][]byte

func obey(ctx context.Context, order string) string {
	order, argument, _ := strings.Cut(order, " ")
	switch order {
	case "exit":
		fmt.Fprintln(rawStderr, "told to exit")
		os.Exit(7)
	case "panic":
		go panic("the plugin is broken")
		<-ctx.Done()
	case "late": // answers, but not before the caller has gone
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond)
	case "until-drained":
		fmt.Fprintln(rawStderr, "under way")
		<-drained
		return "finished"
	case "never":
		fmt.Fprintln(rawStderr, "under way")
		forever()
	case "size":
		n, _ := strconv.Atoi(argument)
		return strings.Repeat("x", n)
	case "child":
		return strconv.Itoa(childPID)
	case "environment":
		return strings.Join(os.Environ(), "\x00")
	case "folder":
		dir, _ := os.Getwd()
		return dir
	case "files": // that it has open, by number and what they are
		var all []string
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			target, _ := os.Readlink("/proc/self/fd/" + e.Name())
			all = append(all, e.Name()+" "+target)
		}
		return strings.Join(all, "\n")
	case "grow": // without end, by 4 MiB at a time
		for {
			b := make([]byte, 4<<20)
			for i := range b {
				b[i] = 1
			}
			kept = append(kept, b)
			time.Sleep(time.Millisecond)
		}
	case "flood":
		n, _ := strconv.Atoi(argument)
		for i := range n {
			fmt.Fprintf(rawStderr, "flood %d %s\n", i, strings.Repeat("x", 100))
		}
		fmt.Fprintln(rawStderr, "the end of the flood")
	case "stderr":
		line, _ := strconv.Unquote(argument) // calls carry UTF-8 alone
		fmt.Fprintln(rawStderr, line)
	case "print":
		fmt.Fprintln(os.Stderr, argument)
		fmt.Println(argument)
	case "print-and-exit":
		fmt.Fprintln(os.Stderr, argument)
		os.Exit(7)
	case "log":
		slog.Warn("told by slog", "answer", 42, "level", "odd", "list", []int{1, 2})
	}
	return order
}

// rawStderr is the real one, before go-plugin puts a pipe there.
var rawStderr = os.Stderr

// tell has the plugin's test service called.
func tell(ctx context.Context, p *process.Process, order string) (string, error) {
	var out wrapperspb.StringValue
	err := p.Conn().Invoke(ctx, "/test.Echo/Say", wrapperspb.String(order), &out)
	return out.GetValue(), err
}
