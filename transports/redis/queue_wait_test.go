package redis_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/redis"
)

type claimed struct {
	queue.Claimed
	err error
}

// startClaim has a worker wait for one task of q, and returns when the store knows that it waits.
func startClaim(t *testing.T, ctx context.Context, node *redis.Transport, key string, queues ...string) <-chan claimed {
	t.Helper()
	if len(queues) == 0 {
		queues = []string{"q"}
	}
	store := plain(t, testserver.Shared(t).URL())
	waiting := func() int64 {
		n, err := store.ZCard(t.Context(), key).Result()
		require.NoError(t, err)
		return n
	}
	before := waiting()
	answer := make(chan claimed, 1)
	go func() {
		c, err := node.Queue().Claim(ctx, queue.Claim{Worker: "w", Queues: queues, Max: 1, Wait: patience})
		answer <- claimed{c, err}
	}()
	eventually(t, "the claim waits", func() bool { return waiting() > before })
	return answer
}

// openNamed opens nodes in one namespace, and gives the key under which waiters of q are registered.
func openNamed(t *testing.T, n int) ([]*redis.Transport, string) {
	t.Helper()
	namespace := testserver.Namespace(t)
	nodes := make([]*redis.Transport, n)
	for i := range nodes {
		nodes[i] = openURL(t, testserver.Shared(t).URL(), namespace)
	}
	return nodes, "{bp:" + namespace + ":q0}:w:q"
}

func receive(t *testing.T, answer <-chan claimed) claimed {
	t.Helper()
	select {
	case c := <-answer:
		return c
	case <-time.After(patience):
		t.Fatal("the claim does not return")
		return claimed{}
	}
}

func TestWaitingClaimGetsWhatBecomesPending(t *testing.T) {
	for name, make := range map[string]func(*testing.T, *redis.Transport){
		"enqueued": func(t *testing.T, node *redis.Transport) { enqueue(t, node, newTask()) },
		"scheduled": func(t *testing.T, node *redis.Transport) {
			task := newTask()
			task.RunAt = time.Now().Add(30 * time.Millisecond)
			enqueue(t, node, task)
		},
		"resumed": func(t *testing.T, node *redis.Transport) {
			require.NoError(t, node.Queue().Admin.Pause(t.Context(), "q"))
			enqueue(t, node, newTask())
			require.NoError(t, node.Queue().Admin.Resume(t.Context(), "q"))
		},
		"requeued": func(t *testing.T, node *redis.Transport) {
			task := newTask()
			task.RunAt = time.Now().Add(time.Hour)
			enqueue(t, node, task)
			errs, err := node.Queue().Admin.Requeue(t.Context(), "q", []string{task.ID})
			require.NoError(t, adminOne(t, errs, err))
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, waiters := openNamed(t, 2)
			answer := startClaim(t, t.Context(), nodes[0], waiters, "other", "q")

			make(t, nodes[1])

			c := receive(t, answer)
			require.NoError(t, c.err)
			require.Len(t, c.Tasks, 1)
		})
	}
}

func TestWokenClaimTakesQueuesInOrderThenPriorityThenAge(t *testing.T) {
	for name, tasks := range map[string][]queue.Task{
		"queue": {task("q", 0), task("first", 0)}, "priority": {task("q", 0), task("q", 3)}, "age": {task("q", 0), task("q", 0)},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, waiters := openNamed(t, 2)
			answer := startClaim(t, t.Context(), nodes[0], waiters, "first", "q")
			want := tasks[1].ID
			if name == "age" {
				want = tasks[0].ID
			}

			enqueue(t, nodes[1], tasks...)

			c := receive(t, answer)
			require.NoError(t, c.err)
			require.Equal(t, []string{want}, leasedIDs(c.Tasks))
		})
	}
}

func task(name string, priority int) queue.Task {
	t := newTask()
	t.Queue, t.Priority = name, priority
	return t
}

func TestWokenClaimWaitsInNoQueueAnyMore(t *testing.T) {
	nodes, waiters := openNamed(t, 2)
	answer := startClaim(t, t.Context(), nodes[0], waiters, "other", "q")

	enqueue(t, nodes[1], newTask())

	c := receive(t, answer)
	require.NoError(t, c.err)
	require.Len(t, c.Tasks, 1)
	left, err := plain(t, testserver.Shared(t).URL()).Exists(t.Context(), waiters, strings.Replace(waiters, "w:q", "w:other", 1)).Result()
	require.NoError(t, err)
	require.Zero(t, left)
}

