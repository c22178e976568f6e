package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// postOn sends frames from a node.
type postOn struct {
	e *Env
	*rpc.Backend
}

func post(e *Env, node transports.Transport) postOn { return postOn{e, transports.RPCOf(node)} }

// inbox is an address that nobody else has.
func inbox() rpc.Address { return rpc.Inbox(strings.ReplaceAll(uuid.NewString(), "-", "")) }

// send sends frames in one batch.
func (p postOn) send(frames ...rpc.Frame) []error {
	p.e.Helper()
	errs, err := p.Send(p.e.Context(), frames)
	require.NoError(p.e, err, "send")
	require.Len(p.e, errs, len(frames), "one answer for each frame")
	return errs
}

// mustSend sends texts to an address, one by one.
func (p postOn) mustSend(to rpc.Address, texts ...string) {
	p.e.Helper()
	for _, text := range texts {
		require.NoErrorf(p.e, p.send(rpc.Frame{To: to, Payload: []byte(text)})[0], "send to %s", to)
	}
}

// trySend sends where nobody may listen.
func (p postOn) trySend(to rpc.Address, text string) {
	p.e.Helper()
	_ = p.send(rpc.Frame{To: to, Payload: []byte(text)})
}

// box is a listener with what came.
type box struct {
	e      *Env
	to     rpc.Address
	frames chan rpc.Frame
	closer io.Closer
}

func listen(e *Env, node transports.Transport, to rpc.Address) *box {
	e.Helper()
	b := &box{e: e, to: to, frames: make(chan rpc.Frame, 1<<12)}
	closer, err := transports.RPCOf(node).Listen(e.Context(), to, func(frames []rpc.Frame) {
		for _, f := range frames {
			select {
			case b.frames <- f:
			default: // full: the case has long failed
			}
		}
	})
	require.NoErrorf(e, err, "listen at %s", to)
	require.NotNil(e, closer)
	e.Cleanup(func() { _ = closer.Close() })
	b.closer = closer
	return b
}

// next is the next frame that was sent.
func (b *box) next(what string, args ...any) rpc.Frame {
	b.e.Helper()
	for {
		f := Await(b.e, b.frames, what, args...)
		if !f.Gap {
			require.Equal(b.e, b.to, f.To, "the address of a frame")
			return f
		}
	}
}

// mustGet requires that these are the next frames, in this order and with nothing between.
func (b *box) mustGet(texts ...string) {
	b.e.Helper()
	for i, text := range texts {
		f := b.next("frame %d of %d at %s, %.40q", i+1, len(texts), b.to, text)
		require.Equalf(b.e, text, string(f.Payload), "frame %d of %d at %s", i+1, len(texts), b.to)
	}
}

// What stands above.

// startPeer starts a peer that is set up with methods, and closes it before its node is.
func startPeer(e *Env, node transports.Transport, name string, setup func(p *rpc.Peer), change ...func(*rpc.Options)) *rpc.Peer {
	e.Helper()
	key := sha256.Sum256([]byte(e.namespace))
	o := rpc.Options{
		Name: name, Keys: []string{base64.StdEncoding.EncodeToString(key[:])}, Logger: quiet(),
		// Known to each other soon, and not dead because the machine is busy.
		Heartbeat: e.Timing.Beat, DeadAfter: 20 * e.Timing.Beat, Drain: e.Timing.Beat,
	}
	for _, f := range change {
		f(&o)
	}
	p, err := rpc.New(transports.RPCOf(node), o)
	require.NoError(e, err)
	e.Cleanup(func() { _ = p.Close() })
	if setup != nil {
		setup(p)
	}
	require.NoError(e, p.Start(e.Context()))
	return p
}

// naming serves "name", which answers the node's name, and "echo".
func naming(e *Env, name string) func(p *rpc.Peer) {
	return func(p *rpc.Peer) {
		require.NoError(e, rpc.Handle(p, "name", func(context.Context, struct{}) (string, error) { return name, nil }))
		require.NoError(e, p.Handle("echo", func(_ context.Context, in *rpc.Incoming) ([]byte, error) { return in.Payload, nil }))
	}
}

// handling serves one method more.
func handling(e *Env, method string, handler rpc.Handler, options ...rpc.HandleOption) func(p *rpc.Peer) {
	return func(p *rpc.Peer) { require.NoError(e, p.Handle(method, handler, options...)) }
}

// meet waits until the peers know each other, and nobody else.
func meet(e *Env, peers ...*rpc.Peer) {
	e.Helper()
	for _, p := range peers {
		require.NoError(e, p.Ready(e.Within(e.Timing.Wait)), "the membership is complete")
		e.Eventually(func() bool { return len(p.Members()) == len(peers) }, "%s knows %d members", p.Self().Name, len(peers))
	}
}

// cluster starts n peers on nodes of their own, named node-0 and so on, who know each other. setup may be nil.
func cluster(e *Env, n int, setup func(i int, p *rpc.Peer), change ...func(*rpc.Options)) []*rpc.Peer {
	e.Helper()
	peers := make([]*rpc.Peer, n)
	for i := range peers {
		node := e.Node
		if i > 0 {
			node = e.Open()
		}
		name := fmt.Sprint("node-", i)
		peers[i] = startPeer(e, node, name, func(p *rpc.Peer) {
			naming(e, name)(p)
			if setup != nil {
				setup(i, p)
			}
		}, change...)
	}
	meet(e, peers...)
	return peers
}

func at(p *rpc.Peer) rpc.Target { return rpc.Node(p.Self().Incarnation) }

// nameOf asks for the name of the node that answers.
func nameOf(ctx context.Context, p *rpc.Peer, to rpc.Target, options ...rpc.CallOption) (string, error) {
	return rpc.Call[string](ctx, p, to, "name", struct{}{}, options...)
}

// mustSee waits for an event of the membership.
func mustSee(e *Env, events <-chan rpc.Event, kind rpc.EventKind, incarnation string) {
	e.Helper()
	for {
		event := Await(e, events, "the event %s of %s", kind, incarnation)
		if event.Kind == kind && event.Member.Incarnation == incarnation {
			return
		}
	}
}

// watching gives the events of a peer's membership.
func watching(e *Env, p *rpc.Peer) <-chan rpc.Event {
	events := make(chan rpc.Event, 4096)
	ctx, cancel := context.WithCancel(e.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range p.Watch(ctx) {
			events <- event
		}
	}()
	e.Cleanup(func() { cancel(); <-done })
	return events
}
