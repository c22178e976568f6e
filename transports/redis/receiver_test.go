package redis_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/redis"
)

// quick is a bound on silence for tests: long against a scheduler's pauses.
const quick = 900 * time.Millisecond

// behind opens a node behind a proxy of its own.
func behind(t *testing.T, addr, namespace string, silence time.Duration) (transports.Transport, *servers.Proxy) {
	t.Helper()
	proxy := testserver.NewProxy(t, addr)
	tr := node(t, proxy.Addr(), namespace)
	redis.SetSilence(tr, silence)
	return tr, proxy
}

func status(t transports.Transport) redis.SubscriberStatus { return t.(*redis.Transport).Subscriber() }

func TestTheBoundOnSilenceIsAnOption(t *testing.T) {
	url := "redis://" + testserver.Shared(t).Addr()
	tr, err := redis.Open(t.Context(), transports.Settings{URL: url + "?silence=2s", Namespace: testserver.Namespace(t)})
	require.NoError(t, err)
	defer tr.Close()
	require.Equal(t, 2*time.Second, tr.PubSub().Capabilities.Silence)

	_, err = redis.Open(t.Context(), transports.Settings{URL: url + "?silence=1ms", Namespace: "n"})
	require.ErrorIs(t, err, fault.Invalid)
}

// subscribers are one of each kind, which must all hear of a gap.
func subscribers(t *testing.T, tr transports.Transport) map[string]*inbox {
	t.Helper()
	return map[string]*inbox{
		"literal":  listen(t, tr, "news.a", ""),
		"second":   listen(t, tr, "news.a", ""),
		"wildcard": listen(t, tr, "news.*", ""),
		"all":      listen(t, tr, ">", ""),
		"group":    listen(t, tr, "news.a", "g"),
		"wild":     listen(t, tr, "news.>", "h"),
	}
}

// flowsAgain publishes from elsewhere until every subscriber has had a gap, and after it something that was sent after
// the call.
func flowsAgain(t *testing.T, from transports.Transport, inboxes map[string]*inbox) {
	t.Helper()
	mark := fmt.Sprint("after ", time.Now().UnixNano())
	ctx, cancel := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for ctx.Err() == nil {
			_, _ = from.PubSub().Publish(ctx, []pubsub.Message{to("news.a", mark)})
			time.Sleep(5 * time.Millisecond)
		}
	})
	defer func() { cancel(); publishing.Wait() }()
	for name, in := range inboxes {
		eventually(t, name+" receives again", func() bool {
			in.mu.Lock()
			defer in.mu.Unlock()
			gaps := 0
			for _, e := range in.events {
				if e.Gap != nil && e.Gap.Cause == pubsub.Reconnected {
					gaps++
				} else if e.Message != nil && string(e.Message.Payload) == mark && gaps > 0 {
					return true
				}
			}
			return false
		})
	}
}

func TestPubSubRecoversFromALinkThatSwallowsEverything(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]time.Duration{"default bound": 5 * time.Second, "short bound": quick} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
			near := node(t, addr, ns)
			far, proxy := behind(t, addr, ns, silence)
			inboxes := subscribers(t, far)
			publish(t, near, to("news.a", "before"))
			for name, in := range inboxes {
				eventually(t, name+" receives", func() bool { return len(in.messages()) == 1 })
			}

			proxy.Swallow(true)
			publish(t, near, to("news.a", "lost"))
			eventually(t, "the dead link is noticed", func() bool { return status(far).LinksLost > 0 })
			proxy.Swallow(false)
			back := time.Now()
			flowsAgain(t, near, inboxes)

			require.Less(t, time.Since(back), 10*time.Second)
		})
	}
}

func TestBytesSwallowedOnALinkThatStaysUpAreNoticed(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	near := node(t, addr, ns)
	far, proxy := behind(t, addr, ns, quick)
	inboxes := subscribers(t, far)

	// Shorter than the bound on silence, longer than the pause between two pings.
	proxy.Swallow(true)
	publish(t, near, to("news.a", "lost"))
	time.Sleep(quick/3 + 100*time.Millisecond)
	proxy.Swallow(false)

	flowsAgain(t, near, inboxes)
}

