package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// What the contract says of RPC.
const (
	clauseAddress      Clause = "frames go to those who listen at their address, and to nobody else"
	clauseBroadcast    Clause = "a frame to all goes to every node, once"
	clauseFrameKept    Clause = "a frame's payload arrives unchanged, up to the largest that is declared"
	clauseFrameOwn     Clause = "payloads given are not kept; frames delivered belong to the listener"
	clauseFrameAlone   Clause = "each frame of a batch has an answer of its own"
	clauseFrameOrder   Clause = "frames of one sender to one address arrive in the order they were sent, at most once each"
	clauseListen       Clause = "what is sent after Listen has returned is delivered"
	clauseListenOne    Clause = "deliver is never called concurrently for one Listen"
	clauseListenClosed Clause = "after Close of a listener has returned, deliver is not called again"
	clauseNoReceiver   Clause = "where declared, sending where nobody listens is NoReceiver"
	clauseFrameGap     Clause = "a reconnect is told as a Gap, and frames come again"
)

// What stands above the driver of RPC, and counts on it.
const (
	clauseTargets    Clause = "a call goes to any node that serves it, to one, or to all"
	clauseReplies    Clause = "replies go to the caller's inbox and answer its own call alone"
	clauseFaults     Clause = "a handler's fault arrives with its code, marked Remote; a panic is Internal"
	clauseRefusals   Clause = "a method that nobody serves is Unimplemented at once, a full node Exhausted at once"
	clauseDeadlines  Clause = "what is left of the deadline travels, and cancelling the caller cancels the handler"
	clauseCast       Clause = "a cast is answered by nobody"
	clauseAnswers    Clause = "answers: first, first OK, quorum, all, or a stream; partial ones come with the error"
	clauseGone       Clause = "a node that leaves or dies completes its slot with NodeGone"
	clauseMembers    Clause = "members join, announce what they serve, and leave or die"
	clauseFenced     Clause = "a node that does not hear itself answers Unavailable, until it does again"
	clauseLargeCalls Clause = "large payloads go in pieces and arrive whole"
	clauseAuth       Clause = "frames of those without the cluster's key are not believed"
)

var rpcClauses = []Clause{
	clauseAddress, clauseBroadcast, clauseFrameKept, clauseFrameOwn, clauseFrameAlone, clauseFrameOrder, clauseListen, clauseListenOne,
	clauseListenClosed, clauseNoReceiver, clauseFrameGap,
	clauseTargets, clauseReplies, clauseFaults, clauseRefusals, clauseDeadlines, clauseCast, clauseAnswers, clauseGone, clauseMembers,
	clauseFenced, clauseLargeCalls, clauseAuth,
}

func rpcCases() []Case {
	return append(append(needing(NeedsRPC, []Case{
		{Name: "rpc/frame/goes-to-its-address-alone", Clause: clauseAddress, Run: addressAlone},
		{Name: "rpc/frame/addresses-that-look-alike-are-different", Clause: clauseAddress, Run: nearAddresses},
		{Name: "rpc/frame/every-listener-at-an-address-gets-it", Clause: clauseAddress, Run: sharedAddress},
		{Name: "rpc/frame/to-all-reaches-every-node-once", Clause: clauseBroadcast, Run: broadcastOnce},
		{Name: "rpc/frame/every-payload-survives", Clause: clauseFrameKept, Run: framePayloads},
		{Name: "rpc/frame/the-largest-and-not-one-byte-more", Clause: clauseFrameKept, Run: frameLargest},
		{Name: "rpc/frame/what-is-given-is-not-kept", Clause: clauseFrameOwn, Run: frameNotKept},
		{Name: "rpc/frame/what-is-delivered-is-shared-with-nobody", Clause: clauseFrameOwn, Run: frameNotShared},
		{Name: "rpc/frame/a-batch-goes-to-many-addresses", Clause: clauseFrameAlone, Run: frameBatch},
		{Name: "rpc/frame/a-refused-one-leaves-the-others", Clause: clauseFrameAlone, Run: frameRefused},
		{Name: "rpc/order/one-senders-calls", Clause: clauseFrameOrder, Run: frameOrder},
		{Name: "rpc/order/within-a-batch", Clause: clauseFrameOrder, Run: frameBatchOrder},
		{Name: "rpc/order/under-many-senders", Clause: clauseFrameOrder, Run: frameOrderUnderMany},
		{Name: "rpc/listen/is-a-barrier", Clause: clauseListen, Run: listenBarrier},
		{Name: "rpc/listen/many-addresses", Clause: clauseListen, Run: listenMany},
		{Name: "rpc/listen/deliver-is-called-one-at-a-time", Clause: clauseListenOne, Run: listenOneAtATime},
		{Name: "rpc/listen/a-slow-one-holds-up-nobody", Clause: clauseSlow, Run: slowListener},
		{Name: "rpc/listen/nothing-comes-after-close", Clause: clauseListenClosed, Run: listenQuiet},
		{Name: "rpc/listen/close-twice-and-again", Clause: clauseListenClosed, Run: listenCloseTwice},
	}), needing(NeedsNoReceiver, []Case{
		{Name: "rpc/receiver/nobody-there-is-told", Clause: clauseNoReceiver, Run: noReceiver},
		{Name: "rpc/receiver/nobody-there-any-more-is-told", Clause: clauseNoReceiver, Run: noReceiverAnyMore},
		{Name: "rpc/receiver/somebody-there-is-no-error", Clause: clauseNoReceiver, Run: someReceiver},
	})...), rpcStackCases()...)
}

