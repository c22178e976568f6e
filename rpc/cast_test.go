package rpc_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
)

// One of three nodes has crashed, and nobody has noticed yet: the transport knows that nobody listens at its inbox.
func TestACastToAllRunsOnceOnEachNodeThoughOneIsGone(t *testing.T) {
	for name, size := range map[string]int{"small": 1, "in pieces": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, c *cluster) {
				a, b := c.start("a"), c.start("b")
				dead := c.link()
				peers := []*rpc.Peer{a, b, c.startOn(dead, "dead")}
				var runs [3]atomic.Int64
				for i, p := range peers {
					require.NoError(t, p.Handle("note", func(context.Context, *rpc.Incoming) ([]byte, error) {
						runs[i].Add(1)
						return nil, nil
					}))
				}
				c.settle(peers...)
				dead.deafen()

				err := a.Cast(background, rpc.All(), "note", make([]byte, size))

				time.Sleep(time.Second)
				synctest.Wait()
				require.Equal(t, int64(1), runs[0].Load(), "on the calling node")
				require.Equal(t, int64(1), runs[1].Load(), "on the other")
				if size > 1 {
					require.Equal(t, fault.NoReceiver, fault.CodeOf(err))
				}
			})
		})
	}
}

func TestACastToAllOfTwoRunsOnceHereThoughTheOtherIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, dead := c.start("a"), c.link()
		b := c.startOn(dead, "dead")
		var runs atomic.Int64
		for _, p := range []*rpc.Peer{a, b} {
			require.NoError(t, p.Handle("note", func(context.Context, *rpc.Incoming) ([]byte, error) {
				runs.Add(1)
				return nil, nil
			}))
		}
		c.settle(a, b)
		dead.deafen()

		err := a.Cast(background, rpc.All(), "note", nil)

		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, fault.NoReceiver, fault.CodeOf(err))
		require.Equal(t, int64(1), runs.Load())
	})
}
