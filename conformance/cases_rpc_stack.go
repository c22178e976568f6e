package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

func rpcStackCases() []Case {
	return onStack(append(needing(NeedsRPC, []Case{
		{Name: "rpc/stack/a-call-goes-to-the-node-it-names", Clause: clauseTargets, Run: callsNamed},
		{Name: "rpc/stack/calls-to-any-are-shared-out", Clause: clauseTargets, Run: callsAny},
		{Name: "rpc/stack/a-call-to-all-reaches-every-node", Clause: clauseTargets, Run: callsAll},
		{Name: "rpc/stack/only-those-that-serve-it-are-called", Clause: clauseTargets, Run: callsServers},
		{Name: "rpc/stack/replies-match-requests-under-64-callers", Clause: clauseReplies, Run: repliesMatch},
		{Name: "rpc/stack/a-late-reply-is-dropped", Clause: clauseReplies, Run: lateReply},
		{Name: "rpc/stack/headers-travel", Clause: clauseReplies, Run: headersTravel},
		{Name: "rpc/stack/every-fault-arrives-with-its-code", Clause: clauseFaults, Run: faultsSurvive},
		{Name: "rpc/stack/a-panic-is-internal-and-harms-nobody", Clause: clauseFaults, Run: panicInternal},
		{Name: "rpc/stack/a-request-that-cannot-be-decoded-is-corrupt", Clause: clauseFaults, Run: corruptRequest},
		{Name: "rpc/stack/nobody-serves-it-is-unimplemented-at-once", Clause: clauseRefusals, Run: unimplemented},
		{Name: "rpc/stack/a-full-node-is-exhausted-at-once", Clause: clauseRefusals, Run: exhausted},
		{Name: "rpc/stack/the-deadline-travels", Clause: clauseDeadlines, Run: deadlineTravels},
		{Name: "rpc/stack/cancelling-reaches-the-handler", Clause: clauseDeadlines, Run: cancelReaches},
		{Name: "rpc/stack/a-cast-is-answered-by-nobody", Clause: clauseCast, Run: castAlone},
		{Name: "rpc/stack/partial-answers-come-with-the-error", Clause: clauseAnswers, Run: partialAnswers},
		{Name: "rpc/stack/the-first-that-is-well-counts", Clause: clauseAnswers, Run: firstWell},
		{Name: "rpc/stack/a-quorum-is-enough", Clause: clauseAnswers, Run: quorumEnough},
		{Name: "rpc/stack/answers-stream-as-they-come", Clause: clauseAnswers, Run: answersStream},
		{Name: "rpc/stack/a-node-that-leaves-is-gone", Clause: clauseGone, Run: leaverGone},
		{Name: "rpc/stack/a-call-to-a-former-life-is-gone", Clause: clauseGone, Run: formerGone},
		{Name: "rpc/stack/members-come-and-go", Clause: clauseMembers, Run: membersComeAndGo},
		{Name: "rpc/stack/members-tell-what-they-serve-and-are", Clause: clauseMembers, Run: membersTell},
		{Name: "rpc/stack/names-may-repeat", Clause: clauseMembers, Run: namesRepeat},
		{Name: "rpc/stack/payloads-of-all-sizes", Clause: clauseLargeCalls, Run: payloadSizes},
		{Name: "rpc/stack/large-payloads-side-by-side", Clause: clauseLargeCalls, Run: largeAtOnce},
		{Name: "rpc/stack/a-payload-of-64-mib", Clause: clauseLargeCalls, Run: payloadHuge},
		{Name: "rpc/stack/who-has-another-key-is-not-believed", Clause: clauseAuth, Run: strangerIgnored},
		{Name: "rpc/stack/a-closed-peer-refuses", Clause: clauseClosed, Run: closedPeer},
	}), Case{Name: "rpc/stack/what-is-not-offered-is-unsupported", Clause: clauseUnsupported, Run: func(e *Env) { refuseRPC(e, nil) }}))
}

