package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
)

// journal writes a peer's events down.
type journal struct {
	mu     sync.Mutex
	events []string
}

// read is what happened since it was last read; it waits until all of it is written down.
func (j *journal) read() []string {
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	events := j.events
	j.events = nil
	return events
}

// keep writes until the test ends.
func keep(t *testing.T, p *rpc.Peer) *journal {
	ctx, stop := context.WithCancel(background)
	j := &journal{}
	var done sync.WaitGroup
	done.Go(func() {
		for e := range p.Watch(ctx) {
			j.mu.Lock()
			j.events = append(j.events, string(e.Kind)+" "+e.Member.Name)
			j.mu.Unlock()
		}
	})
	t.Cleanup(func() { stop(); done.Wait() })
	synctest.Wait()
	return j
}

func TestMembersAreToldOfJoinsUpdatesLeavesAndDeaths(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		j := keep(t, a)
		require.Equal(t, []string{"joined a"}, j.read())

		lb := c.link()
		b := c.startOn(lb, "b", func(o *rpc.Options) { o.Metadata = map[string]string{"zone": "eu"} })
		other := c.start("c")
		c.settle(a, b, other)
		synctest.Wait()
		require.Equal(t, []string{"joined b", "joined c"}, j.read())
		seen := a.Members()
		require.Equal(t, []string{"a", "b", "c"}, names(seen))
		require.Equal(t, b.Self(), named(seen, "b"))
		require.Equal(t, map[string]string{"zone": "eu"}, named(seen, "b").Metadata)
		require.True(t, named(seen, "b").Serves("name"))
		require.False(t, named(seen, "b").Serves("nam"))

		require.NoError(t, b.SetMetadata(map[string]string{"zone": "us"}))
		synctest.Wait()
		require.Equal(t, []string{"updated b"}, j.read())
		require.Equal(t, "us", named(a.Members(), "b").Metadata["zone"])

		require.NoError(t, other.Close())
		synctest.Wait()
		require.Equal(t, "left c", last(j.read()))

		began := time.Now()
		lb.set(func(l *link) { l.cut = true })
		c.eventually(func() bool { return len(a.Members()) == 1 }, "b dies")
		require.GreaterOrEqual(t, time.Since(began), 4*time.Second)
		require.LessOrEqual(t, time.Since(began), 5300*time.Millisecond)
		require.Equal(t, []string{"dead b"}, j.read())

		lb.mend()
		c.eventually(func() bool { return len(a.Members()) == 2 }, "b is back")
		synctest.Wait()
		require.Equal(t, []string{"joined b"}, j.read())
	})
}

func named(members []rpc.Member, name string) rpc.Member {
	for _, m := range members {
		if m.Name == name {
			return m
		}
	}
	return rpc.Member{}
}

func last(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func TestJoiningCostsOneAnswerFromEachMember(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		var peers []*rpc.Peer
		var links []*link
		for i := range 10 {
			links = append(links, c.link())
			peers = append(peers, c.startOn(links[i], fmt.Sprint("n", i)))
		}
		c.settle(peers...)
		before := 0
		for _, l := range links {
			before += l.count(announce)
		}
		newcomer := c.link()

		p := c.startOn(newcomer, "new")
		began := time.Now()
		c.settle(append(peers, p)...)

		after := 0
		for _, l := range links {
			after += l.count(announce)
		}
		require.Equal(t, 10, after-before)
		require.Equal(t, 1, newcomer.count(join))
		require.Zero(t, time.Since(began), "with others there, the membership is complete at once")
	})
}

func TestAloneAMembershipIsCompleteAfterOneHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		began := time.Now()
		a := c.start("a")

		require.NoError(t, a.Ready(background))

		require.Equal(t, 1200*time.Millisecond, time.Since(began))
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(c.peer(c.link(), "never started").Ready(ctx)))
	})
}

func TestCallsBeforeTheMembershipIsCompleteWaitRatherThanFail(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.conceal = true
		la, lb := c.link(), c.link()
		lost := func(f rpc.Frame) bool { return kindOf(f) == announce || kindOf(f) == join && f.To == rpc.Broadcast }
		a := c.startOn(la, "a")
		c.settle(a)
		la.set(func(l *link) { l.lose = lost })
		b := c.startOn(lb, "b")
		time.AfterFunc(500*time.Millisecond, func() { la.set(func(l *link) { l.lose = nil }) })

		results, err := rpc.Gather[string](background, b, rpc.All(), "name", nothing{})
		require.NoError(t, err)
		require.Len(t, results, 2)
		got, err := rpc.Call[string](background, b, rpc.Node(a.Self().Incarnation), "name", nothing{})
		require.NoError(t, err)
		require.Equal(t, "a", got)
	})
}

