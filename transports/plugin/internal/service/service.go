// Package service is the plugin's end of the protocol: it opens transports for a host, and works on what comes for them.
package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// Service implements the protocol's service with the transports that a factory opens.
type Service struct {
	pb.UnimplementedTransportServiceServer

	factory transports.Factory
	ending  chan struct{} // closed when exchanges should end

	mu      sync.Mutex
	nodes   map[string]*node // nil while one is being opened
	closed  bool
	serving sync.WaitGroup // exchanges
}

// node is an opened transport.
type node struct {
	id        string
	transport transports.Transport
}

// maxNodeID is the longest ID of a node.
const maxNodeID = 64

// New makes a service. Shutdown must be called when it serves no more.
func New(factory transports.Factory) *Service {
	return &Service{factory: factory, ending: make(chan struct{}), nodes: map[string]*node{}}
}

// Open opens a transport with the settings of a host.
func (s *Service) Open(ctx context.Context, r *pb.OpenRequest) (*pb.OpenResponse, error) {
	t, err := s.open(ctx, r)
	if err != nil {
		return &pb.OpenResponse{Fault: translate.ToFault(fault.In(err, "plugin: open", r.GetNamespace()))}, nil
	}
	return &pb.OpenResponse{Kind: t.Kind(), Capabilities: translate.ToCapabilities(translate.OfferOf(t))}, nil
}

func (s *Service) open(ctx context.Context, r *pb.OpenRequest) (t transports.Transport, err error) {
	settings, err := settingsOf(r)
	if err != nil {
		return nil, err
	}
	settings.Logger = slog.Default()
	if err := s.reserve(r.GetNode()); err != nil {
		return nil, err
	}
	defer func() {
		if problem := recover(); problem != nil {
			t, err = nil, s.panicked("open", problem)
		}
		s.settle(r.GetNode(), t)
	}()
	if t, err = s.factory(ctx, settings); err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fault.New(fault.Internal, "the plugin's factory returned neither a transport nor an error")
	}
	return t, nil
}

// settingsOf are the settings that a request has.
func settingsOf(r *pb.OpenRequest) (transports.Settings, error) {
	s := transports.Settings{Namespace: r.GetNamespace(), URL: r.GetUrl()}
	if id := r.GetNode(); id == "" || len(id) > maxNodeID {
		return s, fault.New(fault.Invalid, "the node's ID has %d bytes; 1 to %d are expected", len(id), maxNodeID)
	}
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return s, err
	}
	if r.GetOptions() == "" {
		return s, nil
	}
	// Numbers stay what they are: whole ones must not become floats.
	d := json.NewDecoder(bytes.NewReader([]byte(r.GetOptions())))
	d.UseNumber()
	if err := d.Decode(&s.Options); err != nil {
		return s, fault.New(fault.Invalid, "the options are not a JSON object") // the text may be secret
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s, fault.New(fault.Invalid, "something follows the JSON object of the options")
	}
	s.Options = numbered(s.Options).(map[string]any)
	return s, nil
}

// numbered replaces JSON's numbers by those that a config file brings.
func numbered(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, v := range value {
			value[name] = numbered(v)
		}
	case []any:
		for i, v := range value {
			value[i] = numbered(v)
		}
	case json.Number:
		if n, err := value.Int64(); err == nil {
			return int(n)
		}
		if f, err := value.Float64(); err == nil {
			return f
		}
		return value.String()
	}
	return value
}

func (s *Service) reserve(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fault.New(fault.Closed, "the plugin is ending")
	}
	if _, taken := s.nodes[id]; taken {
		return fault.New(fault.Conflict, "node %q is open already; draw another ID", id)
	}
	s.nodes[id] = nil
	return nil
}

// settle enters what was opened; nil for nothing.
func (s *Service) settle(id string, t transports.Transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t == nil:
		delete(s.nodes, id)
	case s.closed:
		delete(s.nodes, id)
		go s.close(t) // the host is gone, and nobody waits
	default:
		s.nodes[id] = &node{id: id, transport: t}
	}
}

