package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/cache"
)

// tenure watches one lock: who may believe to have it, and which fences were given.
type tenure struct {
	mu      sync.Mutex
	current *cache.Lock
	fence   uint64
	broken  string
}

// begin notes a lock that was just taken.
func (n *tenure) begin(lock *cache.Lock) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.current != nil && n.current.Context().Err() == nil {
		n.broken = fmt.Sprintf("%s got the lock while the context of %s was live", lock.Holder(), n.current.Holder())
	}
	if lock.Fence() <= n.fence {
		n.broken = fmt.Sprintf("fence %d after %d", lock.Fence(), n.fence)
	}
	n.current, n.fence = lock, lock.Fence()
}

// Whatever happens to the links, no two contexts of one lock are live at a time, and fences grow.
func TestNoTwoHoldersBelieveToHaveALockWhateverHappensToTheirLinks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type step struct{ pause, disturbance, node int }
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{rapid.IntRange(0, 4000).Draw(rt, "pause"), rapid.IntRange(0, 4).Draw(rt, "disturbance"), rapid.IntRange(0, 2).Draw(rt, "node")}
		}), 1, 25).Draw(rt, "steps")
		holds := rapid.SliceOfN(rapid.IntRange(50, 6000), 3, 3).Draw(rt, "holds")
		ttl := time.Duration(rapid.IntRange(300, 4000).Draw(rt, "ttl")) * time.Millisecond
		var n tenure

		synctest.Test(t, func(t *testing.T) {
			s := newStore(t)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			var links []*link
			for i := range 3 {
				c, l := s.faulty()
				links = append(links, l)
				wg.Go(func() {
					for ctx.Err() == nil {
						lock, err := c.Lock(ctx, "l", cache.TTL(ttl))
						if err != nil {
							time.Sleep(100 * time.Millisecond)
							continue
						}
						n.begin(lock)
						time.Sleep(time.Duration(holds[i]) * time.Millisecond)
						if err := lock.Unlock(ctx); err != nil && errors.Is(err, cache.ErrConflict) {
							t.Error(err)
						}
					}
				})
			}
			for _, step := range steps {
				time.Sleep(time.Duration(step.pause) * time.Millisecond)
				switch l := links[step.node]; step.disturbance {
				case 0:
					l.cut()
				case 1:
					l.swallow()
				case 2:
					l.heal()
					l.loseAnswers("renew")
				case 3:
					l.heal()
					l.loseAnswers("acquire")
				default:
					l.heal()
				}
			}
			for _, l := range links {
				l.heal()
			}
			cancel()
			wg.Wait()
		})

		if n.broken != "" {
			rt.Fatal(n.broken)
		}
	})
}
