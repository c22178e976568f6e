// Package exchange is how messages travel on a bidirectional stream between host and plugin, the same in both directions:
// what many callers have to say is written together, and what is large in parts.
//
// It relies on a property of protobuf: encoded messages put one after the other are the encoding of one message that has
// what all of them have. So everybody encodes a message with one request, answer or event in it, on a goroutine of his own,
// and what is written at one time is those put together.
package exchange

import (
	"bytes"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gobackplane/backplane/fault"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// Limits of the protocol; transport.proto has them.
const (
	MaxMessage       = 4 << 20   // of one message, as gRPC has it by default
	MaxPart          = 1 << 20   // of what a message may hold before it is sent in parts, and of each of them
	MaxAssembled     = 256 << 20 // of the parts together
	MaxRequests      = 16 << 10  // unanswered, of one exchange
	MaxSubscriptions = 64 << 10  // open, of one exchange
)

// raw makes a message of what is encoded already, so that gRPC's own codec writes it as it is: a message keeps what it does
// not know, and what it knows is not there.
func raw[M any, P interface {
	*M
	proto.Message
}](encoded []byte) P {
	m := P(new(M))
	m.ProtoReflect().SetUnknown(protoreflect.RawFields(encoded))
	return m
}

// Requests makes a message for the plugin of what is encoded.
func Requests(encoded []byte) *pb.ExchangeRequest { return raw[pb.ExchangeRequest](encoded) }

// Responses makes a message for the host of what is encoded.
func Responses(encoded []byte) *pb.ExchangeResponse { return raw[pb.ExchangeResponse](encoded) }

// Assembly puts the parts of messages together again. The zero Assembly is ready.
type Assembly struct {
	parts [][]byte
	size  int
}

// Add takes a part in. With the last one it decodes the whole into m; before that it answers false.
func (a *Assembly) Add(p *pb.Part, m proto.Message) (bool, error) {
	a.parts, a.size = append(a.parts, p.GetData()), a.size+len(p.GetData())
	if a.size > MaxAssembled {
		*a = Assembly{}
		return false, fault.New(fault.TooLarge, "a message in parts has more than %d bytes", MaxAssembled)
	}
	if !p.GetLast() {
		return false, nil
	}
	whole := bytes.Join(a.parts, nil)
	*a = Assembly{}
	if err := proto.Unmarshal(whole, m); err != nil {
		return false, fault.New(fault.Corrupt, "the parts of a message do not make one: %w", err)
	}
	return true, nil
}