func TestMethodsRegisteredLaterAreFoundByTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		lb := c.link()
		a, b := c.start("a"), c.startOn(lb, "b")
		c.settle(a, b)
		before := lb.count(announce)
		for i := range 100 {
			require.NoError(t, rpc.Handle(b, fmt.Sprint("m", i), func(context.Context, nothing) (int, error) { return i, nil }))
		}
		synctest.Wait()

		got, err := rpc.Call[int](background, a, rpc.Any(), "m99", nothing{})

		require.NoError(t, err)
		require.Equal(t, 99, got)
		require.Less(t, lb.count(announce)-before, 100, "many changes need not make as many frames")
	})
}

func TestLostNewsAreHealedByHeartbeats(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		lb := c.link()
		a, b := c.start("a"), c.startOn(lb, "b")
		c.settle(a, b)
		lb.set(func(l *link) { l.lose = func(f rpc.Frame) bool { return kindOf(f) == announce } })
		require.NoError(t, b.SetMetadata(map[string]string{"k": "v"}))
		time.Sleep(3 * time.Second)
		require.Empty(t, named(a.Members(), "b").Metadata)

		lb.set(func(l *link) { l.lose = nil })
		time.Sleep(1100 * time.Millisecond)

		require.Equal(t, "v", named(a.Members(), "b").Metadata["k"])
	})
}

func TestANodeThatDoesNotHearItselfTakesItselfForDead(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		a, b := c.startOn(la, "a"), c.start("b")
		release := make(chan nothing)
		require.NoError(t, rpc.Handle(b, "wait", func(context.Context, nothing) (int, error) { <-release; return 0, nil }))
		defer close(release)
		c.settle(a, b)
		j := keep(t, a)
		j.read()
		pending := make(chan error, 1)
		go func() {
			_, err := rpc.Call[int](background, a, rpc.Any(), "wait", nothing{}, rpc.Timeout(time.Hour))
			pending <- err
		}()
		synctest.Wait()

		la.set(func(l *link) { l.cut = true })
		began := time.Now()
		err := <-pending

		require.Equal(t, fault.Unavailable, fault.LocalCode(err), "what waits for others ends: %v", err)
		require.GreaterOrEqual(t, time.Since(began), 4*time.Second)
		require.LessOrEqual(t, time.Since(began), 5300*time.Millisecond)
		require.True(t, a.Fenced())
		began = time.Now()
		for _, to := range []rpc.Target{rpc.Any(), rpc.All(), rpc.Node(a.Self().Incarnation), rpc.Node(b.Self().Incarnation)} {
			_, err := rpc.Gather[string](background, a, to, "name", nothing{})
			require.Equal(t, fault.Unavailable, fault.LocalCode(err), "%s: %v", to, err)
		}
		require.Zero(t, time.Since(began))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"a", "b"}, names(a.Members()), "who hears nobody cannot judge")

		la.mend()
		c.eventually(func() bool { return !a.Fenced() && len(b.Members()) == 2 }, "a is back")
		got, err := rpc.Call[string](background, a, rpc.Node(b.Self().Incarnation), "name", nothing{})
		require.NoError(t, err)
		require.Equal(t, "b", got)
		synctest.Wait()
		require.Equal(t, []string{"fenced a", "returned a"}, j.read())
	})
}

func TestAShortCutOfTheLinkKillsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		a, b := c.startOn(la, "a"), c.start("b")
		c.settle(a, b)
		j, k := keep(t, a), keep(t, b)
		j.read()
		k.read()

		for range 10 {
			la.set(func(l *link) { l.cut = true })
			time.Sleep(3900 * time.Millisecond)
			la.mend()
			time.Sleep(1200 * time.Millisecond)
		}

		require.Empty(t, j.read())
		require.Empty(t, k.read())
	})
}

func TestAnAnswerLostWithTheLinkIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		a, b := c.startOn(la, "a"), c.start("b")
		runs := make(chan nothing, 10)
		require.NoError(t, rpc.Handle(b, "slow", func(_ context.Context, d time.Duration) (string, error) {
			runs <- nothing{}
			time.Sleep(d)
			return "done", nil
		}))
		c.settle(a, b)
		call := func(d time.Duration, o ...rpc.CallOption) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := rpc.Call[string](background, a, rpc.Any(), "slow", d, append(o, rpc.Timeout(time.Hour))...)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		lost, still := call(time.Second), call(10*time.Second)
		repeated := call(time.Second, rpc.Repeatable())

		la.set(func(l *link) { l.cut = true })
		time.Sleep(2 * time.Second)
		la.mend()
		mended := time.Now()

		err := <-lost
		require.Equal(t, fault.Unavailable, fault.CodeOf(err), "%v", err)
		require.Less(t, time.Since(mended), 500*time.Millisecond)
		require.NoError(t, <-repeated, "what may run twice is tried again")
		require.NoError(t, <-still, "what still runs is waited for")
		require.Len(t, runs, 4)
	})
}

