package redis_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/pubsub"
)

// The members of one node end one after the other again and again, while a member of another node stays. A distant server
// makes elections long, and slow consumers make closing long, so the one often ends within the other's last election.
func TestAGroupLosesNothingWhenMembersLeaveTogether(t *testing.T) {
	t.Parallel()
	const rounds = 12
	addr, ns := testserver.Shared(t).Addr(), testserver.Namespace(t)
	distant, farther := testserver.NewProxy(t, addr), testserver.NewProxy(t, addr)
	a, b, c := node(t, distant.Addr(), ns), node(t, farther.Addr(), ns), node(t, addr, ns)
	var mu sync.Mutex
	seen := map[string]int{}
	count := func(events []pubsub.Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			if e.Message != nil {
				seen[string(e.Message.Payload)]++
			}
		}
	}
	slowly := func(events []pubsub.Event) {
		count(events)
		time.Sleep(50 * time.Millisecond)
	}
	filter := pubsub.Filter{Subject: "job", Group: "g"}
	stays, err := b.PubSub().Subscribe(t.Context(), filter, count)
	require.NoError(t, err)
	t.Cleanup(func() { _ = stays.Close() })
	over := make(chan struct{})
	var sent atomic.Int64
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				publish(t, c, to("job", fmt.Sprint(sent.Add(1))))
			}
		}
	})

	distant.Delay(2 * time.Millisecond)
	farther.Delay(6 * time.Millisecond) // so the others win
	for range rounds {
		var members [3]pubsub.Subscription
		for i := range members {
			members[i], err = a.PubSub().Subscribe(t.Context(), filter, slowly)
			require.NoError(t, err)
		}
		var leaving sync.WaitGroup
		for i, m := range members {
			leaving.Go(func() {
				time.Sleep(time.Duration(30+15*i) * time.Millisecond)
				_ = m.Close()
			})
		}
		leaving.Wait()
	}
	close(over)
	publishing.Wait()

	lost := func() (lost, double int) {
		mu.Lock()
		defer mu.Unlock()
		for i := range sent.Load() {
			switch n := seen[fmt.Sprint(i+1)]; {
			case n == 0:
				lost++
			case n > 1:
				double++
			}
		}
		return lost, double
	}
	eventually(t, "none is lost", func() bool { n, _ := lost(); return n == 0 })
	_, double := lost()
	require.Zero(t, double)
}
