package rpc_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
	"github.com/gobackplane/backplane/rpc"
)

func TestWithDuplicatesAndReorderingEachRequestStillRunsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la, lb := c.link(), c.link()
		for _, l := range []*link{la, lb} {
			l.repeat, l.reverse = true, true
		}
		a, b := c.startOn(la, "a"), c.startOn(lb, "b")
		var mu sync.Mutex
		runs := map[int]int{}
		require.NoError(t, rpc.Handle(b, "count", func(_ context.Context, n int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			runs[n]++
			return n, nil
		}))
		c.settle(a, b)

		var wg sync.WaitGroup
		var failed sync.Map
		for i := range 200 {
			wg.Go(func() {
				if n, err := rpc.Call[int](background, a, rpc.Any(), "count", i); err != nil || n != i {
					failed.Store(i, err)
				}
			})
		}
		wg.Wait()

		failed.Range(func(i, err any) bool { require.Fail(t, "a call failed", "%v: %v", i, err); return true })
		require.Len(t, runs, 200)
		for n, times := range runs {
			require.Equal(t, 1, times, "request %d", n)
		}
		require.Positive(t, b.Counters().Refused["duplicate"])
	})
}

func TestStrangersAreNotHeardAndAreCountedAndLoggedAtABoundedRate(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		var log bytes.Buffer
		var mu sync.Mutex
		logger := slog.New(slog.NewTextHandler(locked{&mu, &log}, nil))
		b := c.start("b", func(o *rpc.Options) { o.Logger = logger })
		c.settle(b)
		keys := []string{envelope.NewKey()}
		stranger := c.start("stranger", func(o *rpc.Options) { o.Keys = keys })
		insecure := c.start("insecure", func(o *rpc.Options) { o.Keys, o.Insecure = nil, true })

		for range 50 {
			_, err := rpc.Call[string](background, stranger, rpc.Node(b.Self().Incarnation), "name", nothing{}, rpc.Timeout(10*time.Millisecond))
			require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(err))
			_, err = rpc.Call[string](background, insecure, rpc.Node(b.Self().Incarnation), "name", nothing{}, rpc.Timeout(10*time.Millisecond))
			require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(err))
		}

		require.Equal(t, []string{"b"}, names(b.Members()))
		require.Zero(t, statsOf(t, b)["name"].Requests)
		require.GreaterOrEqual(t, b.Counters().Refused["unauthenticated"], uint64(100))
		mu.Lock()
		defer mu.Unlock()
		require.LessOrEqual(t, bytes.Count(log.Bytes(), []byte("a frame was refused")), 2)
		require.NotContains(t, log.String(), testKey)
		require.NotContains(t, log.String(), keys[0])
	})
}

type locked struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestGarbageIsRefusedAndHurtsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		a, b := c.startOn(la, "a"), c.start("b")
		c.settle(a, b)
		r, err := envelope.ParseRing([]string{testKey})
		require.NoError(t, err)
		sealer, err := envelope.NewSealer(r, "newer", envelope.NewIncarnation(time.Now()), envelope.Signed)
		require.NoError(t, err)
		inbox := rpc.Inbox(b.Self().Incarnation)
		frames := []rpc.Frame{{To: inbox, Payload: []byte("PING")}, {To: inbox, Payload: []byte{}}, {To: inbox, Payload: bytes.Repeat([]byte{1}, 100)}}
		for kind := range byte(32) {
			for _, body := range []string{"", "\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f"} {
				frames = append(frames, rpc.Frame{To: inbox, Payload: sealer.Lane(1).Seal(nil, kind, string(inbox), []byte(body))})
				frames = append(frames, rpc.Frame{To: rpc.Broadcast, Payload: sealer.Lane(2).Seal(nil, kind, "all", []byte(body))})
			}
		}

		_, err = la.Driver.Send(background, frames)
		require.NoError(t, err)
		synctest.Wait()

		require.Positive(t, b.Counters().Refused["corrupt"])
		got, err := rpc.Call[string](background, a, rpc.Node(b.Self().Incarnation), "name", nothing{})
		require.NoError(t, err)
		require.Equal(t, "b", got)
	})
}