func TestARequestLostWithTheOtherNodesLinkIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		lb := c.link()
		a, b := c.start("a"), c.startOn(lb, "b")
		runs := make(chan nothing, 10)
		require.NoError(t, rpc.Handle(b, "slow", func(_ context.Context, d time.Duration) (string, error) {
			runs <- nothing{}
			time.Sleep(d)
			return "done", nil
		}))
		c.settle(a, b)
		call := func(d time.Duration, o ...rpc.CallOption) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := rpc.Call[string](background, a, rpc.Any(), "slow", d, append(o, rpc.Timeout(time.Hour))...)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		running := call(10 * time.Second)
		lb.set(func(l *link) { l.cut = true })
		lost, repeated := call(time.Second), call(time.Second, rpc.Repeatable())
		time.Sleep(2 * time.Second)

		lb.mend()
		mended := time.Now()

		err := <-lost
		require.Equal(t, fault.Unavailable, fault.LocalCode(err), "%v", err)
		require.Less(t, time.Since(mended), 500*time.Millisecond)
		require.NoError(t, <-repeated, "what may run twice is tried again")
		require.NoError(t, <-running, "what still runs is waited for")
		require.Len(t, runs, 2)
	})
}

func TestARequestThatIsLateIsNotTakenForLost(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la, lb := c.link(), c.link()
		a, b, third := c.startOn(la, "a"), c.startOn(lb, "b"), c.start("c")
		c.settle(a, b, third)
		stalled := make(chan struct{})
		lb.set(func(l *link) { l.stalled = stalled })
		answered := make(chan error, 1)
		go func() {
			_, err := rpc.Gather[string](background, a, rpc.All(), "name", nothing{}, rpc.Timeout(time.Hour))
			answered <- err
		}()
		synctest.Wait()

		la.mend() // a now asks whether they are at its call
		time.Sleep(time.Second)
		close(stalled)

		require.NoError(t, <-answered, "the question did not overtake the request")
	})
}

func TestANodeThatLeavesIsGoneEvenToThoseWhoAskIt(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		a, b := c.startOn(la, "a"), c.start("b")
		require.NoError(t, rpc.Handle(b, "stuck", func(ctx context.Context, _ nothing) (string, error) {
			<-ctx.Done() // which ends when the node leaves
			return "", ctx.Err()
		}))
		require.NoError(t, rpc.Handle(b, "slow", func(ctx context.Context, _ nothing) (string, error) {
			<-ctx.Done()
			time.Sleep(900 * time.Millisecond) // the node waits for it before it says goodbye
			return "", ctx.Err()
		}))
		c.settle(a, b)
		ended := make(chan error, 2)
		for _, method := range []string{"stuck", "slow"} {
			go func() {
				_, err := rpc.Call[string](background, a, rpc.Node(b.Self().Incarnation), method, nothing{}, rpc.Timeout(time.Hour))
				ended <- err
			}()
		}
		synctest.Wait()
		leaving := make(chan error, 1)
		go func() { leaving <- b.Close() }()
		for range 40 { // a asks again and again whether b is still at it
			time.Sleep(250 * time.Millisecond)
			la.mend()
		}

		for range 2 {
			require.Equal(t, fault.NodeGone, fault.CodeOf(<-ended))
		}
		require.NoError(t, <-leaving)
	})
}

func TestOnlyRepeatableCallsAreRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		a, b := c.startOn(la, "a"), c.start("b")
		c.settle(a, b)
		to := rpc.Node(b.Self().Incarnation)
		la.set(func(l *link) { l.down = fault.New(fault.Unavailable, "no link") })

		_, err := rpc.Call[string](background, a, to, "name", nothing{})
		require.Equal(t, fault.Unavailable, fault.LocalCode(err))
		time.AfterFunc(time.Second, la.mend)
		got, err := rpc.Call[string](background, a, to, "name", nothing{}, rpc.Repeatable())
		require.NoError(t, err)
		require.Equal(t, "b", got)

		count := 0
		require.NoError(t, rpc.Handle(b, "fail", func(context.Context, nothing) (int, error) {
			count++
			return 0, fault.New(fault.Unavailable, "my database is away")
		}))
		_, err = rpc.Call[int](background, a, to, "fail", nothing{}, rpc.Repeatable())
		require.Equal(t, fault.Unavailable, fault.CodeOf(err))
		require.Equal(t, 1, count, "what a handler answers is no reason to call again")
	})
}

