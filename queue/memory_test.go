package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/memory"
)

// openMemory opens a node on a store of its own.
func openMemory(t *testing.T) *queue.Backend {
	t.Helper()
	var store memory.Store
	node, err := store.Open("test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node.Queue()
}

// unreliable loses requests and answers at random, until it is mended.
type unreliable struct {
	queue.Driver
	mu     sync.Mutex
	random *rand.Rand
	mended bool
}

func (u *unreliable) fails() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.mended && u.random.IntN(4) == 0 {
		return fault.New(fault.Unavailable, "lost")
	}
	return nil
}

func faultily[T any](u *unreliable, call func() (T, error)) (T, error) {
	var none T
	if err := u.fails(); err != nil {
		return none, err
	}
	answer, err := call()
	if lost := u.fails(); lost != nil {
		return none, lost
	}
	return answer, err
}

func (u *unreliable) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	return faultily(u, func() (queue.Claimed, error) { return u.Driver.Claim(ctx, c) })
}

func (u *unreliable) Settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	return faultily(u, func() ([]error, error) { return u.Driver.Settle(ctx, s) })
}

func (u *unreliable) Extend(ctx context.Context, refs []queue.Ref) ([]error, error) {
	return faultily(u, func() ([]error, error) { return u.Driver.Extend(ctx, refs) })
}

// Requests and answers are lost at random on the way of three workers, one of which goes away in the middle.
func TestNothingIsLostNorDoneTwiceOverAnUnreliableLink(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inTime(t, func(t *testing.T) {
				b := openMemory(t)
				const tasks = 2000
				inspector := queue.NewInspector(b)
				require.NoError(t, inspector.Configure(t.Context(), queue.DefaultQueue, queue.Properties{Lease: 3 * time.Second}))
				_, err := queue.EnqueueMany(t.Context(), queue.NewClient(b, queue.ClientOptions{}), work, make([]int, tasks), queue.MaxLost(1000))
				require.NoError(t, err)
				var mu sync.Mutex
				var overlaps int
				running := map[string]bool{}
				var links []*unreliable
				workers := make([]*queue.Worker, 3)
				for i := range workers {
					link := &unreliable{Driver: b.Driver, random: rand.New(rand.NewPCG(seed, uint64(i)))}
					links = append(links, link)
					workers[i], err = queue.NewWorker(&queue.Backend{Driver: link, Capabilities: b.Capabilities}, queue.WorkerOptions{Logger: quiet})
					require.NoError(t, err)
					require.NoError(t, queue.Handle(workers[i], work, func(ctx context.Context, job *queue.Job[int]) error {
						mu.Lock()
						if running[job.ID] {
							overlaps++
						}
						running[job.ID] = true
						mu.Unlock()
						sleepFor(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
						mu.Lock()
						delete(running, job.ID)
						mu.Unlock()
						if rand.IntN(10) == 0 {
							return queue.RetryIn(errBroken, 0)
						}
						return ctx.Err()
					}))
					require.NoError(t, workers[i].Start(t.Context()))
				}

				after(3 * time.Second)
				require.NoError(t, workers[0].Stop(t.Context()))
				after(2 * time.Minute)
				for _, link := range links {
					link.mu.Lock()
					link.mended = true
					link.mu.Unlock()
				}
				after(time.Minute)

				stats, err := inspector.Stats(t.Context(), queue.DefaultQueue)
				require.NoError(t, err)
				require.EqualValues(t, tasks, stats.Totals.Completed, "%+v", stats)
				require.Zero(t, stats.Dead+stats.Pending+stats.Scheduled+stats.Active)
				require.Zero(t, overlaps, "a handler whose lease is lost is told before another has it")
				for _, w := range workers {
					require.NoError(t, w.Stop(t.Context()))
				}
			})
		})
	}
}

func sleepFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func TestInspectorShowsAndChangesWhatIsInAQueue(t *testing.T) {
	inTime(t, func(t *testing.T) {
		b := openMemory(t)
		ctx := t.Context()
		c := queue.NewClient(b, queue.ClientOptions{})
		inspector := queue.NewInspector(b)
		for i, option := range []queue.Option{queue.In(time.Hour), queue.ID("now"), queue.ID("later"), queue.ID("never")} {
			_, err := queue.Enqueue(ctx, c, work, i, option)
			require.NoError(t, err)
		}

		names, err := inspector.Queues(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{queue.DefaultQueue}, names)
		stats, err := inspector.Stats(ctx, queue.DefaultQueue)
		require.NoError(t, err)
		require.EqualValues(t, 3, stats.Pending)
		require.EqualValues(t, 1, stats.Scheduled)
		var pending []string
		for info, err := range inspector.Tasks(ctx, queue.DefaultQueue, queue.Pending) {
			require.NoError(t, err)
			pending = append(pending, info.ID)
		}
		require.Equal(t, []string{"now", "later", "never"}, pending)
		for info := range inspector.Tasks(ctx, queue.DefaultQueue, queue.Pending) {
			require.Equal(t, "now", info.ID)
			break // a listing may be left at any time
		}

		require.NoError(t, inspector.Cancel(ctx, queue.DefaultQueue, "later"))
		require.NoError(t, inspector.Remove(ctx, queue.DefaultQueue, "never"))
		err = inspector.Remove(ctx, queue.DefaultQueue, "never", "nobody")
		require.ErrorIs(t, err, fault.NotFound)
		require.ErrorContains(t, err, "nobody")
		info, err := inspector.Find(ctx, queue.DefaultQueue, "later")
		require.NoError(t, err)
		require.Equal(t, queue.Cancelled, info.State)
		require.NoError(t, inspector.Requeue(ctx, queue.DefaultQueue, "later"))
		_, err = inspector.Find(ctx, queue.DefaultQueue, "never")
		require.ErrorIs(t, err, fault.NotFound)

		require.NoError(t, inspector.Pause(ctx, queue.DefaultQueue))
		ran := make(chan string, 10)
		w, err := queue.NewWorker(b, queue.WorkerOptions{Logger: quiet})
		require.NoError(t, err)
		require.NoError(t, queue.Handle(w, work, func(_ context.Context, job *queue.Job[int]) error { ran <- job.ID; return nil }))
		require.NoError(t, w.Start(ctx))
		after(time.Minute)
		require.Empty(t, ran)
		require.NoError(t, inspector.Resume(ctx, queue.DefaultQueue))
		after(2 * time.Second)
		require.Len(t, ran, 2)
		require.NoError(t, w.Stop(ctx))
	})
}

func TestInspectorChecksWhatItIsAsked(t *testing.T) {
	b := openMemory(t)
	ctx := t.Context()
	inspector := queue.NewInspector(b)

	require.NoError(t, inspector.Configure(ctx, "q", queue.Properties{Lease: time.Minute}))
	p, err := inspector.Properties(ctx, "q")
	require.NoError(t, err)
	require.Equal(t, time.Minute, p.Lease)
	require.ErrorIs(t, inspector.Configure(ctx, "q", queue.Properties{Lease: time.Nanosecond}), fault.Invalid)
	require.ErrorIs(t, inspector.Configure(ctx, "q", queue.Properties{Lease: -1}), fault.Invalid)
	require.ErrorIs(t, inspector.Pause(ctx, ""), fault.Invalid)
	_, err = inspector.Stats(ctx, string(make([]byte, 10_000)))
	require.ErrorIs(t, err, fault.Invalid)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, inspector.Resume(ended, "q"), context.Canceled)
}

func TestWithoutAdministrationEveryCallIsUnsupported(t *testing.T) {
	for name, i := range map[string]*queue.Inspector{"no queue": queue.NewInspector(nil), "no admin": queue.NewInspector(newStore(t).backend())} {
		ctx := t.Context()
		_, queues := i.Queues(ctx)
		_, stats := i.Stats(ctx, "q")
		_, find := i.Find(ctx, "q", "id")
		_, properties := i.Properties(ctx, "q")
		var list error
		for _, err := range i.Tasks(ctx, "q", queue.Pending) {
			list = errors.Join(list, err)
		}
		for _, err := range []error{queues, stats, find, properties, list, i.Pause(ctx, "q"), i.Resume(ctx, "q"), i.Configure(ctx, "q", queue.Properties{}),
			i.Remove(ctx, "q", "id"), i.Requeue(ctx, "q", "id"), i.Cancel(ctx, "q", "id")} {
			require.ErrorIs(t, err, fault.Unsupported, name)
		}
	}
}
