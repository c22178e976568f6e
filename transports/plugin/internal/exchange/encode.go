package exchange

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/gobackplane/backplane/fault"
)

// buffers are for messages on their way to an outbox.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// keptBuffer is the largest buffer that is kept for the next message.
const keptBuffer = 64 << 10

// Post encodes a message and hands it to an outbox. One that is too large to be sent is TooLarge, and nothing of it is.
func Post(o *Outbox, m proto.Message, mayWrite bool) error {
	if size := proto.Size(m); size > MaxAssembled {
		return fault.New(fault.TooLarge, "the call has %d bytes with all that belongs to it, a plugin takes %d; split it", size, MaxAssembled)
	}
	buffer := buffers.Get().(*[]byte)
	encoded, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*buffer)[:0], m)
	if err != nil {
		buffers.Put(buffer)
		return fault.New(fault.Internal, "encode: %w", err)
	}
	o.Put(encoded, mayWrite)
	if cap(encoded) <= keptBuffer {
		*buffer = encoded
		buffers.Put(buffer)
	}
	return nil
}