func callsNamed(e *Env) {
	peers := cluster(e, 3, nil)
	for _, from := range peers {
		for _, to := range peers {
			name, err := nameOf(e.Within(e.Timing.Wait), from, at(to))
			require.NoError(e, err)
			require.Equal(e, to.Self().Name, name)
			name, err = nameOf(e.Within(e.Timing.Wait), from, rpc.Named(to.Self().Name))
			require.NoError(e, err)
			require.Equal(e, to.Self().Name, name)
		}
	}
}

func callsAny(e *Env) {
	peers := cluster(e, 3, nil)
	seen := map[string]int{}
	for range 60 {
		name, err := nameOf(e.Within(e.Timing.Wait), peers[0], rpc.Any())
		require.NoError(e, err)
		seen[name]++
	}
	require.Len(e, seen, 3, "every node takes its turn: %v", seen)
}

func callsAll(e *Env) {
	peers := cluster(e, 3, nil)
	for _, from := range peers {
		results, err := rpc.Gather[string](e.Within(e.Timing.Wait), from, rpc.All(), "name", struct{}{})
		require.NoError(e, err)
		var names []string
		for _, r := range results {
			require.Equal(e, r.Member.Name, r.Value)
			names = append(names, r.Value)
		}
		require.ElementsMatch(e, []string{"node-0", "node-1", "node-2"}, names)
	}
}

func callsServers(e *Env) {
	var runs [3]atomic.Int32
	peers := cluster(e, 3, func(i int, p *rpc.Peer) {
		if i > 0 {
			handling(e, "special", func(context.Context, *rpc.Incoming) ([]byte, error) { runs[i].Add(1); return nil, nil })(p)
		}
	})
	for range 10 {
		_, err := peers[0].Call(e.Within(e.Timing.Wait), rpc.Any(), "special", nil)
		require.NoError(e, err)
	}
	replies, err := peers[0].Gather(e.Within(e.Timing.Wait), rpc.All(), "special", nil)
	require.NoError(e, err)
	require.Len(e, replies, 2)
	require.Equal(e, int32(12), runs[1].Load()+runs[2].Load())
	_, err = peers[1].Call(e.Within(e.Timing.Wait), at(peers[0]), "special", nil)
	requireCode(e, fault.Unimplemented, err, "calling a node that does not serve it")
}

func repliesMatch(e *Env) {
	peers := cluster(e, 2, nil)
	errs := together(64, func(i int) error {
		from := peers[i%2]
		to := []rpc.Target{rpc.Any(), at(peers[0]), at(peers[1])}[i%3]
		for n := range 8 {
			want := fmt.Sprint("call ", i, ".", n)
			got, err := from.Call(e.Context(), to, "echo", []byte(want), rpc.Timeout(e.Timing.Wait))
			if err != nil {
				return err
			}
			if string(got) != want {
				return fmt.Errorf("%q was answered with %q", want, got)
			}
		}
		return nil
	})
	require.NoError(e, errors.Join(errs...))
}

func lateReply(e *Env) {
	release := make(chan struct{})
	peers := cluster(e, 2, func(_ int, p *rpc.Peer) {
		handling(e, "slow", func(context.Context, *rpc.Incoming) ([]byte, error) {
			select {
			case <-release: // whatever its context says
			case <-e.Context().Done():
			}
			return []byte("late"), nil
		})(p)
	})
	_, err := peers[0].Call(e.Context(), at(peers[1]), "slow", nil, rpc.Timeout(e.Timing.Beat/5))
	requireCode(e, fault.DeadlineExceeded, err, "a call whose time is over")
	close(release)
	for i := range 20 {
		got, err := peers[0].Call(e.Within(e.Timing.Wait), at(peers[1]), "echo", fmt.Append(nil, i))
		require.NoError(e, err)
		require.Equal(e, fmt.Sprint(i), string(got), "the answer of another call")
	}
}

