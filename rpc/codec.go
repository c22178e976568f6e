package rpc

import (
	"encoding/json"

	"github.com/gobackplane/backplane/fault"
)

// Codec turns values into payloads and back: those of every method, of whatever type. All nodes of a cluster must use the
// same. It must be safe for concurrent use.
type Codec interface {
	Encode(value any) ([]byte, error)
	Decode(data []byte, into any) error // must not retain data
}

// JSON is the codec of encoding/json.
func JSON() Codec { return jsonCodec{} }

type jsonCodec struct{}

func (jsonCodec) Encode(value any) ([]byte, error) { return json.Marshal(value) }

func (jsonCodec) Decode(data []byte, into any) error { return json.Unmarshal(data, into) }

func encode(p *Peer, method string, request any) ([]byte, error) {
	payload, err := p.options.Codec.Encode(request)
	if err != nil {
		return nil, fault.In(fault.New(fault.Invalid, "the request cannot be encoded: %w", err), "rpc: call", method)
	}
	return payload, nil
}

func decode[Res any](p *Peer, method string, payload []byte) (Res, error) {
	var value Res
	if err := p.options.Codec.Decode(payload, &value); err != nil {
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