func TestEachNewTaskWakesOneWaiter(t *testing.T) {
	nodes, waiters := openNamed(t, 2)
	store := plain(t, testserver.Shared(t).URL())
	var answers []<-chan claimed
	for i := range 4 {
		answers = append(answers, startClaim(t, t.Context(), nodes[i%2], waiters))
	}

	enqueue(t, nodes[0], newTasks(4)...)

	got := map[string]bool{}
	for _, answer := range answers {
		c := receive(t, answer)
		require.NoError(t, c.err)
		require.Len(t, c.Tasks, 1)
		got[c.Tasks[0].ID] = true
	}
	require.Len(t, got, 4)
	n, err := store.ZCard(t.Context(), waiters).Result()
	require.NoError(t, err)
	require.Zero(t, n, "nobody waits any more")
}

func TestClaimEndsWithItsContextAndWithItsWait(t *testing.T) {
	nodes, waiters := openNamed(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	answer := startClaim(t, ctx, nodes[0], waiters)
	cancel()
	begin := time.Now()
	c := receive(t, answer)
	require.NoError(t, c.err)
	require.Empty(t, c.Tasks)
	require.Less(t, time.Since(begin), patience/2)

	_, err := nodes[0].Queue().Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
	requireCode(t, fault.Canceled, err)

	begin = time.Now()
	short, err := nodes[0].Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: 30 * time.Millisecond})
	require.NoError(t, err)
	require.Empty(t, short.Tasks)
	require.GreaterOrEqual(t, time.Since(begin), 30*time.Millisecond)
}

func TestCloseEndsWaitingClaims(t *testing.T) {
	nodes, waiters := openNamed(t, 1)
	answer := startClaim(t, t.Context(), nodes[0], waiters)

	require.NoError(t, nodes[0].Close())

	requireCode(t, fault.Closed, receive(t, answer).err)
	b := nodes[0].Queue()
	_, err := b.Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: time.Hour})
	requireCode(t, fault.Closed, err)
	_, err = b.Enqueue(t.Context(), newTasks(1))
	requireCode(t, fault.Closed, err)
	_, err = b.Settle(t.Context(), queue.Settlements{Worker: "w", Number: 1})
	requireCode(t, fault.Closed, err)
	_, err = b.Extend(t.Context(), []queue.Ref{{Queue: "q", ID: "x"}})
	requireCode(t, fault.Closed, err)
	_, err = b.Admin.Stats(t.Context(), "q")
	requireCode(t, fault.Closed, err)
	_, err = b.Admin.Queues(t.Context())
	requireCode(t, fault.Closed, err)
}

func TestCallersLeaveWithTheirContextWhileTheStoreIsSilent(t *testing.T) {
	server := testserver.Redis(t)
	proxy := testserver.NewProxy(t, server.Addr())
	node := openURL(t, "redis://"+proxy.Addr(), testserver.Namespace(t))
	enqueue(t, node, newTask())
	proxy.Swallow(true)

	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			_, _ = node.Queue().Enqueue(ctx, newTasks(1))
		})
		running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			_, _ = node.Queue().Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: time.Hour})
		})
	}
	begin := time.Now()
	running.Wait()

	require.Less(t, time.Since(begin), 3*time.Second)
	proxy.Cut()
	proxy.Swallow(false)
	eventually(t, "the queue works again", func() bool {
		_, err := node.Queue().Enqueue(t.Context(), newTasks(1))
		return err == nil
	})
}