func headersTravel(e *Env) {
	peers := cluster(e, 2, func(_ int, p *rpc.Peer) {
		handling(e, "header", func(_ context.Context, in *rpc.Incoming) ([]byte, error) { return []byte(in.Headers["Trace-Id"]), nil })(p)
	})
	got, err := peers[0].Call(e.Within(e.Timing.Wait), at(peers[1]), "header", nil, rpc.Header("Trace-Id", "ключ\x00"))
	require.NoError(e, err)
	require.Equal(e, "ключ\x00", string(got))
}

func faultsSurvive(e *Env) {
	codes := []fault.Code{
		fault.Canceled, fault.DeadlineExceeded, fault.NotFound, fault.Conflict, fault.Locked, fault.Duplicate, fault.LeaseLost,
		fault.NoReceiver, fault.NodeGone, fault.Unimplemented, fault.Unauthenticated, fault.PermissionDenied, fault.TooLarge,
		fault.Exhausted, fault.Unsupported, fault.Unavailable, fault.Invalid, fault.Corrupt, fault.Closed, fault.Internal,
	}
	var runs atomic.Int32
	peers := cluster(e, 2, func(_ int, p *rpc.Peer) {
		handling(e, "fail", func(_ context.Context, in *rpc.Incoming) ([]byte, error) {
			runs.Add(1)
			return nil, fault.New(codes[in.Payload[0]], "the reason is %d", in.Payload[0])
		})(p)
	})
	for i, code := range codes {
		_, err := peers[0].Call(e.Within(e.Timing.Wait), at(peers[1]), "fail", []byte{byte(i)})
		requireCode(e, code, err, "a handler's fault")
		require.True(e, fault.IsRemote(err), "%s arose elsewhere", code)
		require.Contains(e, err.Error(), fmt.Sprintf("the reason is %d", i))
	}
	require.Equal(e, int32(len(codes)), runs.Load(), "what a handler answers is no reason to call again")
}

func panicInternal(e *Env) {
	peers := cluster(e, 2, func(_ int, p *rpc.Peer) {
		handling(e, "panic", func(context.Context, *rpc.Incoming) ([]byte, error) { panic("oh no") })(p)
	})
	for range 3 {
		_, err := peers[0].Call(e.Within(e.Timing.Wait), at(peers[1]), "panic", nil)
		requireCode(e, fault.Internal, err, "a handler that panics")
		require.True(e, fault.IsRemote(err))
	}
	_, err := nameOf(e.Within(e.Timing.Wait), peers[0], at(peers[1]))
	require.NoError(e, err)
}

func corruptRequest(e *Env) {
	peers := cluster(e, 2, nil)
	_, err := peers[0].Call(e.Within(e.Timing.Wait), at(peers[1]), "name", []byte("{no JSON"))
	requireCode(e, fault.Corrupt, err, "a request that cannot be decoded")
}

// atOnce requires that a call with plenty of time fails soon.
func atOnce(e *Env, code fault.Code, what string, call func(ctx context.Context) error) {
	e.Helper()
	start := time.Now()
	err := call(e.Within(time.Minute))
	requireCode(e, code, err, "%s", what)
	require.Less(e, time.Since(start), e.Timing.Wait, "%s is told at once", what)
}

func unimplemented(e *Env) {
	peers := cluster(e, 2, nil)
	for what, to := range map[string]rpc.Target{"any": rpc.Any(), "one": at(peers[1]), "all": rpc.All(), "this one": at(peers[0])} {
		atOnce(e, fault.Unimplemented, "a method that nobody serves, to "+what, func(ctx context.Context) error {
			_, err := peers[0].Call(ctx, to, "nobody.serves.this", nil)
			return err
		})
	}
}

