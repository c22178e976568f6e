package chaos

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// backAfter is within what time pub/sub and RPC must work again once a dead link is back.
const backAfter = 10 * time.Second

// A link that swallows every packet, with its connections up, is the fault that clients notice last. Of two nodes one is
// put behind it, for longer than it takes to be noticed and for shorter.
func TestPubSubAndRPCComeBackAfterASwallowingLink(t *testing.T) {
	for name, outage := range map[string]time.Duration{"noticed": 12 * time.Second, "short": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := testserver.Redis(t)
			proxy := testserver.NewProxy(t, redis.Addr())
			behind, direct := open(t, "redis://"+proxy.Addr()), open(t, redis.URL())
			far, near := startPeer(t, behind, "far"), startPeer(t, direct, "near")
			logs := map[string]*eventLog{}
			for _, filter := range []pubsub.Filter{{Subject: "news.sport"}, {Subject: "news.*"}, {Subject: "news.>", Group: "g"}} {
				logs[filter.Subject] = subscribe(t, behind, filter)
			}
			callsWork := func() bool { return call(t, near, far) && call(t, far, near) }
			require.Eventually(t, callsWork, backAfter, 50*time.Millisecond, "before the fault")

			proxy.Swallow(true)
			require.NoError(t, pause(t.Context(), outage))
			proxy.Swallow(false)
			back := time.Now()

			require.Eventually(t, callsWork, backAfter, 50*time.Millisecond, "RPC works again")
			rpcBack := time.Since(back)
			n := 0
			require.Eventually(t, func() bool {
				n++
				publish(t, direct, "after-"+strconv.Itoa(n))
				for _, log := range logs {
					if !log.hasMessage("after-") {
						return false
					}
				}
				return true
			}, backAfter, 50*time.Millisecond, "every subscription delivers again")
			pubsubBack := time.Since(back)
			for filter, log := range logs {
				require.True(t, log.hasGap(), "%s was told of the gap", filter)
			}
			t.Logf("after %s: RPC back in %s, pub/sub in %s", outage, rpcBack.Round(time.Millisecond), pubsubBack.Round(time.Millisecond))
		})
	}
}

func open(t *testing.T, url string) transports.Transport {
	t.Helper()
	node, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: "chaos"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func startPeer(t *testing.T, node transports.Transport, name string) *rpc.Peer {
	t.Helper()
	peer, err := rpc.New(transports.RPCOf(node), rpc.Options{Name: name, Insecure: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, peer.Close()) })
	require.NoError(t, rpc.Handle(peer, "name", func(context.Context, struct{}) (string, error) { return name, nil }))
	require.NoError(t, peer.Start(t.Context()))
	return peer
}

// call reports whether one node answers another within a second.
func call(t *testing.T, from, to *rpc.Peer) bool {
	got, err := rpc.Call[string](t.Context(), from, rpc.Node(to.Self().Incarnation), "name", struct{}{}, rpc.Timeout(time.Second))
	return err == nil && got == to.Self().Name
}

func publish(t *testing.T, node transports.Transport, text string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _ = node.PubSub().Publish(ctx, []pubsub.Message{{Subject: "news.sport", Payload: []byte(text)}})
}

// eventLog keeps what a subscription was given.
type eventLog struct {
	mu     sync.Mutex
	events []pubsub.Event
}

func subscribe(t *testing.T, node transports.Transport, f pubsub.Filter) *eventLog {
	t.Helper()
	log := &eventLog{}
	sub, err := node.PubSub().Subscribe(t.Context(), f, func(events []pubsub.Event) {
		log.mu.Lock()
		defer log.mu.Unlock()
		log.events = append(log.events, events...)
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sub.Close()) })
	return log
}

func (l *eventLog) hasMessage(prefix string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Message != nil && len(e.Message.Payload) >= len(prefix) && string(e.Message.Payload[:len(prefix)]) == prefix {
			return true
		}
	}
	return false
}

func (l *eventLog) hasGap() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Gap != nil {
			return true
		}
	}
	return false
}