func TestAReplayedRequestDoesNotRunAgain(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		a, b := c.startOn(la, "a"), c.start("b")
		c.settle(a, b)
		var recorded []rpc.Frame
		la.set(func(l *link) {
			l.lose = func(f rpc.Frame) bool {
				recorded = append(recorded, rpc.Frame{To: f.To, Payload: bytes.Clone(f.Payload)})
				return false
			}
		})
		_, err := rpc.Call[string](background, a, rpc.Node(b.Self().Incarnation), "name", nothing{})
		require.NoError(t, err)
		require.NoError(t, a.Close())
		synctest.Wait()
		require.Equal(t, []string{"b"}, names(b.Members()))

		_, err = c.link().Driver.Send(background, recorded)
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(time.Minute)
		_, err = c.link().Driver.Send(background, recorded)
		require.NoError(t, err)
		synctest.Wait()

		require.Equal(t, uint64(1), statsOf(t, b)["name"].Requests)
		require.Equal(t, []string{"b"}, names(b.Members()), "a node that left does not come back by a replay")
	})
}

func TestKeysRotateWhileNodesTalk(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		older, newer := envelope.NewKey(), envelope.NewKey()
		with := func(keys ...string) func(*rpc.Options) { return func(o *rpc.Options) { o.Keys = keys } }
		a, b, d := c.start("a", with(older, newer)), c.start("b", with(newer, older)), c.start("d", with(newer, older), func(o *rpc.Options) { o.Secret = true })
		c.settle(a, b, d)

		results, err := rpc.Gather[string](background, a, rpc.All(), "name", nothing{})

		require.NoError(t, err)
		require.Len(t, results, 3)
	})
}

func TestSecretPeersShowNothingOnTheWire(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		secret := func(o *rpc.Options) { o.Secret = true }
		a, b := c.startOn(la, "a", secret), c.start("b", secret)
		echo(t, b)
		c.settle(a, b)
		var wire bytes.Buffer
		la.set(func(l *link) { l.lose = func(f rpc.Frame) bool { wire.Write(f.Payload); return false } })
		plan := bytes.Repeat([]byte("the plan "), 100_000)

		answer, err := a.Call(background, rpc.Any(), "echo", plan)

		require.NoError(t, err)
		require.Equal(t, plan, answer)
		require.Greater(t, wire.Len(), len(plan))
		require.NotContains(t, wire.String(), "the plan")
	})
}

func TestARestartedNodeIsAnotherMember(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		lb := c.link()
		b := c.startOn(lb, "b")
		c.settle(a, b)
		lb.set(func(l *link) { l.cut = true }) // killed: no goodbye
		time.Sleep(time.Second)

		again := c.start("b")
		c.settle(a, again)

		require.Equal(t, []string{"a", "b", "b"}, names(a.Members()), "until the former is dead")
		require.NotEqual(t, b.Self().Incarnation, again.Self().Incarnation)
		time.Sleep(6 * time.Second)
		require.Equal(t, []string{"a", "b"}, names(a.Members()))
		_, err := rpc.Call[string](background, a, rpc.Node(b.Self().Incarnation), "name", nothing{})
		require.Equal(t, fault.NodeGone, fault.LocalCode(err))
		_, err = rpc.Call[string](background, a, rpc.Node(again.Self().Incarnation), "name", nothing{})
		require.NoError(t, err)
	})
}

func TestManyCallersAtOnceGetTheirOwnAnswers(t *testing.T) {
	c := &cluster{T: t} // in real time, for the race detector
	a, b := c.start("a"), c.start("b")
	echo(t, a, b)
	c.settle(a, b)
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for i := range 64 {
		wg.Go(func() {
			var err error
			for j := range 50 {
				payload := pattern(100 + i*50 + j)
				answer, callErr := a.Call(background, rpc.Any(), "echo", payload)
				if callErr != nil {
					err = callErr
				} else if !bytes.Equal(answer, payload) {
					err = fault.New(fault.Corrupt, "another's answer")
				}
			}
			errs <- err
		})
	}
	wg.Wait()
	for range 64 {
		require.NoError(t, <-errs)
	}
}