func addressAlone(e *Env) {
	there := e.Open()
	a, b := listen(e, e.Node, inbox()), listen(e, there, inbox())
	all := listen(e, there, rpc.Broadcast)
	for _, from := range []postOn{post(e, e.Node), post(e, there)} {
		for i := range 10 {
			from.mustSend(a.to, fmt.Sprint("a", i))
			from.mustSend(b.to, fmt.Sprint("b", i))
			from.mustSend(rpc.Broadcast, fmt.Sprint("all", i))
		}
		a.mustGet(texts("a", 10)...)
		b.mustGet(texts("b", 10)...)
		all.mustGet(texts("all", 10)...)
	}
}

func nearAddresses(e *Env) {
	there := e.Open()
	right := listen(e, there, rpc.Inbox("abc"))
	all := listen(e, there, rpc.Broadcast)
	from := post(e, e.Node)
	for range 2 {
		for _, wrong := range []rpc.Address{
			rpc.Inbox("ab"), rpc.Inbox("abcd"), rpc.Inbox("ABC"), rpc.Inbox("aabc"), "node", "abc", "nodes.abc", "all2", "al", "node.all", "all.abc",
		} {
			from.trySend(wrong, "wrong: "+string(wrong))
		}
		from.mustSend(right.to, "right")
		from.mustSend(rpc.Broadcast, "to all")
		right.mustGet("right")
		all.mustGet("to all")
	}
}

func sharedAddress(e *Env) {
	there := e.Open()
	to := inbox()
	boxes := []*box{listen(e, e.Node, to), listen(e, there, to), listen(e, there, to)}
	post(e, e.Node).mustSend(to, texts("t", 20)...)
	for _, b := range boxes {
		b.mustGet(texts("t", 20)...)
	}
}

func broadcastOnce(e *Env) {
	nodes := []transports.Transport{e.Node, e.Open(), e.Open()}
	var boxes []*box
	for _, node := range nodes {
		boxes = append(boxes, listen(e, node, rpc.Broadcast))
	}
	for i, node := range nodes {
		all := texts(fmt.Sprint("from ", i, ": "), 20)
		post(e, node).mustSend(rpc.Broadcast, all...)
		for _, b := range boxes {
			b.mustGet(all...)
		}
	}
}

func framePayloads(e *Env) {
	b := listen(e, e.Open(), inbox())
	from := post(e, e.Node)
	for _, payload := range append([][]byte{{}, {0}, patterned(1023), patterned(64 << 10)}, valuesOf(binaries)...) {
		require.NoError(e, from.send(rpc.Frame{To: b.to, Payload: payload})[0])
		got := b.next("a frame of %d bytes", len(payload)).Payload
		require.Truef(e, bytes.Equal(payload, got), "%d bytes became %d, or others", len(payload), len(got))
	}
}

func frameLargest(e *Env) {
	b := listen(e, e.Open(), inbox())
	from := post(e, e.Node)
	payload := patterned(from.Capabilities.MaxFrame)
	require.NoError(e, from.send(rpc.Frame{To: b.to, Payload: payload})[0])
	got := b.next("the largest frame").Payload
	require.Truef(e, bytes.Equal(payload, got), "%d bytes became %d, or others", len(payload), len(got))

	requireCode(e, fault.TooLarge, from.send(rpc.Frame{To: b.to, Payload: append(payload, 0)})[0], "a frame of one byte more than is allowed")
	from.mustSend(b.to, "next")
	b.mustGet("next")
}

func frameNotKept(e *Env) {
	b := listen(e, e.Open(), inbox())
	from := post(e, e.Node)
	for i := range 50 {
		payload := fmt.Append(nil, "frame ", i)
		require.NoError(e, from.send(rpc.Frame{To: b.to, Payload: payload})[0])
		clear(payload)
	}
	b.mustGet(texts("frame ", 50)...)
}

