package process

import (
	"context"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errDraining = status.Error(codes.Unavailable, "the plugin is ending")

// enter counts a call in, or refuses it.
func (s *serving) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return errDraining
	}
	s.calls.Add(1)
	return nil
}

// isOurs tells the plugin's services from those that go-plugin adds: they are served to the end.
func isOurs(method string) bool {
	return !strings.HasPrefix(method, "/plugin.") && !strings.HasPrefix(method, "/grpc.")
}

// print puts the real files back. Go-plugin has put pipes into os.Stdout and os.Stderr, of which it sends the contents
// over gRPC: what a program prints just before it exits would be lost there, and that says why.
func (s *serving) print() {
	s.printing.Do(func() {
		if s.stderr != nil { // not when debugging: that is without go-plugin
			os.Stdout, os.Stderr = s.stdout, s.stderr
		}
	})
}

func (s *serving) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	s.print() // the host's first call is a ping
	if isOurs(info.FullMethod) {
		if err := s.enter(); err != nil {
			return nil, err
		}
		defer s.calls.Done()
	}
	return handle(ctx, request)
}

func (s *serving) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if !isOurs(info.FullMethod) {
		// These last as long as the connection, and a graceful stop would wait for them for ever.
		ctx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- handle(service, endless{stream, ctx}) }()
		select {
		case err := <-ended:
			return err
		case <-s.idle:
			return nil // which ends the handler, too
		}
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.calls.Done()
	return handle(service, stream)
}

// endless is a stream with a context that can be ended.
type endless struct {
	grpc.ServerStream
	ctx context.Context
}

func (e endless) Context() context.Context { return e.ctx }
