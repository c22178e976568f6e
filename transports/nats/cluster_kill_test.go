package nats_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

// TestKillingOneServerOfThreeLosesNothing kills a server of a cluster while tasks are enqueued and run, entries are written
// and messages published, by a node on each server; and starts it again. Whatever was acknowledged is there, no task is done
// twice, messages between nodes on the other servers all come, and the node that was cut off is told of a gap.
func TestKillingOneServerOfThreeLosesNothing(t *testing.T) {
	t.Parallel()
	const tasks, kill = 900, 1
	cluster := testserver.NATSCluster(t, servers.NATSOptions{Process: true})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	nodes := make([]transports.Transport, len(cluster.Nodes))
	for i := range nodes {
		nodes[i] = openMember(t, ctx, cluster, i)
	}
	require.NoError(t, nodes[0].Queue().Admin.Configure(ctx, "q", queue.Properties{Lease: 2 * time.Second}))
	ears := make([]*listener, len(nodes))
	for i, node := range nodes {
		ears[i] = listen(t, ctx, node)
	}
	for i, from := range nodes { // until its server knows of all
		warm := fmt.Sprint("warm", i)
		require.Eventually(t, func() bool {
			say(t, from.PubSub(), warm, 1)
			return ears[0].heard(warm) > 0 && ears[1].heard(warm) > 0 && ears[2].heard(warm) > 0
		}, 20*time.Second, 10*time.Millisecond)
	}

	seen := &runs{done: map[string]int{}}
	life, stop := context.WithCancel(ctx)
	defer stop()
	var working sync.WaitGroup
	working.Go(func() { enqueueAll(ctx, nodes[0].Queue(), tasks) })
	for i, node := range nodes {
		working.Go(func() { workUntil(ctx, node.Queue(), fmt.Sprint("w", i), tasks, seen) })
	}
	var talking sync.WaitGroup
	written := make([]map[string]string, len(nodes))
	said := make([]uint64, len(nodes))
	for i, node := range nodes {
		talking.Go(func() { written[i] = writeUntil(life, node.Cache(), fmt.Sprint("n", i)) })
		if i != kill {
			talking.Go(func() {
				for life.Err() == nil {
					said[i]++
					say(t, node.PubSub(), fmt.Sprint("n", i), said[i])
					pause(life, 2*time.Millisecond)
				}
			})
		}
	}
	for seen.size() < tasks/4 && ctx.Err() == nil {
		pause(ctx, 5*time.Millisecond)
	}
	cluster.Nodes[kill].Kill()
	for before := seen.size(); seen.size() < before+tasks/4 && ctx.Err() == nil; {
		pause(ctx, 5*time.Millisecond)
	}
	require.NoError(t, cluster.Nodes[kill].Restart(ctx))
	working.Wait()
	stop()
	talking.Wait()

	require.NoError(t, ctx.Err(), "%d of %d tasks were done", seen.size(), tasks)
	for id, n := range seen.done {
		require.Equal(t, 1, n, "times that %s was settled as done", id)
	}
	reader := nodes[0].Cache()
	for i, all := range written {
		require.NotEmpty(t, all, "node %d wrote nothing", i)
		for key, value := range all {
			require.Equal(t, value, readOnce(t, ctx, reader, key), "entry %s", key)
		}
	}
	for i, ear := range ears {
		if i == kill {
			require.Eventually(t, func() bool { return ear.gaps.Load() > 0 }, 20*time.Second, 10*time.Millisecond, "it is told that messages may be missing")
			continue
		}
		require.Eventually(t, func() bool { return ear.heard("n0") == int(said[0]) && ear.heard("n2") == int(said[2]) }, 20*time.Second, 10*time.Millisecond,
			"node %d heard %d of %d and %d of %d", i, ear.heard("n0"), said[0], ear.heard("n2"), said[2])
		for id, n := range ear.tally.all() {
			if !strings.HasPrefix(id, "warm") {
				require.Equal(t, 1, n, "times that node %d heard %s", i, id)
			}
		}
		require.Zero(t, ear.gaps.Load(), "its own link was never lost")
	}
}

// openMember opens a node on one server of a cluster; it hears of the others.
func openMember(t *testing.T, ctx context.Context, cluster *servers.NATSCluster, i int) transports.Transport {
	t.Helper()
	node, err := transports.OpenURL(ctx, cluster.Nodes[i].URL(), transports.Settings{Namespace: "kill", Logger: quiet, Options: map[string]any{
		"replicas": 3, "storage": "memory", "silence": "3s",
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

// writeUntil writes entries of its own, again and again, and gives what was acknowledged last of each.
func writeUntil(ctx context.Context, c *cache.Backend, prefix string) map[string]string {
	acknowledged := map[string]string{}
	for n := 0; ctx.Err() == nil; n++ {
		key, value := fmt.Sprint(prefix, ".", n%20), fmt.Sprint(n)
		for ctx.Err() == nil { // until it is acknowledged: what is not may be there all the same
			written, err := c.Set(context.WithoutCancel(ctx), []cache.Write{{Key: key, Value: []byte(value)}})
			if err == nil && written[0].Err == nil {
				acknowledged[key] = value
				break
			}
			delete(acknowledged, key)
			pause(ctx, 20*time.Millisecond)
		}
		pause(ctx, 2*time.Millisecond)
	}
	return acknowledged
}

func readOnce(t *testing.T, ctx context.Context, c *cache.Backend, key string) string {
	t.Helper()
	got, err := c.Get(ctx, []cache.Read{{Key: key}})
	require.NoError(t, err)
	require.NoError(t, got[0].Err)
	return string(got[0].Entry.Value)
}

// listener is one node's ear.
type listener struct {
	tally *tally
	gaps  atomic.Int64
}

func (l *listener) heard(sender string) int { return l.tally.of(sender) }

func listen(t *testing.T, ctx context.Context, node transports.Transport) *listener {
	t.Helper()
	l := &listener{tally: &tally{times: map[string]int{}}}
	sub, err := node.PubSub().Subscribe(ctx, pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) {
		for _, e := range events {
			if e.Gap != nil {
				l.gaps.Add(1)
			}
		}
		l.tally.add(events)
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sub.Close()) })
	return l
}