func frameNotShared(e *Env) {
	there := e.Open()
	boxes := []*box{listen(e, there, rpc.Broadcast), listen(e, there, rpc.Broadcast), listen(e, e.Node, rpc.Broadcast)}
	mine := []byte("untouched")
	require.NoError(e, post(e, e.Node).send(rpc.Frame{To: rpc.Broadcast, Payload: mine})[0])
	for _, b := range boxes {
		got := b.next("the frame").Payload
		require.Equal(e, "untouched", string(got), "another listener has changed it")
		clear(got)
	}
	require.Equal(e, "untouched", string(mine), "a listener has changed the sender's payload")
}

func frameBatch(e *Env) {
	there := e.Open()
	var boxes []*box
	var batch []rpc.Frame
	for range 20 {
		boxes = append(boxes, listen(e, there, inbox()))
	}
	for n := range 5 {
		for i, b := range boxes {
			batch = append(batch, rpc.Frame{To: b.to, Payload: fmt.Append(nil, i, "/", n)})
		}
	}
	require.NoError(e, errors.Join(post(e, e.Node).send(batch...)...))
	for i, b := range boxes {
		for n := range 5 {
			b.mustGet(fmt.Sprint(i, "/", n))
		}
	}
	require.Empty(e, post(e, e.Node).send(), "sending nothing")
}

func frameRefused(e *Env) {
	b := listen(e, e.Open(), inbox())
	from := post(e, e.Node)
	errs := from.send(
		rpc.Frame{To: b.to, Payload: []byte("one")},
		rpc.Frame{To: b.to, Payload: make([]byte, from.Capabilities.MaxFrame+1)},
		rpc.Frame{To: b.to, Payload: []byte("two")},
	)
	require.NoError(e, errs[0])
	requireCode(e, fault.TooLarge, errs[1], "a frame that is too large")
	require.NoError(e, errs[2])
	b.mustGet("one", "two")
}

func frameOrder(e *Env) {
	there := e.Open()
	boxes := []*box{listen(e, there, inbox()), listen(e, e.Node, inbox())}
	all := texts("t", 250)
	for _, b := range boxes {
		post(e, e.Node).mustSend(b.to, all...)
		b.mustGet(all...)
	}
}

func frameBatchOrder(e *Env) {
	b := listen(e, e.Open(), inbox())
	from := post(e, e.Node)
	n := 0
	for range 10 {
		var batch []rpc.Frame
		for range 30 {
			batch = append(batch, rpc.Frame{To: b.to, Payload: fmt.Append(nil, "t", n)})
			n++
		}
		require.NoError(e, errors.Join(from.send(batch...)...))
	}
	b.mustGet(texts("t", n)...)
}

