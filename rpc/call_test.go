package rpc_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
)

type nothing = struct{}

func TestACallRunsOnTheNodeThatServesIt(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		require.NoError(t, rpc.Handle(b, "double", func(_ context.Context, n int) (int, error) { return 2 * n, nil }))
		c.settle(a, b)

		got, err := rpc.Call[int](background, a, rpc.Any(), "double", 21)

		require.NoError(t, err)
		require.Equal(t, 42, got)
	})
}

func TestAnyTakesEveryNodeInTurn(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		c.settle(a, b)
		count := map[string]int{}

		for range 10 {
			name, err := rpc.Call[string](background, a, rpc.Any(), "name", nothing{})
			require.NoError(t, err)
			count[name]++
		}

		require.Equal(t, map[string]int{"a": 5, "b": 5}, count)
	})
}

func TestATargetIsReachedByIncarnationAndByName(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("web"), c.start("web")
		other := c.start("db")
		c.settle(a, b, other)
		require.NoError(t, rpc.Handle(b, "who", func(context.Context, nothing) (string, error) { return "b", nil }))
		require.NoError(t, rpc.Handle(a, "who", func(context.Context, nothing) (string, error) { return "a", nil }))
		c.settle(a, b, other)

		for range 4 {
			got, err := rpc.Call[string](background, other, rpc.Node(b.Self().Incarnation), "who", nothing{})
			require.NoError(t, err)
			require.Equal(t, "b", got)
		}
		got, err := rpc.Call[string](background, a, rpc.Named("db"), "name", nothing{})
		require.NoError(t, err)
		require.Equal(t, "db", got)
		_, err = rpc.Call[string](background, a, rpc.Named("db"), "who", nothing{})
		require.Equal(t, fault.Unimplemented, fault.CodeOf(err))
		_, err = rpc.Call[string](background, a, rpc.Named("mail"), "who", nothing{})
		require.Equal(t, fault.NoReceiver, fault.CodeOf(err))
	})
}

func TestCallingAllNodesIsOnePublishAndOneAnswerEach(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		var links []*link
		var peers []*rpc.Peer
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			links = append(links, c.link())
			peers = append(peers, c.startOn(links[len(links)-1], name))
		}
		c.settle(peers...)

		results, err := rpc.Gather[string](background, peers[0], rpc.All(), "name", nothing{})

		require.NoError(t, err)
		var got []string
		for _, r := range results {
			require.NoError(t, r.Err)
			require.Equal(t, r.Member.Name, r.Value)
			got = append(got, r.Value)
		}
		slices.Sort(got)
		require.Equal(t, []string{"a", "b", "c", "d", "e"}, got)
		require.Equal(t, 1, links[0].count(request))
		require.Equal(t, 0, links[0].count(response), "nothing to oneself leaves the process")
		for _, l := range links[1:] {
			require.Equal(t, 1, l.count(response))
		}
	})
}

func TestACallToThisNodeNeverLeavesTheProcess(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		l := c.link()
		a := c.startOn(l, "a")
		c.settle(a)
		require.NoError(t, a.Handle("keep", func(_ context.Context, in *rpc.Incoming) ([]byte, error) {
			in.Payload[0] = 'X' // it is the handler's own
			return in.Payload, nil
		}))
		payload := []byte("abc")

		answer, err := a.Call(background, rpc.Any(), "keep", payload)

		require.NoError(t, err)
		require.Equal(t, "Xbc", string(answer))
		require.Equal(t, "abc", string(payload))
		require.Zero(t, l.count(request))
	})
}