func exhausted(e *Env) {
	begun, release := make(chan struct{}, 16), make(chan struct{})
	peers := cluster(e, 2, func(_ int, p *rpc.Peer) {
		handling(e, "busy", func(ctx context.Context, _ *rpc.Incoming) ([]byte, error) {
			begun <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, nil
		}, rpc.Concurrency(2))(p)
	})
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := peers[0].Call(e.Context(), at(peers[1]), "busy", nil, rpc.Timeout(time.Minute))
			done <- err
		}()
		Await(e, begun, "a handler")
	}
	atOnce(e, fault.Exhausted, "one call more than may run", func(ctx context.Context) error {
		_, err := peers[0].Call(ctx, at(peers[1]), "busy", nil)
		return err
	})
	close(release)
	for range 2 {
		require.NoError(e, Await(e, done, "the calls that ran"))
	}
	_, err := peers[0].Call(e.Within(e.Timing.Wait), at(peers[1]), "busy", nil)
	require.NoError(e, err, "there is room again")
}

func deadlineTravels(e *Env) {
	left := make(chan time.Duration, 1)
	ended := make(chan error, 1)
	peers := cluster(e, 2, func(_ int, p *rpc.Peer) {
		handling(e, "wait", func(ctx context.Context, _ *rpc.Incoming) ([]byte, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				deadline = time.Time{}
			}
			left <- time.Until(deadline)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})(p)
	})
	budget := 2 * e.Timing.Beat
	start := time.Now()
	_, err := peers[0].Call(e.Context(), at(peers[1]), "wait", nil, rpc.Timeout(budget))
	requireCode(e, fault.DeadlineExceeded, err, "a call whose time is over")
	require.GreaterOrEqual(e, time.Since(start), budget-slack, "it has ended before its time")
	given := Await(e, left, "the handler")
	require.Positive(e, given, "the handler has a deadline")
	require.LessOrEqual(e, given, budget)
	Await(e, ended, "the end of the handler's context")
}

func cancelReaches(e *Env) {
	begun, ended := make(chan struct{}, 4), make(chan struct{}, 4)
	peers := cluster(e, 2, func(_ int, p *rpc.Peer) {
		handling(e, "wait", func(ctx context.Context, _ *rpc.Incoming) ([]byte, error) {
			begun <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
			return nil, ctx.Err()
		})(p)
	})
	for _, to := range []rpc.Target{at(peers[1]), rpc.All()} {
		ctx, cancel := context.WithTimeout(e.Context(), time.Hour)
		result := make(chan error, 1)
		go func() {
			_, err := peers[0].Gather(ctx, to, "wait", nil)
			result <- err
		}()
		Await(e, begun, "the handler")
		if to == rpc.All() {
			Await(e, begun, "the other handler")
		}
		cancel()
		e.Promptly("the end of a cancelled call", func() {
			requireCode(e, fault.Canceled, Await(e, result, "the end of a cancelled call"), "a cancelled call")
		})
		Await(e, ended, "the end of the handler's context, long before its deadline")
		if to == rpc.All() {
			Await(e, ended, "the end of the other handler's context")
		}
	}
}

func castAlone(e *Env) {
	got := make(chan string, 64)
	peers := cluster(e, 2, func(i int, p *rpc.Peer) {
		handling(e, "note", func(_ context.Context, in *rpc.Incoming) ([]byte, error) {
			got <- fmt.Sprint(i, ":", string(in.Payload))
			return []byte("an answer for nobody"), errors.New("nor is this")
		})(p)
	})
	require.NoError(e, peers[0].Cast(e.Within(e.Timing.Wait), at(peers[1]), "note", []byte("one")))
	require.Equal(e, "1:one", Await(e, got, "the cast"))
	require.NoError(e, peers[0].Cast(e.Within(e.Timing.Wait), rpc.All(), "note", []byte("all")))
	require.ElementsMatch(e, []string{"0:all", "1:all"}, []string{Await(e, got, "the cast to all"), Await(e, got, "the cast to all")})

	_, err := nameOf(e.Within(e.Timing.Wait), peers[0], at(peers[1])) // the sentinel
	require.NoError(e, err)
	require.Empty(e, got)
	require.Zero(e, peers[0].Counters().Late, "answers to a cast")
}

