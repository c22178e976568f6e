package nats_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/transports"
)

// TestAGroupsMembersComeAndGoAndEachMessageHasOne has members join and leave a group on two servers of a cluster while
// messages come through both of them. A server that has not yet heard that another's last member has left sends messages
// there; they must not be lost, and must not come twice.
func TestAGroupsMembersComeAndGoAndEachMessageHasOne(t *testing.T) {
	const rounds, burst = 60, 20
	cluster := testserver.NATSCluster(t, servers.NATSOptions{NoJetStream: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nodes := make([]*pubsub.Backend, len(cluster.Nodes))
	for i, server := range cluster.Nodes {
		node, err := transports.OpenURL(ctx, server.URL(), transports.Settings{Namespace: "grp", Options: map[string]any{"discover": false}, Logger: quiet})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Close()) })
		nodes[i] = node.PubSub()
	}
	heard := &tally{times: map[string]int{}}
	filter := pubsub.Filter{Subject: "s", Group: "g"}
	stays, err := nodes[2].Subscribe(ctx, filter, heard.add)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stays.Close()) })
	for i, node := range nodes[:2] { // until their servers know of it
		for n := uint64(1); heard.of(fmt.Sprint("first", i)) == 0; n++ {
			say(t, node, fmt.Sprint("first", i), n)
			pause(ctx, 5*time.Millisecond)
			require.NoError(t, ctx.Err())
		}
	}

	var sending sync.WaitGroup
	stop := make(chan struct{})
	var sent [2]uint64
	for i, node := range nodes[:2] {
		sending.Go(func() {
			for n := uint64(0); ; {
				select {
				case <-stop:
					sent[i] = n
					return
				default:
				}
				for range burst {
					n++
					say(t, node, fmt.Sprint("p", i), n)
				}
				pause(ctx, time.Millisecond)
			}
		})
	}
	for i := range rounds {
		leaves, err := nodes[i%2].Subscribe(ctx, filter, heard.add)
		require.NoError(t, err)
		pause(ctx, 5*time.Millisecond)
		require.NoError(t, leaves.Close())
	}
	close(stop)
	sending.Wait()

	require.Eventually(t, func() bool { return heard.of("p0") >= int(sent[0]) && heard.of("p1") >= int(sent[1]) }, 20*time.Second, 10*time.Millisecond,
		"heard %d of %d and %d of %d", heard.of("p0"), sent[0], heard.of("p1"), sent[1])
	for id, times := range heard.all() {
		require.Equal(t, 1, times, "times that %s was heard", id)
	}
}

// say publishes one message, which names its sender and number.
func say(t *testing.T, b *pubsub.Backend, sender string, n uint64) {
	receipts, err := b.Publish(t.Context(), []pubsub.Message{{Subject: "s", Sender: sender, Seq: n, SubjectSeq: n}})
	if err != nil || receipts[0].Err != nil {
		t.Errorf("publish %d of %s: %v", n, sender, err)
	}
}

// tally counts how often each message was heard, by all members of a group.
type tally struct {
	mu    sync.Mutex
	times map[string]int // by sender and number
	from  map[string]int
}

func (y *tally) add(events []pubsub.Event) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.from == nil {
		y.from = map[string]int{}
	}
	for _, e := range events {
		if e.Message != nil {
			y.times[fmt.Sprint(e.Message.Sender, ".", e.Message.Seq)]++
			y.from[e.Message.Sender]++
		}
	}
}

func (y *tally) of(sender string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.from[sender]
}

func (y *tally) all() map[string]int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.times
}