func TestAMethodThatNobodyServesIsUnimplementedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		c.settle(a, b)
		began := time.Now()

		_, anyErr := rpc.Call[int](background, a, rpc.Any(), "missing", 1)
		_, allErr := rpc.Gather[int](background, a, rpc.All(), "missing", 1)
		_, oneErr := rpc.Call[int](background, a, rpc.Node(b.Self().Incarnation), "missing", 1)
		_, ownErr := rpc.Call[int](background, a, rpc.Node(a.Self().Incarnation), "missing", 1)
		castErr := rpc.Cast(background, a, rpc.Any(), "missing", 1)

		for _, err := range []error{anyErr, allErr, oneErr, ownErr, castErr} {
			require.Equal(t, fault.Unimplemented, fault.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, `"missing"`)
		}
		require.Zero(t, time.Since(began))
	})
}

func TestANodeThatIsGoneIsAnErrorAtOnce(t *testing.T) {
	for _, conceal := range []bool{false, true} {
		bubble(t, func(t *testing.T, c *cluster) {
			c.conceal = conceal
			a, b := c.start("a"), c.start("b")
			c.settle(a, b)
			former := b.Self().Incarnation
			require.NoError(t, b.Close())
			synctest.Wait()
			began := time.Now()

			_, err := rpc.Call[string](background, a, rpc.Node(former), "name", nothing{})

			require.Equal(t, fault.NodeGone, fault.LocalCode(err), "%v", err)
			require.Zero(t, time.Since(began))
			stranger := "000000000" + former[9:]
			_, err = rpc.Call[string](background, a, rpc.Node(stranger), "name", nothing{})
			require.Equal(t, fault.NoReceiver, fault.LocalCode(err), "%v", err)
			require.Equal(t, 100*time.Millisecond, time.Since(began), "tried once more")
			_, err = rpc.Call[string](background, a, rpc.Node("web-1"), "name", nothing{})
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
		})
	}
}

func TestANodeThatSubscribesJustNowIsFoundByTheSecondTry(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		c.settle(a)
		b := c.peer(c.link(), "b")
		require.NoError(t, rpc.Handle(b, "hi", func(context.Context, nothing) (string, error) { return "hi", nil }))
		time.AfterFunc(50*time.Millisecond, func() { _ = b.Start(background) })

		got, err := rpc.Call[string](background, a, rpc.Node(b.Self().Incarnation), "hi", nothing{})

		require.NoError(t, err)
		require.Equal(t, "hi", got)
	})
}

func TestAHandlersFaultArrivesWithItsCode(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		for _, p := range []*rpc.Peer{a, b} {
			require.NoError(t, rpc.Handle(p, "fail", func(_ context.Context, code int) (int, error) {
				if code == 0 {
					return 0, errors.New("plain")
				}
				return 0, &fault.Error{Code: fault.Code(code), Op: "cache: set", Subject: "user:42", Message: "no room", Retryable: true}
			}))
		}
		c.settle(a, b)

		for _, node := range []*rpc.Peer{a, b} { // a call to oneself reads no different
			for _, code := range fault.Codes() {
				_, err := rpc.Call[int](background, a, rpc.Node(node.Self().Incarnation), "fail", int(code))
				var got *fault.Error
				require.ErrorAs(t, err, &got)
				require.Equal(t, fault.Error{Code: code, Op: "cache: set", Subject: "user:42", Message: "no room",
					Retryable: true, Remote: true, Node: node.Self().Name}, *got)
				require.Equal(t, fault.OK, fault.LocalCode(err))
			}
			_, err := rpc.Call[int](background, a, rpc.Node(node.Self().Incarnation), "fail", 0)
			require.Equal(t, fault.Internal, fault.CodeOf(err))
			require.ErrorContains(t, err, "plain")
		}
	})
}

