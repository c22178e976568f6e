package plugin

import (
	"google.golang.org/grpc"

	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
	"github.com/gobackplane/backplane/transports/plugin/internal/service"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// Serve makes a program a plugin: it serves the transports that a factory opens to the host that has started it, and
// returns when that has asked it to end, or is gone. It is all that main does:
//
//	func main() {
//		if err := plugin.Serve(redis.Open); err != nil {
//			fmt.Fprintln(os.Stderr, err)
//			os.Exit(1)
//		}
//	}
//
// The factory is called for every node that the host opens, with its namespace, URL and options. What the program writes
// with slog or log, or prints to standard error, reaches the host's log; standard output is the handshake's.
//
// Started by hand it fails and says what it is for. With BACKPLANE_PLUGIN_DEBUG=127.0.0.1:7000 it serves there, for a host
// with option attach, until it is interrupted.
func Serve(factory transports.Factory) error {
	s := service.New(factory)
	err := process.Serve(func(server *grpc.Server) { pb.RegisterTransportServiceServer(server, s) }, process.ServeOptions{Drain: s.Drain})
	if closing := s.Shutdown(); err == nil {
		err = closing
	}
	return err
}
