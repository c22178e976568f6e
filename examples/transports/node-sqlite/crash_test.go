//go:build unix

package nodesqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// serves waits until calls work again.
func serves(t *testing.T, node transports.Transport) {
	t.Helper()
	require.Eventually(t, func() bool { return node.Health(t.Context()) == nil }, slow, 5*time.Millisecond, "the plugin does not serve again")
}

func open(t *testing.T, p *plugin.Program, file string) transports.Transport {
	t.Helper()
	node, err := p.Open(t.Context(), on(file, "crash"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

func TestEntriesLocksAndTasksOutliveTheirPlugin(t *testing.T) {
	p := start(t)
	node := open(t, p, filepath.Join(t.TempDir(), "store.sqlite"))
	written, err := node.Cache().Set(t.Context(), []cache.Write{{Key: "k", Value: []byte("v"), TTL: time.Hour}})
	require.NoError(t, err)
	require.NoError(t, written[0].Err)
	leases, err := node.Cache().Acquire(t.Context(), []cache.Claim{{Lock: "l", Holder: "me", TTL: time.Hour}})
	require.NoError(t, err)
	require.NoError(t, leases[0].Err)
	receipts, err := node.Queue().Enqueue(t.Context(), []queue.Task{task("active"), task("pending")})
	require.NoError(t, err)
	require.NoError(t, errors.Join(receipts[0].Err, receipts[1].Err))
	claimed, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1})
	require.NoError(t, err)
	require.Len(t, claimed.Tasks, 1)

	require.NoError(t, kill(t.Context(), p))
	serves(t, node)

	got, err := node.Cache().Get(t.Context(), []cache.Read{{Key: "k", Expiry: true}})
	require.NoError(t, err)
	require.Equal(t, "v", string(got[0].Entry.Value))
	require.Equal(t, written[0].Revision, got[0].Entry.Revision)
	require.False(t, got[0].Entry.Expires.IsZero(), "its lifetime goes on")
	renewed, err := node.Cache().Renew(t.Context(), leases)
	require.NoError(t, err)
	require.NoError(t, renewed[0].Err, "the lock is still held")
	require.Equal(t, leases[0].Fence, renewed[0].Fence)
	settled, err := node.Queue().Settle(t.Context(), queue.Settlements{Worker: "w", Number: 1, Items: []queue.Settlement{
		{Ref: claimed.Tasks[0].Ref(), Outcome: queue.Done},
	}})
	require.NoError(t, err)
	require.NoError(t, settled[0], "the lease still stands")
	claimed, err = node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 2})
	require.NoError(t, err)
	require.Len(t, claimed.Tasks, 1)
	require.Equal(t, "pending", claimed.Tasks[0].ID)
	require.Equal(t, "payload of pending", string(claimed.Tasks[0].Payload))
}

func task(id string) queue.Task {
	return queue.Task{ID: id, Kind: "k", Queue: "q", Payload: []byte("payload of " + id), MaxAttempts: 1, MaxLost: 10}
}

// TestWhatWasAnsweredIsKept kills the plugin again and again under many writers: it has to have all that it has acknowledged,
// and to have done nothing twice.
func TestWhatWasAnsweredIsKept(t *testing.T) {
	const writers, kills = 8, 3
	p := start(t)
	node := open(t, p, filepath.Join(t.TempDir(), "store.sqlite"))
	var attempted, acknowledged atomic.Int64
	var over atomic.Bool
	var accepted sync.Map // IDs of tasks
	var work sync.WaitGroup
	errs := make(chan error, writers)
	for i := range writers {
		work.Go(func() {
			for n := 0; !over.Load(); n++ {
				attempted.Add(1)
				sums, err := node.Cache().Add(t.Context(), []cache.Increment{{Key: "sum", Delta: 1}})
				if err == nil && sums[0].Err == nil {
					acknowledged.Add(1)
				}
				id := fmt.Sprintf("%d/%d", i, n)
				receipts, err2 := node.Queue().Enqueue(t.Context(), []queue.Task{task(id)})
				if err2 == nil && receipts[0].Err == nil {
					accepted.Store(id, true)
				}
				if err := errors.Join(err, err2); err != nil && !errors.Is(err, fault.Unavailable) {
					errs <- err
					return
				}
				if err != nil || err2 != nil {
					time.Sleep(time.Millisecond) // it is being started again
				}
			}
		})
	}

	for range kills {
		before := acknowledged.Load()
		require.Eventually(t, func() bool { return acknowledged.Load() > before+50 }, slow, time.Millisecond, "no work is done")
		require.NoError(t, kill(t.Context(), p))
	}
	before := acknowledged.Load()
	require.Eventually(t, func() bool { return acknowledged.Load() > before+50 }, slow, time.Millisecond, "no work is done")
	over.Store(true)
	work.Wait()
	close(errs)

	for err := range errs {
		require.NoError(t, err)
	}
	got, err := node.Cache().Get(t.Context(), []cache.Read{{Key: "sum"}})
	require.NoError(t, err)
	sum, err := strconv.ParseInt(string(got[0].Entry.Value), 10, 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, sum, acknowledged.Load(), "an addition was lost that was answered")
	require.LessOrEqual(t, sum, attempted.Load(), "an addition was made twice")
	for {
		claimed, err := node.Queue().Claim(t.Context(), queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1000})
		require.NoError(t, err)
		if len(claimed.Tasks) == 0 {
			break
		}
		for _, c := range claimed.Tasks {
			accepted.Delete(c.ID)
		}
	}
	accepted.Range(func(id, _ any) bool { t.Errorf("the task %v was accepted and is lost", id); return true })
}