func TestAPanicIsAFaultAndTheNodeLives(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		require.NoError(t, rpc.Handle(b, "panic", func(context.Context, nothing) (int, error) { panic("oh no") }))
		require.NoError(t, rpc.Handle(b, "exit", func(context.Context, nothing) (int, error) { runtime.Goexit(); return 0, nil }))
		c.settle(a, b)

		for range 3 {
			_, err := rpc.Call[int](background, a, rpc.Any(), "panic", nothing{})
			require.Equal(t, fault.Internal, fault.CodeOf(err))
			require.True(t, fault.IsRemote(err))
			require.ErrorContains(t, err, "oh no")
			_, err = rpc.Call[int](background, a, rpc.Any(), "exit", nothing{})
			require.Equal(t, fault.Internal, fault.CodeOf(err))
		}
		stats := statsOf(t, b)
		require.Equal(t, uint64(3), stats["panic"].Errors)
		require.Zero(t, stats["panic"].InFlight)
		require.Zero(t, stats["exit"].InFlight)
	})
}

func TestTheDeadlineTravels(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		ended := make(chan time.Duration, 1)
		require.NoError(t, rpc.Handle(b, "wait", func(ctx context.Context, _ nothing) (int, error) {
			began := time.Now()
			<-ctx.Done()
			ended <- time.Since(began)
			return 0, ctx.Err()
		}))
		c.settle(a, b)
		began := time.Now()

		_, err := rpc.Call[int](background, a, rpc.Any(), "wait", nothing{}, rpc.Timeout(3*time.Second))
		require.Equal(t, fault.DeadlineExceeded, fault.LocalCode(err), "%v", err)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Equal(t, 3*time.Second, <-ended)

		_, err = rpc.Call[int](background, a, rpc.Any(), "wait", nothing{})
		require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(err))
		require.Equal(t, 10*time.Second, <-ended, "without a deadline a call has ten seconds")
	})
}

func TestCancellingTheCallerCancelsTheHandler(t *testing.T) {
	for _, target := range []string{"one", "all"} {
		bubble(t, func(t *testing.T, c *cluster) {
			a, b := c.start("a"), c.start("b")
			running, ended := make(chan nothing, 2), make(chan error, 2)
			for _, p := range []*rpc.Peer{a, b} {
				require.NoError(t, rpc.Handle(p, "wait", func(ctx context.Context, _ nothing) (int, error) {
					running <- nothing{}
					<-ctx.Done()
					ended <- ctx.Err()
					return 0, ctx.Err()
				}))
			}
			c.settle(a, b)
			to, n := rpc.All(), 2
			if target == "one" {
				to, n = rpc.Node(b.Self().Incarnation), 1
			}
			ctx, cancel := context.WithCancel(background)
			go func() {
				for range n {
					<-running
				}
				cancel()
			}()
			began := time.Now()

			results, err := rpc.Gather[int](ctx, a, to, "wait", nothing{})

			require.Equal(t, fault.Canceled, fault.CodeOf(err))
			require.Len(t, results, n, "each node is accounted for")
			for range n {
				require.ErrorIs(t, <-ended, context.Canceled)
			}
			require.Zero(t, time.Since(began))
		})
	}
}

func TestARequestWhoseTimeIsOverIsNotRun(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		slow := func(next rpc.Handler) rpc.Handler {
			return func(ctx context.Context, in *rpc.Incoming) ([]byte, error) {
				time.Sleep(time.Minute)
				return next(ctx, in)
			}
		}
		b := c.start("b", func(o *rpc.Options) { o.ServerMiddleware = append(o.ServerMiddleware, slow) })
		var ran atomic.Bool
		require.NoError(t, rpc.Handle(b, "late", func(context.Context, nothing) (int, error) { ran.Store(true); return 0, nil }))
		c.settle(a, b)

		_, err := rpc.Call[int](background, a, rpc.Any(), "late", nothing{}, rpc.Timeout(time.Second))
		require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(err))
		time.Sleep(2 * time.Minute)

		require.False(t, ran.Load())
		require.Equal(t, uint64(1), statsOf(t, b)["late"].Expired)
	})
}

func TestAFullNodeIsExhaustedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		release := make(chan nothing)
		require.NoError(t, rpc.Handle(b, "wait", func(context.Context, nothing) (int, error) { <-release; return 7, nil }, rpc.Concurrency(2)))
		c.settle(a, b)
		answers := make(chan int, 2)
		for range 2 {
			go func() {
				n, _ := rpc.Call[int](background, a, rpc.Any(), "wait", nothing{})
				answers <- n
			}()
		}
		synctest.Wait()
		began := time.Now()

		_, err := rpc.Call[int](background, a, rpc.Any(), "wait", nothing{})

		require.Equal(t, fault.Exhausted, fault.CodeOf(err))
		require.ErrorContains(t, err, "2 of it at once")
		require.Zero(t, time.Since(began))
		close(release)
		require.Equal(t, 7, <-answers)
		require.Equal(t, 7, <-answers)
		_, err = rpc.Call[int](background, a, rpc.Any(), "wait", nothing{})
		require.NoError(t, err, "places are given back")
	})
}

func TestWhatCannotBeSentIsRefusedBeforeItIsSent(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		l := c.link()
		a := c.startOn(l, "a", func(o *rpc.Options) { o.Limits.Payload = 1000 })
		b := c.start("b")
		c.settle(a, b)
		to := rpc.Node(b.Self().Incarnation)
		tests := map[string]struct {
			call func() error
			code fault.Code
		}{
			"too large":     {func() error { _, err := a.Call(background, to, "name", make([]byte, 1001)); return err }, fault.TooLarge},
			"no method":     {func() error { _, err := a.Call(background, to, "", nil); return err }, fault.Invalid},
			"long method":   {func() error { _, err := a.Call(background, to, strings.Repeat("m", 129), nil); return err }, fault.Invalid},
			"spaces":        {func() error { _, err := a.Call(background, to, "a b", nil); return err }, fault.Invalid},
			"headers":       {func() error { return a.Cast(background, to, "name", nil, rpc.Header("k", strings.Repeat("v", 17_000))) }, fault.TooLarge},
			"not encodable": {func() error { return rpc.Cast(background, a, to, "name", make(chan int)) }, fault.Invalid},
			"bad quorum":    {func() error { _, err := a.Gather(background, rpc.All(), "name", nil, rpc.Quorum(-1)); return err }, fault.Invalid},
			"ended context": {func() error { _, err := a.Call(ended(), to, "name", nil); return err }, fault.Canceled},
		}
		for name, tt := range tests {
			require.Equal(t, tt.code, fault.CodeOf(tt.call()), name)
		}
		require.Zero(t, l.count(request))
	})
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(background)
	cancel()
	return ctx
}

func TestUndecodableValuesAreCorrupt(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		var ran atomic.Bool
		require.NoError(t, rpc.Handle(a, "int", func(_ context.Context, n int) (int, error) { ran.Store(true); return n, nil }))
		c.settle(a)

		_, err := rpc.Call[int](background, a, rpc.Any(), "int", "text")
		require.Equal(t, fault.Corrupt, fault.CodeOf(err))
		require.False(t, ran.Load())
		_, err = rpc.Call[string](background, a, rpc.Any(), "int", 1)
		require.Equal(t, fault.Corrupt, fault.CodeOf(err))
		results, err := rpc.Gather[string](background, a, rpc.All(), "int", 1)
		require.Equal(t, fault.Corrupt, fault.CodeOf(err))
		require.Len(t, results, 1)
	})
}

