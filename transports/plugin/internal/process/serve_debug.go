package process

import (
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gobackplane/backplane/fault"
)

// debug serves at an address on this machine, unproved and unencrypted, until a signal.
func (s *serving) debug(address string, register func(*grpc.Server)) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	} else if host, _, err := net.SplitHostPort(address); err != nil || (host != "localhost" && !net.ParseIP(host).IsLoopback()) {
		return fault.New(fault.Invalid, "%s=%q: must be an address on this machine, as 127.0.0.1:0 or unix:/path", debugVar, address)
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return fault.New(fault.Unavailable, "%s: %w", debugVar, err)
	}
	where := listener.Addr().String()
	if network == "unix" {
		where = "unix:" + where
	}
	server := s.server(nil)
	status := health.NewServer()
	status.SetServingStatus(plugin.GRPCServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, status)
	register(server)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.drain()
	}()
	go func() {
		select {
		case <-signals:
			s.ask()
		case <-s.over:
		}
	}()
	announce(os.Stdout, where)
	err = server.Serve(listener)
	close(s.over)
	<-ended
	return err
}