func TestStatisticsTellWhatEachNodeHasDone(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		release := make(chan nothing)
		require.NoError(t, rpc.Handle(b, "work", func(_ context.Context, how string) (int, error) {
			switch how {
			case "wait":
				<-release
			case "fail":
				return 0, errors.New("no luck")
			}
			time.Sleep(time.Second)
			return 0, nil
		}, rpc.Concurrency(1)))
		c.settle(a, b)
		for _, how := range []string{"", "fail", ""} {
			_, _ = rpc.Call[int](background, a, rpc.Any(), "work", how)
		}
		waiting := make(chan nothing)
		go func() { defer close(waiting); _, _ = rpc.Call[int](background, a, rpc.Any(), "work", "wait") }()
		synctest.Wait()
		_, err := rpc.Call[int](background, a, rpc.Any(), "work", "")
		require.Equal(t, fault.Exhausted, fault.CodeOf(err))

		all, err := a.Stats(background)

		require.NoError(t, err)
		require.Len(t, all, 2)
		require.Equal(t, rpc.MethodStats{Method: "work", Requests: 3, Errors: 1, InFlight: 1, Concurrency: 1, Exhausted: 1,
			LastError: "no luck", TotalTime: 2 * time.Second}, statsOf(t, b)["work"])
		close(release)
		<-waiting
	})
}

func TestASlowWatcherIsToldHowManyEventsItMissed(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		c.settle(a)
		ctx, stop := context.WithCancel(background)
		defer stop()
		seen, lost := 0, 0
		for e := range a.Watch(ctx) {
			if e.Kind == rpc.Missed {
				lost = e.Lost
				continue
			}
			if seen++; seen == 1 {
				for i := range 3000 {
					require.NoError(t, a.SetMetadata(map[string]string{"i": fmt.Sprint(i)}))
				}
			}
			if e.Member.Metadata["i"] == "2999" {
				break
			}
		}
		require.Equal(t, 1+1024, seen)
		require.Equal(t, 3000-1024, lost)
	})
}

func TestPeersThatCannotBeAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		b := c.link().backend()
		good := rpc.Options{Name: "a", Insecure: true}
		change := func(f func(o *rpc.Options)) rpc.Options { o := good; f(&o); return o }
		tests := map[string]struct {
			options rpc.Options
			says    string
		}{
			"no name":       {change(func(o *rpc.Options) { o.Name = "" }), "0 bytes"},
			"long name":     {change(func(o *rpc.Options) { o.Name = strings.Repeat("n", 129) }), "129 bytes"},
			"no key":        {change(func(o *rpc.Options) { o.Insecure = false }), "backplane key"},
			"bad key":       {change(func(o *rpc.Options) { o.Keys = []string{"x"} }), "base64"},
			"secret no key": {change(func(o *rpc.Options) { o.Secret = true }), "secrecy needs a key"},
			"impatient":     {change(func(o *rpc.Options) { o.DeadAfter = 2 * time.Second }), "three heartbeats"},
			"negative":      {change(func(o *rpc.Options) { o.CallTimeout = -1 }), "CallTimeout"},
			"huge":          {change(func(o *rpc.Options) { o.Limits.Payload = 2 << 30 }), "Limits.Payload"},
			"none at once":  {change(func(o *rpc.Options) { o.Limits.Concurrency = -1 }), "Limits.Concurrency"},
		}
		for name, tt := range tests {
			_, err := rpc.New(b, tt.options)
			require.Equal(t, fault.Invalid, fault.CodeOf(err), name)
			require.ErrorContains(t, err, tt.says, name)
		}
		_, err := rpc.New(b, change(func(o *rpc.Options) { o.Metadata = map[string]string{"k": strings.Repeat("v", 50_000)} }))
		require.Equal(t, fault.TooLarge, fault.CodeOf(err))
		_, err = rpc.New(nil, good)
		require.Equal(t, fault.Unsupported, fault.CodeOf(err))
		p, err := rpc.New(b, good)
		require.NoError(t, err)
		require.NoError(t, p.Close(), "closing what was never started")
	})
}

func TestHeartbeatsAreSentWhateverIsAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		l := c.link()
		a := c.startOn(l, "a", func(o *rpc.Options) { o.Heartbeat = time.Second })
		require.NoError(t, a.Ready(background))
		before := l.count(heartbeat)

		for i := range 50 { // 40 s
			time.Sleep(800 * time.Millisecond)
			require.NoError(t, a.SetMetadata(map[string]string{"i": strconv.Itoa(i)}))
		}

		require.InDelta(t, 40, l.count(heartbeat)-before, 1)
	})
}