func TestPubSubRecoversFromACutLink(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	near := node(t, addr, ns)
	far, proxy := behind(t, addr, ns, quick)
	inboxes := subscribers(t, far)

	for range 3 {
		proxy.Cut()
		flowsAgain(t, near, inboxes)
	}
}

func TestPubSubRecoversFromARestartOfTheServer(t *testing.T) {
	t.Parallel()
	server, ns := testserver.Redis(t), testserver.Namespace(t)
	a, b := node(t, server.Addr(), ns), node(t, server.Addr(), ns)
	inboxes := subscribers(t, b)

	server.Kill()
	require.NoError(t, server.Restart(t.Context()))

	flowsAgain(t, a, inboxes)
}

func TestPubSubRecoversFromAServerThatStoodStill(t *testing.T) {
	t.Parallel()
	server, ns := testserver.Redis(t), testserver.Namespace(t)
	a, b := node(t, server.Addr(), ns), node(t, server.Addr(), ns)
	redis.SetSilence(b, quick)
	inboxes := subscribers(t, b)

	require.NoError(t, server.Pause())
	eventually(t, "the silence is noticed", func() bool { return status(b).LinksLost > 0 })
	require.NoError(t, server.Resume())

	flowsAgain(t, a, inboxes)
}

func TestAQuietLinkStaysUp(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	const silence = 3 * time.Second
	far, _ := behind(t, addr, ns, silence)
	in := listen(t, far, "news.a", "")

	time.Sleep(2 * silence)
	publish(t, far, to("news.a", "1"))

	eventually(t, "it receives", func() bool { return len(in.messages()) == 1 })
	require.Zero(t, status(far).LinksLost)
	require.Zero(t, in.gaps(pubsub.Reconnected))
}

func TestSubscribeWithoutALinkFailsAtTheNextAttempt(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	far, proxy := behind(t, addr, ns, quick)
	proxy.Refuse(true)

	_, err := far.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "news.a"}, func([]pubsub.Event) {})
	require.ErrorIs(t, err, fault.Unavailable)
	_, err = far.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "news.*"}, func([]pubsub.Event) {})
	require.ErrorIs(t, err, fault.Unavailable)

	proxy.Refuse(false)
	in := &inbox{}
	var sub pubsub.Subscription
	eventually(t, "it works again", func() bool {
		sub, err = far.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "news.a"}, in.deliver)
		return err == nil
	})
	publish(t, far, to("news.a", "1"))
	eventually(t, "it receives", func() bool { return len(in.messages()) == 1 })
	require.Zero(t, in.gaps(pubsub.Reconnected), "nothing was missed since it was subscribed")
	require.NoError(t, sub.Close())
}

func TestSubscribeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	far, proxy := behind(t, addr, ns, 5*time.Second)
	proxy.Swallow(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()

	began := time.Now()
	_, err := far.PubSub().Subscribe(ctx, pubsub.Filter{Subject: "news.a"}, func([]pubsub.Event) {})

	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 2*time.Second)
}

func TestAContextThatHasEndedSubscribesToNothing(t *testing.T) {
	t.Parallel()
	node := open(t)
	listen(t, node, "news.a", "") // so that the channel is confirmed at once
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	for range 100 {
		_, err := node.PubSub().Subscribe(ctx, pubsub.Filter{Subject: "news.a"}, func([]pubsub.Event) {})
		requireCode(t, fault.Canceled, err)
	}
}

func TestCloseDoesNotWaitForADeadLink(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	far, proxy := behind(t, addr, ns, 5*time.Second)
	listen(t, far, "news.a", "")
	proxy.Swallow(true)

	began := time.Now()
	require.NoError(t, far.Close())

	require.Less(t, time.Since(began), 4*time.Second)
}

