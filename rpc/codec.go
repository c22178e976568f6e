package rpc

import (
	"encoding/json"

	"github.com/gobackplane/backplane/fault"
)

// Codec turns values into payloads and back. All nodes of a cluster must use the same.
type Codec interface {
	Marshal(value any) ([]byte, error)
	Unmarshal(payload []byte, value any) error
}

// JSON is the default codec.
type JSON struct{}

// Marshal writes a value as JSON.
func (JSON) Marshal(value any) ([]byte, error) { return json.Marshal(value) }

// Unmarshal reads JSON into a value.
func (JSON) Unmarshal(payload []byte, value any) error { return json.Unmarshal(payload, value) }

func encode(p *Peer, method string, request any) ([]byte, error) {
	payload, err := p.options.Codec.Marshal(request)
	if err != nil {
		return nil, fault.In(fault.New(fault.Invalid, "the request cannot be encoded: %w", err), "rpc: call", method)
	}
	return payload, nil
}

func decode[Res any](p *Peer, method string, payload []byte) (Res, error) {
	var value Res
	if err := p.options.Codec.Unmarshal(payload, &value); err != nil {
		return value, fault.In(fault.New(fault.Corrupt, "the answer cannot be decoded as %T: %w", value, err), "rpc: call", method)
	}
	return value, nil
}

func result[Res any](p *Peer, method string, reply Reply) Result[Res] {
	r := Result[Res]{Member: reply.Member, Err: reply.Err, Latency: reply.Latency}
	if reply.Err == nil && reply.Member.Incarnation != "" {
		r.Value, r.Err = decode[Res](p, method, reply.Value)
	}
	return r
}
