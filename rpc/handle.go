package rpc

import (
	"context"
	"maps"

	"github.com/gobackplane/backplane/fault"
)

// Handle registers a method with typed values, which travel in the peer's codec (JSON unless Options.Codec says
// otherwise). Nothing can be called that is not registered, each method by its own name.
//
// A method may be registered before Start or at any time after it; the other nodes are told. A name that is taken,
// empty, over 128 bytes, with spaces or beginning with "$", and a nil handler, are Invalid. A request that cannot be
// decoded is answered with Corrupt, and the handler does not see it.
func Handle[Req, Res any](p *Peer, name string, handler func(ctx context.Context, request Req) (Res, error), options ...HandleOption) error {
	if handler == nil {
		return p.Handle(name, nil, options...)
	}
	return p.Handle(name, func(ctx context.Context, in *Incoming) ([]byte, error) {
		var request Req
		if err := p.options.Codec.Decode(in.Payload, &request); err != nil {
			return nil, fault.New(fault.Corrupt, "the request cannot be decoded as %T: %w", request, err)
		}
		response, err := handler(ctx, request)
		if err != nil {
			return nil, err
		}
		payload, err := p.options.Codec.Encode(response)
		if err != nil {
			return nil, fault.New(fault.Internal, "the answer cannot be encoded: %w", err)
		}
		return payload, nil
	}, options...)
}

// HandleOption changes how a method is served.
type HandleOption func(*method)

// Concurrency is how many calls of the method may run on this node at once; one more is Exhausted. Less than 1 is 1.
// Default: Limits.Concurrency.
func Concurrency(n int) HandleOption {
	return func(m *method) { m.limit = int64(max(n, 1)) }
}

// Handle registers a method that takes and answers bytes. See the function [Handle].
func (p *Peer) Handle(name string, handler Handler, options ...HandleOption) error {
	const op = "rpc: handle"
	if err := checkMethod(name, false); err != nil {
		return fault.In(err, op, name)
	}
	if handler == nil {
		return fault.In(fault.New(fault.Invalid, "the handler is nil"), op, name)
	}
	m := &method{name: name, limit: int64(p.options.Limits.Concurrency)}
	m.handler = wrap(m.inTime(handler), p.options.ServerMiddleware)
	for _, o := range options {
		o(m)
	}
	return fault.In(p.register(m), op, name)
}

// register adds a method, and has it announced.
func (p *Peer) register(m *method) error {
	p.registering.Lock()
	defer p.registering.Unlock()
	if p.draining.Load() {
		return errClosed
	}
	old := *p.methods.Load()
	if old[m.name] != nil {
		return fault.New(fault.Invalid, "the method is registered twice on this node")
	}
	methods := maps.Clone(old)
	methods[m.name] = m
	names := announced(methods)
	a := p.members.announcement()
	a.methods = names
	if err := checkAnnouncement(a); err != nil {
		return err
	}
	p.methods.Store(&methods)
	p.members.describe(func(self *Member) { self.Methods = names })
	p.announceSoon()
	return nil
}

// SetMetadata replaces what this node says of itself beside its methods; the other nodes are told. At most 48 KiB,
// together with the methods' names.
func (p *Peer) SetMetadata(metadata map[string]string) error {
	const op = "rpc: set metadata"
	p.registering.Lock()
	defer p.registering.Unlock()
	if p.draining.Load() {
		return fault.In(errClosed, op, "")
	}
	metadata = maps.Clone(metadata)
	a := p.members.announcement()
	a.metadata = metadata
	if err := checkAnnouncement(a); err != nil {
		return fault.In(err, op, "")
	}
	p.members.describe(func(self *Member) { self.Metadata = metadata })
	p.announceSoon()
	return nil
}

// maxAnnouncement leaves room for the envelope in the smallest frame that a transport may have, 64 KiB.
const maxAnnouncement = 48 << 10

func checkAnnouncement(a announcement) error {
	if size := len(a.body()); size > maxAnnouncement {
		return fault.New(fault.TooLarge, "the node's metadata and the names of its methods have %d bytes together, %d are allowed", size, maxAnnouncement)
	}
	return nil
}