func TestCloseDoesNotWaitForALoginThatHangs(t *testing.T) {
	t.Parallel()
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	far, proxy := behind(t, addr, ns, time.Minute)
	proxy.Swallow(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := far.PubSub().Subscribe(ctx, pubsub.Filter{Subject: "a"}, func([]pubsub.Event) {})
	requireCode(t, fault.DeadlineExceeded, err)

	began := time.Now()
	require.NoError(t, far.Close())

	require.Less(t, time.Since(began), 30*time.Second)
}

func TestAGroupRepeatsNothingWhileLinksBreak(t *testing.T) {
	t.Parallel()
	const n = 1500
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	near := node(t, addr, ns)
	far, proxy := behind(t, addr, ns, quick)
	inboxes := []*inbox{listen(t, near, "job", "g"), listen(t, far, "job", "g"), listen(t, far, "job", "g")}
	seen := func() map[string]int {
		times := map[string]int{}
		for _, in := range inboxes {
			for _, p := range in.payloads() {
				times[p]++
			}
		}
		return times
	}

	for i := range n {
		publish(t, near, to("job", fmt.Sprint(i)))
		if i%300 == 150 {
			proxy.Cut()
		}
	}
	eventually(t, "the group goes on", func() bool {
		publish(t, near, to("job", "end"))
		return seen()["end"] > 0
	})

	for payload, times := range seen() {
		if payload != "end" {
			require.Equal(t, 1, times, "message %s", payload)
		}
	}
	require.Positive(t, inboxes[1].gaps(pubsub.Reconnected))
	require.Positive(t, inboxes[2].gaps(pubsub.Reconnected))
}

func TestAChannelThatTheServerRefusesHarmsNoOther(t *testing.T) {
	t.Parallel()
	server, ns := testserver.Redis(t), testserver.Namespace(t)
	admin := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
	defer admin.Close()
	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "limited", "on", ">secret", "~*", "+@all", "resetchannels",
		"&bp:"+ns+":ps:open.*").Err())
	a := node(t, "limited:secret@"+server.Addr(), ns)
	in := listen(t, a, "open.x", "")

	for range 3 {
		_, err := a.PubSub().Subscribe(t.Context(), pubsub.Filter{Subject: "closed.x"}, in.deliver)
		require.ErrorContains(t, err, "NOPERM")
	}
	publish(t, a, to("open.x", "1"))
	receipts, err := a.PubSub().Publish(t.Context(), []pubsub.Message{to("closed.x", "2"), to("open.x", "3")})

	require.NoError(t, err)
	require.ErrorContains(t, receipts[0].Err, "NOPERM")
	require.NoError(t, receipts[1].Err)
	eventually(t, "the others go on", func() bool { return len(in.messages()) == 2 })
	require.Zero(t, status(a).LinksLost)
}

func TestManySubscriptionsComeBackAfterACut(t *testing.T) {
	t.Parallel()
	const n = 3000 // several commands' worth
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	near := node(t, addr, ns)
	far, proxy := behind(t, addr, ns, quick)
	in := &inbox{}
	var subscribing sync.WaitGroup
	failed := make(chan error, n)
	subs := make([]pubsub.Subscription, n)
	for i := range n {
		subscribing.Go(func() {
			var err error
			if subs[i], err = far.PubSub().Subscribe(context.Background(), pubsub.Filter{Subject: fmt.Sprint("many.", i)}, in.deliver); err != nil {
				failed <- err
			}
		})
	}
	subscribing.Wait()
	require.Empty(t, failed)

	proxy.Cut()
	eventually(t, "each hears of the gap", func() bool { return in.gaps(pubsub.Reconnected) == n })
	batch := make([]pubsub.Message, n)
	for i := range batch {
		batch[i] = to(fmt.Sprint("many.", i), "")
	}
	publish(t, near, batch...)

	eventually(t, "each receives", func() bool { return len(in.messages()) == n })
	for _, s := range subs {
		require.NoError(t, s.Close())
	}
}