func TestRegistrationMistakesAreInvalid(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		p := c.peer(c.link(), "a")
		fine := func(context.Context, nothing) (int, error) { return 0, nil }
		require.NoError(t, rpc.Handle(p, "twice", fine))

		for name, err := range map[string]error{
			"twice":          rpc.Handle(p, "twice", fine),
			"nil":            rpc.Handle[int, int](p, "nil", nil),
			"nil raw":        p.Handle("nil", nil),
			"empty name":     rpc.Handle(p, "", fine),
			"built in":       rpc.Handle(p, "$stats", fine),
			"a space":        rpc.Handle(p, "a b", fine),
			"over-long name": rpc.Handle(p, strings.Repeat("m", 129), fine),
		} {
			require.Equal(t, fault.Invalid, fault.CodeOf(err), name)
		}
		require.Equal(t, []string{"twice"}, p.Self().Methods)
		var err error
		for i := 0; err == nil && i < 1000; i++ {
			err = rpc.Handle(p, strings.Repeat("m", 120)+string(rune('a'+i%26))+string(rune('a'+i/26)), fine)
		}
		require.Equal(t, fault.TooLarge, fault.CodeOf(err), "what announces a node has a limit")
	})
}

func TestACastGetsNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		lb := c.link()
		a, b := c.start("a"), c.startOn(lb, "b")
		got := make(chan string, 3)
		for _, p := range []*rpc.Peer{a, b} {
			require.NoError(t, rpc.Handle(p, "note", func(ctx context.Context, s string) (int, error) {
				if !rpc.IncomingFrom(ctx).Cast {
					s = "not a cast"
				}
				got <- s + " from " + rpc.IncomingFrom(ctx).From.Name
				return 0, errors.New("nobody is told")
			}))
		}
		c.settle(a, b)

		require.NoError(t, rpc.Cast(background, a, rpc.Node(b.Self().Incarnation), "note", "one"))
		require.Equal(t, "one from a", <-got)
		require.NoError(t, rpc.Cast(background, a, rpc.All(), "note", "all"))
		require.Equal(t, "all from a", <-got)
		require.Equal(t, "all from a", <-got)

		synctest.Wait()
		require.Zero(t, lb.count(response))
		require.Zero(t, a.Counters().Late)
	})
}

func TestMiddlewareGoesAroundBothSides(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		var order []string
		client := func(name string) func(rpc.Invoker) rpc.Invoker {
			return func(next rpc.Invoker) rpc.Invoker {
				return func(ctx context.Context, r rpc.Request, each func(rpc.Reply) bool) error {
					order = append(order, name+" before")
					r.Headers = map[string]string{"trace": r.Headers["trace"] + name}
					defer func() { order = append(order, name+" after") }()
					return next(ctx, r, each)
				}
			}
		}
		server := func(next rpc.Handler) rpc.Handler {
			return func(ctx context.Context, in *rpc.Incoming) ([]byte, error) {
				order = append(order, "server "+in.Method+" "+in.Headers["trace"])
				return next(ctx, in)
			}
		}
		a := c.start("a", func(o *rpc.Options) {
			o.ClientMiddleware = []func(rpc.Invoker) rpc.Invoker{client("1"), client("2")}
		})
		b := c.start("b", func(o *rpc.Options) { o.ServerMiddleware = []func(rpc.Handler) rpc.Handler{server} })
		c.settle(a, b)

		_, err := rpc.Call[string](background, a, rpc.Node(b.Self().Incarnation), "name", nothing{}, rpc.Header("trace", "0"))

		require.NoError(t, err)
		require.Equal(t, []string{"1 before", "2 before", "server name 012", "2 after", "1 after"}, order)
	})
}

func TestPeersAreUsedBetweenStartAndClose(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		p := c.peer(c.link(), "a")
		_, err := p.Call(background, rpc.Any(), "x", nil)
		require.Equal(t, fault.Unavailable, fault.CodeOf(err))
		require.NoError(t, p.Start(background))
		require.Equal(t, fault.Invalid, fault.CodeOf(p.Start(background)))

		require.NoError(t, p.Close())
		require.NoError(t, p.Close())

		_, callErr := p.Call(background, rpc.Any(), "x", nil)
		_, gatherErr := p.Gather(background, rpc.All(), "x", nil)
		_, statsErr := p.Stats(background)
		for _, err := range []error{callErr, gatherErr, statsErr, p.Cast(background, rpc.Any(), "x", nil), p.Start(background),
			p.Handle("y", func(context.Context, *rpc.Incoming) ([]byte, error) { return nil, nil }), p.SetMetadata(nil)} {
			require.Equal(t, fault.Closed, fault.CodeOf(err))
		}
	})
}

func TestCloseLetsHandlersEndAndTellsTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		require.NoError(t, rpc.Handle(b, "slow", func(context.Context, nothing) (string, error) { time.Sleep(2 * time.Second); return "done", nil }))
		c.settle(a, b)
		answer := make(chan string, 1)
		go func() {
			s, err := rpc.Call[string](background, a, rpc.Any(), "slow", nothing{})
			if err != nil {
				s = err.Error()
			}
			answer <- s
		}()
		synctest.Wait()

		require.NoError(t, b.Close())

		require.Equal(t, "done", <-answer)
		synctest.Wait()
		require.Equal(t, []string{"a"}, names(a.Members()))
	})
}

func TestCloseGivesUpOnAHandlerThatDoesNotEnd(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		b := c.start("b", func(o *rpc.Options) { o.Drain = time.Second })
		release, cancelled := make(chan nothing), make(chan nothing)
		require.NoError(t, rpc.Handle(b, "deaf", func(ctx context.Context, _ nothing) (int, error) {
			<-ctx.Done()
			close(cancelled)
			<-release
			return 0, nil
		}))
		c.settle(b)
		calling := make(chan error, 1)
		go func() { _, err := rpc.Call[int](background, b, rpc.Any(), "deaf", nothing{}); calling <- err }()
		synctest.Wait()
		began := time.Now()

		err := b.Close()

		require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(err))
		require.ErrorContains(t, err, "1 handlers have not returned")
		require.Equal(t, 2*time.Second, time.Since(began))
		<-cancelled
		require.Equal(t, fault.Closed, fault.CodeOf(<-calling))
		close(release)
		synctest.Wait()
	})
}

func statsOf(t *testing.T, p *rpc.Peer) map[string]rpc.MethodStats {
	t.Helper()
	all, err := p.Stats(background)
	require.NoError(t, err)
	for _, s := range all {
		if s.Member.Incarnation == p.Self().Incarnation {
			byName := map[string]rpc.MethodStats{}
			for _, m := range s.Methods {
				byName[m.Method] = m
			}
			return byName
		}
	}
	require.FailNow(t, "the node has not answered")
	return nil
}

// shouting is JSON in capitals, which only itself can read.
type shouting struct{}

func (shouting) Encode(value any) ([]byte, error) {
	data, err := rpc.JSON().Encode(value)
	return []byte("!" + strings.ToUpper(string(data))), err
}

func (shouting) Decode(data []byte, into any) error {
	if data[0] != '!' {
		return errors.New("too quiet")
	}
	return rpc.JSON().Decode(data[1:], into)
}

func TestValuesTravelInThePeersCodec(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		shout := func(o *rpc.Options) { o.Codec = shouting{} }
		a, b := c.start("a", shout), c.start("b", shout)
		require.NoError(t, rpc.Handle(b, "echo", func(_ context.Context, s string) (string, error) { return strings.ToLower(s) + s, nil }))
		c.settle(a, b)

		got, err := rpc.Call[string](background, a, rpc.Any(), "echo", "hey")

		require.NoError(t, err)
		require.Equal(t, "HEYHEY", got, "request and answer were encoded and decoded by it")
	})
}

func TestAnAnswerOfThisNodeIsTheCallersOwn(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		kept := []byte("kept")
		require.NoError(t, a.Handle("kept", func(context.Context, *rpc.Incoming) ([]byte, error) { return kept, nil }))
		answer, err := a.Call(background, rpc.Any(), "kept", nil)
		require.NoError(t, err)

		answer[0] = 'w'

		require.Equal(t, "kept", string(kept), "as if the caller were another node")
	})
}