func partialAnswers(e *Env) {
	peers := cluster(e, 3, func(i int, p *rpc.Peer) {
		handling(e, "some", func(context.Context, *rpc.Incoming) ([]byte, error) {
			if i == 1 {
				return nil, fault.New(fault.NotFound, "not here")
			}
			return []byte{byte(i)}, nil
		})(p)
	})
	replies, err := peers[0].Gather(e.Within(e.Timing.Wait), rpc.All(), "some", nil)
	requireCode(e, fault.NotFound, err, "a call that failed on one node")
	require.Len(e, replies, 3, "every node is accounted for")
	for _, r := range replies {
		if r.Member.Name == "node-1" {
			requireCode(e, fault.NotFound, r.Err, "the node that failed")
		} else {
			require.NoError(e, r.Err)
			require.Equal(e, r.Member.Name, fmt.Sprint("node-", r.Value[0]))
		}
	}
}

func firstWell(e *Env) {
	peers := cluster(e, 3, func(i int, p *rpc.Peer) {
		handling(e, "most", func(context.Context, *rpc.Incoming) ([]byte, error) {
			if i != 2 {
				return nil, fault.New(fault.NotFound, "not here")
			}
			e.sleepHere(e.Timing.Beat / 10)
			return []byte("found"), nil
		})(p)
	})
	got, err := peers[0].Call(e.Within(e.Timing.Wait), rpc.All(), "most", nil, rpc.FirstOK())
	require.NoError(e, err)
	require.Equal(e, "found", string(got))
}

func quorumEnough(e *Env) {
	begun, stopped := make(chan struct{}), make(chan struct{}, 4)
	var once sync.Once
	peers := cluster(e, 3, func(i int, p *rpc.Peer) {
		handling(e, "vote", func(ctx context.Context, _ *rpc.Incoming) ([]byte, error) {
			if i == 1 {
				once.Do(func() { close(begun) })
				<-ctx.Done() // it has not made up its mind
				stopped <- struct{}{}
				return nil, ctx.Err()
			}
			select {
			case <-begun:
			case <-ctx.Done():
			}
			return []byte("aye"), nil
		})(p)
	})
	replies, err := peers[0].Gather(e.Within(time.Minute), rpc.All(), "vote", nil, rpc.Quorum(2))
	require.NoError(e, err)
	require.Len(e, replies, 2)
	Await(e, stopped, "the end of the handler that is not needed any more")

	ctx := e.Within(2 * e.Timing.Beat)
	_, err = peers[0].Gather(ctx, rpc.All(), "vote", nil, rpc.Quorum(3))
	require.Error(e, err, "a quorum that cannot be reached in time")
}

