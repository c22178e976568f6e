package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// session is a node as one process of the plugin knows it. It ends with the process, or with the first of its exchanges
// that does, and another takes its place.
type session struct {
	id     string
	kind   string // of the transport in the plugin
	offer  translate.Offer
	client pb.TransportServiceClient
	lines  [lanes]*line

	cancel context.CancelFunc
	work   sync.WaitGroup

	once  sync.Once
	over  chan struct{} // closed when an exchange has ended, or end was called
	cause error
}

// openSession opens a node in a plugin. ctx bounds that, and nothing else.
func openSession(ctx context.Context, conn *grpc.ClientConn, settings transports.Settings) (*session, error) {
	options := []byte(nil)
	if len(settings.Options) > 0 {
		var err error
		if options, err = json.Marshal(settings.Options); err != nil {
			return nil, fault.New(fault.Invalid, "the options for the plugin cannot be written as JSON: %w", err)
		}
	}
	s := &session{id: uuid.NewString(), client: pb.NewTransportServiceClient(conn), over: make(chan struct{})}
	response, err := s.client.Open(ctx, &pb.OpenRequest{
		Node: s.id, Namespace: settings.Namespace, Url: settings.URL, Options: string(options),
	})
	if err != nil {
		s.close(time.Second) // it may be open all the same
		return nil, statusFault(ctx, err)
	}
	if err := translate.FromFault(response.GetFault()); err != nil {
		return nil, err
	}
	s.kind = response.GetKind()
	if s.offer, err = translate.FromCapabilities(response.GetCapabilities()); err == nil {
		err = s.connect(context.WithoutCancel(ctx))
	}
	if err != nil {
		s.close(time.Second)
		return nil, err
	}
	return s, nil
}

// connect begins the exchanges.
func (s *session) connect(ctx context.Context) error {
	ctx, s.cancel = context.WithCancel(ctx)
	for i := range s.lines {
		stream, err := s.client.Exchange(ctx)
		if err != nil {
			s.end(err)
			s.work.Wait()
			return statusFault(ctx, err)
		}
		s.lines[i] = newLine(stream, s.id, &s.work, s.end)
	}
	return nil
}

// end ends the exchanges, and all calls on them. It does not wait.
func (s *session) end(cause error) {
	s.once.Do(func() {
		s.cause = cause
		close(s.over)
		s.cancel()
	})
}

// close closes the node in the plugin, if it can be reached.
func (s *session) close(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	response, err := s.client.Close(ctx, &pb.CloseRequest{Node: s.id})
	if err != nil {
		return nil // a plugin that has gone has closed it
	}
	return translate.FromFault(response.GetFault())
}

// statusFault is the fault of a call that gRPC could not make.
func statusFault(ctx context.Context, err error) error {
	if err := fault.FromContext(ctx); err != nil {
		return err
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.DeadlineExceeded:
		return fault.New(fault.DeadlineExceeded, "%s", s.Message())
	case codes.Unimplemented:
		return fault.New(fault.Unsupported, "the plugin does not speak backplane.transport.v1: %s", s.Message())
	}
	return fault.New(fault.Unavailable, "the plugin cannot be reached: %s", s.Message())
}