// find is an open node.
func (s *Service) find(id string) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookUp(id)
}

// serve is find for an exchange, which serving waits for from then on.
func (s *Service) serve(id string) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fault.New(fault.Closed, "the plugin is ending")
	}
	n, err := s.lookUp(id)
	if err == nil {
		s.serving.Add(1)
	}
	return n, err
}

func (s *Service) lookUp(id string) (*node, error) {
	if n := s.nodes[id]; n != nil {
		return n, nil
	}
	return nil, fault.New(fault.Closed, "the plugin has no open node %.80q", id)
}

// Health asks a node's store.
func (s *Service) Health(ctx context.Context, r *pb.HealthRequest) (*pb.HealthResponse, error) {
	err := s.with(r.GetNode(), "health", func(t transports.Transport) error { return t.Health(ctx) })
	return &pb.HealthResponse{Fault: translate.ToFault(err)}, nil
}

// Erase removes what a node's namespace keeps.
func (s *Service) Erase(ctx context.Context, r *pb.EraseRequest) (*pb.EraseResponse, error) {
	err := s.with(r.GetNode(), "erase", func(t transports.Transport) error {
		if e, ok := t.(transports.Eraser); ok {
			return e.Erase(ctx)
		}
		return fault.New(fault.Unsupported, "the %s transport cannot erase what it keeps", t.Kind())
	})
	return &pb.EraseResponse{Fault: translate.ToFault(err)}, nil
}

func (s *Service) with(id, what string, do func(transports.Transport) error) (err error) {
	n, err := s.find(id)
	if err != nil {
		return err
	}
	defer func() {
		if problem := recover(); problem != nil {
			err = s.panicked(what, problem)
		}
	}()
	return do(n.transport)
}

// Close closes a node. The exchanges for it are the host's to end.
func (s *Service) Close(_ context.Context, r *pb.CloseRequest) (*pb.CloseResponse, error) {
	s.mu.Lock()
	n := s.nodes[r.GetNode()]
	if n != nil {
		delete(s.nodes, n.id)
	}
	s.mu.Unlock()
	if n == nil {
		return &pb.CloseResponse{}, nil
	}
	return &pb.CloseResponse{Fault: translate.ToFault(s.close(n.transport))}, nil
}

func (s *Service) close(t transports.Transport) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = s.panicked("close", problem)
		}
	}()
	return t.Close()
}

// Drain ends the exchanges: what is under way on them is answered, what comes is not. It returns when that is done, or
// when ctx ends.
func (s *Service) Drain(ctx context.Context) {
	s.end()
	done := make(chan struct{})
	go func() { s.serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (s *Service) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.ending)
	}
}

// Shutdown ends the exchanges, closes all nodes that are still open, and opens no more.
func (s *Service) Shutdown() error {
	s.end()
	s.mu.Lock()
	open := s.nodes
	s.nodes = map[string]*node{}
	s.mu.Unlock()
	var all sync.WaitGroup
	errs := make(chan error, len(open))
	for _, n := range open {
		if n != nil {
			all.Go(func() { errs <- s.close(n.transport) })
		}
	}
	all.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// panicked is the fault of a transport that panicked; where, is logged here.
func (s *Service) panicked(what string, problem any) error {
	slog.Error("the transport panicked", "call", what, "panic", problem, "stack", string(debug.Stack()))
	return fault.New(fault.Internal, "the transport panicked in %s: %v; the plugin's log has the stack", what, problem)
}

// statusOf is an error that ends an exchange.
func statusOf(err error) error {
	code := codes.InvalidArgument
	switch fault.CodeOf(err) {
	case fault.Closed:
		code = codes.NotFound
	case fault.TooLarge, fault.Exhausted:
		code = codes.ResourceExhausted
	}
	return status.Error(code, err.Error())
}
