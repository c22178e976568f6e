package rpc

import (
	"context"
	"io"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Driver carries frames between nodes. Calls, membership, authentication and chunking stand above it, in [Peer].
// [FromPubSub] makes one from any pubsub.Driver; a transport may do better.
//
// Frames of one sender to one address arrive in the order they were sent, at most once each, or not at all.
// Methods may be called concurrently. A context that ends makes them return promptly; after the transport's Close each
// answers Closed.
type Driver interface {
	// Listen returns when every frame sent to the address afterwards through the same server will be delivered.
	// deliver must not block, is not called concurrently for one Listen, and owns the frames. A Gap frame (see Frame)
	// tells of a reconnect. After Close of what it returns has returned, deliver is not called again.
	Listen(ctx context.Context, address Address, deliver func([]Frame)) (io.Closer, error)

	// Send sends frames and answers one error for each, in order; the error beside the slice means that nothing is
	// known of any. NoReceiver when the transport knows that nobody listens there. Payloads are not retained.
	Send(ctx context.Context, frames []Frame) ([]error, error)
}

// Backend is what a transport offers for RPC.
type Backend struct {
	Driver
	Capabilities Capabilities
}

// Capabilities says what an RPC transport can do, and within which bounds.
type Capabilities struct {
	MaxFrame   int           // largest payload of a frame, in bytes; at least 64 KiB
	NoReceiver bool          // Send knows when nobody listens
	Silence    time.Duration // how long a dead link can go unnoticed; 0: no link
}

// Address is where frames go: Broadcast, or the inbox of one node incarnation. It is a pub/sub subject of one or two
// tokens under the cluster's RPC prefix.
type Address string

// Broadcast is the address at which every node listens.
const Broadcast Address = "all"

// Inbox is the address of one node incarnation.
func Inbox(incarnation string) Address { return Address("node." + incarnation) }

// Frame is one message between nodes.
type Frame struct {
	To      Address
	Payload []byte // not nil, unless Gap
	Gap     bool   // nothing was sent: frames may be missing here, because the link was lost and is back
}

func noReceiver(to Address) error {
	return &fault.Error{Code: fault.NoReceiver, Op: "rpc: send", Subject: string(to), Message: "nobody listens there"}
}