func TestTasksOfAnAbandonedClaimAreGivenBackAtOnce(t *testing.T) {
	server := testserver.Redis(t)
	proxy := testserver.NewProxy(t, server.Addr())
	namespace := testserver.Namespace(t)
	far, near := openURL(t, "redis://"+proxy.Addr(), namespace), openURL(t, server.URL(), namespace)
	enqueue(t, near, newTask())
	proxy.Delay(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	c, err := far.Queue().Claim(ctx, queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
	require.NoError(t, err)
	require.Empty(t, c.Tasks)

	again := claimOne(t, near) // the lease would last 30 s, patience is less

	require.Zero(t, again.Lost)
}

func TestTasksOutliveARestartOfTheStore(t *testing.T) {
	server := testserver.Redis(t, servers.RedisOptions{Persist: true})
	node := openURL(t, server.URL(), testserver.Namespace(t))
	lease(t, node, time.Minute)
	tasks := newTasks(3)
	tasks[2].RunAt = time.Now().Add(time.Hour)
	enqueue(t, node, tasks...)
	l := claimOne(t, node)

	server.Kill() // forgets the scripts as well
	require.NoError(t, server.Restart(t.Context()))

	eventually(t, "the store answers", func() bool {
		_, err := node.Queue().Admin.Stats(t.Context(), "q")
		return err == nil
	})
	s := stats(t, node)
	require.Equal(t, []int64{1, 1, 1, 3}, []int64{s.Pending, s.Active, s.Scheduled, s.Totals.Enqueued})
	require.NoError(t, settleOne(t, node, l, queue.Done))
	require.Equal(t, tasks[1].ID, claimOne(t, node).ID)
}

func TestForgottenScriptsAreLoadedAgain(t *testing.T) {
	server := testserver.Redis(t)
	node := openURL(t, server.URL(), testserver.Namespace(t))
	store := plain(t, server.URL())
	for range 3 {
		require.NoError(t, store.ScriptFlush(t.Context()).Err())
		enqueue(t, node, newTask())
		require.NoError(t, store.ScriptFlush(t.Context()).Err())
		l := claimOne(t, node)
		require.NoError(t, store.ScriptFlush(t.Context()).Err())
		require.NoError(t, settleOne(t, node, l, queue.Done))
	}
}

func TestWaitingOnManyIdleQueuesAsksOnceASecond(t *testing.T) {
	server := testserver.Redis(t)
	node := openURL(t, server.URL(), testserver.Namespace(t))
	store := plain(t, server.URL())
	queues := make([]string, 200)
	for i := range queues {
		queues[i] = fmt.Sprint("q", i)
	}
	begin := time.Now()

	c, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: queues, Max: 1, Wait: 1200 * time.Millisecond})

	require.NoError(t, err)
	require.Empty(t, c.Tasks)
	commands, err := store.InfoMap(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	var calls int
	_, err = fmt.Sscanf(commands["Commandstats"]["cmdstat_evalsha"], "calls=%d,", &calls)
	require.NoError(t, err)
	require.LessOrEqual(t, calls, 3+int(time.Since(begin).Seconds()), "the first of them loads the script")
}

// deaf forwards connections to a server until it is told to hold new ones, from which then nothing is ever heard.
func deaf(t *testing.T, target string) (addr string, hold func()) {
	t.Helper()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var holding atomic.Bool
	var running sync.WaitGroup
	ended := make(chan struct{})
	serve := func(client net.Conn) {
		defer client.Close()
		if holding.Load() {
			<-ended
			return
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		running.Go(func() { _, _ = io.Copy(client, server) })
		_, _ = io.Copy(server, client)
		server.Close()
	}
	running.Go(func() {
		for {
			client, err := front.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(client) })
		}
	})
	t.Cleanup(func() {
		front.Close()
		close(ended)
		running.Wait()
	})
	return front.Addr().String(), func() { holding.Store(true) }
}

func TestClaimDoesNotWaitForASubscriptionThatIsNotConfirmed(t *testing.T) {
	addr, hold := deaf(t, testserver.Shared(t).Addr())
	namespace := testserver.Namespace(t)
	node := openURL(t, "redis://"+addr, namespace)
	enqueue(t, node, newTask())
	require.NoError(t, settleOne(t, node, claim(t, node, 1)[0], queue.Done))
	hold()

	began := time.Now()
	claimed, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: 100 * time.Millisecond})

	require.NoError(t, err)
	require.Empty(t, claimed.Tasks)
	require.Less(t, time.Since(began), 2*time.Second)

	task := newTask()
	enqueue(t, openURL(t, testserver.Shared(t).URL(), namespace), task)
	began = time.Now()
	claimed, err = node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1, Wait: patience})
	require.NoError(t, err)
	require.Equal(t, []string{task.ID}, leasedIDs(claimed.Tasks))
	require.Less(t, time.Since(began), 2*time.Second)
}