func answersStream(e *Env) {
	release := make(chan struct{})
	peers := cluster(e, 3, func(i int, p *rpc.Peer) {
		handling(e, "turns", func(ctx context.Context, _ *rpc.Incoming) ([]byte, error) {
			if i == 1 {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return []byte{byte(i)}, nil
		})(p)
	})
	var order []byte
	for reply, err := range peers[0].Stream(e.Within(e.Timing.Wait), rpc.All(), "turns", nil) {
		require.NoError(e, err)
		if order = append(order, reply.Value[0]); len(order) == 2 {
			close(release) // the third answers when the first two have been read
		}
	}
	require.Len(e, order, 3)
	require.Equal(e, byte(1), order[2])
}

func leaverGone(e *Env) {
	begun := make(chan struct{}, 4)
	peers := cluster(e, 3, func(i int, p *rpc.Peer) {
		handling(e, "wait", func(ctx context.Context, _ *rpc.Incoming) ([]byte, error) {
			begun <- struct{}{}
			if i == 1 {
				<-ctx.Done()
				e.sleepHere(e.Timing.Beat / 25)
			}
			return []byte("well"), nil
		})(p)
	})
	type answer struct {
		replies []rpc.Reply
		err     error
	}
	result := make(chan answer, 1)
	go func() {
		replies, err := peers[0].Gather(e.Context(), rpc.All(), "wait", nil, rpc.Timeout(time.Minute))
		result <- answer{replies, err}
	}()
	for range 3 {
		Await(e, begun, "every handler")
	}
	_ = peers[1].Close() // while it runs a call

	got := Await(e, result, "the answers, without the node that has left")
	require.Error(e, got.err)
	require.Len(e, got.replies, 3, "every node is accounted for")
	for _, r := range got.replies {
		if r.Member.Name != "node-1" {
			require.NoError(e, r.Err)
		} else if code := fault.CodeOf(r.Err); r.Err != nil && code != fault.Canceled { // its handler may have had the last word
			requireCode(e, fault.NodeGone, r.Err, "the node that has left")
		}
	}
	atOnce(e, fault.NodeGone, "calling who has left", func(ctx context.Context) error {
		_, err := nameOf(ctx, peers[0], at(peers[1]))
		return err
	})
}

func formerGone(e *Env) {
	peers := cluster(e, 2, nil)
	former := at(peers[1])
	require.NoError(e, peers[1].Close())
	again := startPeer(e, e.Open(), "node-1", naming(e, "node-1"))
	meet(e, peers[0], again)
	atOnce(e, fault.NodeGone, "calling a former life of a node that is back", func(ctx context.Context) error {
		_, err := nameOf(ctx, peers[0], former)
		return err
	})
	name, err := nameOf(e.Within(e.Timing.Wait), peers[0], rpc.Named("node-1"))
	require.NoError(e, err)
	require.Equal(e, "node-1", name)
}

func membersComeAndGo(e *Env) {
	peers := cluster(e, 2, nil)
	events := watching(e, peers[0])
	for range 3 {
		node := e.Open()
		p := startPeer(e, node, "passing", naming(e, "passing"))
		mustSee(e, events, rpc.Joined, p.Self().Incarnation)
		meet(e, append(peers, p)...)
		require.NoError(e, p.Close())
		mustSee(e, events, rpc.Left, p.Self().Incarnation)
		meet(e, peers...)
	}
}

func membersTell(e *Env) {
	peers := cluster(e, 2, nil)
	find := func() (m rpc.Member) {
		for _, m = range peers[0].Members() {
			if m.Incarnation == peers[1].Self().Incarnation {
				return m
			}
		}
		return rpc.Member{}
	}
	require.True(e, find().Serves("name"))
	require.False(e, find().Serves("later"))
	require.NoError(e, peers[1].SetMetadata(map[string]string{"zone": "Süd", "": "empty"}))
	handling(e, "later", func(context.Context, *rpc.Incoming) ([]byte, error) { return nil, nil })(peers[1])
	e.Eventually(func() bool { m := find(); return m.Metadata["zone"] == "Süd" && m.Serves("later") }, "what it says of itself is known")
	require.Equal(e, map[string]string{"zone": "Süd", "": "empty"}, find().Metadata)
	_, err := peers[0].Call(e.Within(e.Timing.Wait), rpc.Any(), "later", nil)
	require.NoError(e, err)
}

func namesRepeat(e *Env) {
	a, b := startPeer(e, e.Node, "twin", naming(e, "a")), startPeer(e, e.Open(), "twin", naming(e, "b"))
	meet(e, a, b)
	for _, from := range []*rpc.Peer{a, b} {
		for want, to := range map[string]*rpc.Peer{"a": a, "b": b} {
			name, err := nameOf(e.Within(e.Timing.Wait), from, at(to))
			require.NoError(e, err)
			require.Equal(e, want, name)
		}
	}
}

// mustEcho requires that a payload comes back as it went.
func mustEcho(e *Env, from, to *rpc.Peer, size int) {
	e.Helper()
	payload := patterned(size)
	got, err := from.Call(e.Context(), at(to), "echo", payload, rpc.Timeout(2*e.Timing.Wait))
	require.NoError(e, err, "%d bytes", size)
	require.Truef(e, bytes.Equal(payload, got), "%d bytes became %d, or others", size, len(got))
}

func payloadSizes(e *Env) {
	peers := cluster(e, 2, nil)
	frame := transports.RPCOf(e.Node).Capabilities.MaxFrame
	for _, size := range []int{0, 1, 1000, 64<<10 - 1, 64 << 10, 255 << 10, 256 << 10, 257 << 10, 1 << 20, min(frame, 8<<20), min(frame+1, 8<<20+1), 8 << 20} {
		mustEcho(e, peers[0], peers[1], size)
	}
}

func largeAtOnce(e *Env) {
	peers := cluster(e, 2, nil)
	errs := together(8, func(i int) error {
		payload := bytes.Repeat([]byte{byte(i), byte(i + 1), byte(i + 2)}, 200<<10)
		got, err := peers[i%2].Call(e.Context(), at(peers[1-i%2]), "echo", payload, rpc.Timeout(2*e.Timing.Wait))
		if err == nil && !bytes.Equal(got, payload) {
			err = fmt.Errorf("payload %d came back changed", i)
		}
		return err
	})
	require.NoError(e, errors.Join(errs...))
	_, err := nameOf(e.Within(e.Timing.Wait), peers[0], at(peers[1]))
	require.NoError(e, err)
}

// payloadHuge sends what is the most by default, one way.
func payloadHuge(e *Env) {
	const size = 64 << 20
	want := patterned(size)
	peers := cluster(e, 2, func(_ int, p *rpc.Peer) {
		handling(e, "compare", func(_ context.Context, in *rpc.Incoming) ([]byte, error) {
			if !bytes.Equal(in.Payload, want) {
				return nil, fault.New(fault.Corrupt, "%d bytes became %d, or others", size, len(in.Payload))
			}
			return []byte("as it was"), nil
		})(p)
	})
	got, err := peers[0].Call(e.Context(), at(peers[1]), "compare", want, rpc.Timeout(e.Timing.Case))
	require.NoError(e, err)
	require.Equal(e, "as it was", string(got))
	_, err = peers[0].Call(e.Within(e.Timing.Wait), at(peers[1]), "compare", append(want, 0))
	requireCode(e, fault.TooLarge, err, "one byte more than is allowed")
}

func strangerIgnored(e *Env) {
	peers := cluster(e, 2, nil)
	there := e.Open()
	startPeer(e, there, "stranger", naming(e, "stranger"), func(o *rpc.Options) {
		o.Keys = []string{base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))}
	})
	to := post(e, there)
	to.mustSend(rpc.Broadcast, "no frame at all")
	to.trySend(rpc.Inbox(peers[0].Self().Incarnation), "no frame at all")
	e.Eventually(func() bool { return len(peers[0].Counters().Refused) > 0 }, "frames are refused, and counted")
	for _, p := range peers {
		require.Len(e, p.Members(), 2, "the stranger is no member")
		_, err := nameOf(e.Within(e.Timing.Wait), p, rpc.All())
		require.NoError(e, err)
	}
	_, err := nameOf(e.Within(e.Timing.Wait), peers[0], rpc.Named("stranger"))
	require.Error(e, err)
}

func closedPeer(e *Env) {
	peers := cluster(e, 2, nil)
	require.NoError(e, peers[0].Close())
	_, err := nameOf(e.Within(e.Timing.Wait), peers[0], at(peers[1]))
	requireCode(e, fault.Closed, err, "a call on a peer that is closed")
	require.NoError(e, peers[0].Close())
	name, err := nameOf(e.Within(e.Timing.Wait), peers[1], at(peers[1]))
	require.NoError(e, err)
	require.Equal(e, "node-1", name)
}

func refuseRPC(e *Env, b *rpc.Backend) {
	_, err := rpc.New(b, rpc.Options{Name: "n", Insecure: true})
	requireCode(e, fault.Unsupported, err, "New")
}