func frameOrderUnderMany(e *Env) {
	there := e.Open()
	const senders, each = 8, 50
	b := listen(e, there, inbox())
	errs := together(senders, func(i int) error {
		node := []transports.Transport{e.Node, there}[i%2]
		for n := range each {
			errs, err := transports.RPCOf(node).Send(e.Context(), []rpc.Frame{{To: b.to, Payload: []byte{byte(i), byte(n)}}})
			if err := first(errs, err, itself); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	next := [senders]byte{}
	for range senders * each {
		payload := b.next("a frame").Payload
		require.Len(e, payload, 2)
		require.Equal(e, next[payload[0]], payload[1], "the next frame of its sender")
		next[payload[0]]++
	}
}

func listenBarrier(e *Env) {
	from := post(e, e.Node)
	for i := range 100 {
		b := listen(e, e.Node, rpc.Inbox(fmt.Sprint("b", i%10)))
		from.mustSend(b.to, fmt.Sprint(i))
		b.mustGet(fmt.Sprint(i))
		require.NoError(e, b.closer.Close())
	}
}

func listenMany(e *Env) {
	there := e.Open()
	var boxes []*box
	for range 300 {
		boxes = append(boxes, listen(e, there, inbox()))
	}
	from := post(e, e.Node)
	for i, b := range boxes {
		from.mustSend(b.to, fmt.Sprint(i))
	}
	for i, b := range boxes {
		b.mustGet(fmt.Sprint(i))
	}
}

func listenOneAtATime(e *Env) {
	inside, many, total := make(chan struct{}, 1), make(chan struct{}, 1), make(chan int, 4096)
	closer, err := transports.RPCOf(e.Node).Listen(e.Context(), "node.x", func(frames []rpc.Frame) {
		select {
		case inside <- struct{}{}:
			e.sleepHere(e.Timing.Beat / 250)
			<-inside
		default:
			select {
			case many <- struct{}{}:
			default:
			}
		}
		total <- len(frames)
	})
	require.NoError(e, err)
	e.Cleanup(func() { _ = closer.Close() })
	there := e.Open()
	errs := together(6, func(i int) error {
		for range 25 {
			errs, err := transports.RPCOf([]transports.Transport{e.Node, there}[i%2]).Send(e.Context(), []rpc.Frame{{To: "node.x", Payload: []byte("x")}})
			if err := first(errs, err, itself); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
	for n := 0; n < 6*25; {
		n += Await(e, total, "all frames; %d have come", n)
	}
	require.Empty(e, many, "deliver was called while it ran")
}

func slowListener(e *Env) {
	there := e.Open()
	begun, release := make(chan struct{}, 1), make(chan struct{})
	slow, err := transports.RPCOf(there).Listen(e.Context(), rpc.Broadcast, func([]rpc.Frame) {
		select {
		case begun <- struct{}{}:
		default:
		}
		select {
		case <-release:
		case <-e.Context().Done():
		}
	})
	require.NoError(e, err)
	boxes := []*box{listen(e, there, rpc.Broadcast), listen(e, e.Node, rpc.Broadcast)}
	from := post(e, e.Node)
	from.mustSend(rpc.Broadcast, "first")
	Await(e, begun, "the slow listener")
	from.mustSend(rpc.Broadcast, texts("t", 100)...)
	for _, b := range boxes {
		b.mustGet("first")
		b.mustGet(texts("t", 100)...)
	}
	close(release)
	require.NoError(e, slow.Close())
}

func listenQuiet(e *Env) {
	there := e.Open()
	witness := listen(e, there, rpc.Broadcast)
	from := post(e, e.Node)
	for range 20 {
		var closed atomic.Bool
		late := make(chan struct{}, 64)
		closer, err := transports.RPCOf(there).Listen(e.Context(), rpc.Broadcast, func([]rpc.Frame) {
			if closed.Load() {
				late <- struct{}{}
			}
		})
		require.NoError(e, err)
		from.mustSend(rpc.Broadcast, "1", "2", "3")
		require.NoError(e, closer.Close())
		closed.Store(true)
		from.mustSend(rpc.Broadcast, "after")
		witness.mustGet("1", "2", "3", "after")
		require.Empty(e, late, "deliver was called after Close had returned")
	}
}

func listenCloseTwice(e *Env) {
	there := e.Open()
	b := listen(e, there, inbox())
	require.NoError(e, b.closer.Close())
	e.Promptly("the second Close", func() { require.NoError(e, b.closer.Close()) })
	again := listen(e, there, b.to)
	require.NoError(e, b.closer.Close(), "a third one, which must leave the other alone")
	post(e, e.Node).mustSend(again.to, "x")
	again.mustGet("x")
}

func noReceiver(e *Env) {
	there := e.Open()
	listen(e, there, rpc.Inbox("abc"))
	from := post(e, e.Node)
	for _, to := range []rpc.Address{rpc.Inbox("ab"), rpc.Inbox("abcd"), rpc.Inbox("x"), inbox(), rpc.Broadcast} {
		requireCode(e, fault.NoReceiver, from.send(rpc.Frame{To: to, Payload: []byte("x")})[0], "sending to %s, where nobody listens", to)
	}
}

func noReceiverAnyMore(e *Env) {
	there := e.Open()
	from := post(e, e.Node)
	b := listen(e, there, inbox())
	from.mustSend(b.to, "x")
	gone := func() bool {
		err := from.send(rpc.Frame{To: b.to, Payload: []byte("x")})[0]
		if err != nil {
			requireCode(e, fault.NoReceiver, err, "sending to who has left")
		}
		return err != nil
	}
	require.NoError(e, b.closer.Close())
	e.Eventually(gone, "nobody listens any more")
	b = listen(e, there, inbox())
	from.mustSend(b.to, "x")
	require.NoError(e, there.Close())
	e.Eventually(gone, "the node was closed")
}

func someReceiver(e *Env) {
	there := e.Open()
	a, b := listen(e, e.Node, inbox()), listen(e, there, inbox())
	errs := post(e, e.Node).send(
		rpc.Frame{To: a.to, Payload: []byte("x")}, rpc.Frame{To: inbox(), Payload: []byte("x")}, rpc.Frame{To: b.to, Payload: []byte("x")},
	)
	require.NoError(e, errs[0])
	requireCode(e, fault.NoReceiver, errs[1], "the one that nobody gets")
	require.NoError(e, errs[2])
	a.mustGet("x")
	b.mustGet("x")
}
