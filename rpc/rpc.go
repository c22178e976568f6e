// Package rpc lets the nodes of a cluster call each other: by method, to any node that serves it, to one, or to all.
//
//	peer, err := rpc.New(backend, rpc.Options{Name: "web-1", Keys: keys})
//	err = rpc.Handle(peer, "greet", func(ctx context.Context, name string) (string, error) { return "Hello " + name, nil })
//	err = peer.Start(ctx)
//	defer peer.Close()
//	greeting, err := rpc.Call[string](ctx, peer, rpc.Any(), "greet", "Ada")
//
// # Promises
//
// A call runs a method at most once on each node, unless it is marked [Repeatable]. It ends with its context, or after
// 10 s if that has no deadline; the handler's context ends at the same moment, and as soon as the caller gives up. What
// is left of the deadline travels, not the time of day: clocks do not matter.
//
// The nodes that should answer are those in the membership when the call begins, and each of them is accounted for: by
// its value, by the fault of its handler (marked Remote), or by why it did not answer: NodeGone when it left or died
// meanwhile. Partial answers always come with the error. A method that nobody serves is Unimplemented at once; a node
// that runs as many of a method as it may is Exhausted at once; a handler that panics is Internal.
//
// # Cost
//
// Calling one node is two messages, calling all N is one and N answers; a call to this node itself never leaves the
// process, though it passes the same middleware and limits. A payload that does not fit a frame (at most 256 KiB) goes in
// pieces, with at most 4 MiB on their way to one receiver.
//
// # Members
//
// A node announces itself when it starts, sends a heartbeat every second and says goodbye when it is closed; one that was
// not heard for five seconds is dead. A node that does not hear its own heartbeat for as long takes itself for dead: its
// calls are Unavailable until it hears itself again. This is best effort, as in every system without a quorum: two halves
// of a partition each hear themselves. What must be exclusive takes a lock.
//
// # Security
//
// Frames are signed with the cluster's keys and numbered; what is forged, replayed or meant for another node is refused,
// counted and logged at a bounded rate.
package rpc
