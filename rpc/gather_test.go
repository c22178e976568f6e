package rpc_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
)

// answers registers "answer" on each peer: it takes a time, and may fail.
type answers map[*rpc.Peer]struct {
	after time.Duration
	err   error
}

func (a answers) register(c *cluster, cancelled *atomic.Int64) {
	var peers []*rpc.Peer
	for p, how := range a {
		peers = append(peers, p)
		require.NoError(c, rpc.Handle(p, "answer", func(ctx context.Context, _ nothing) (string, error) {
			select {
			case <-time.After(how.after):
				return p.Self().Name, how.err
			case <-ctx.Done():
				cancelled.Add(1)
				return "", ctx.Err()
			}
		}))
	}
	c.settle(peers...)
}

func TestPartialAnswersComeWithTheError(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		x, y, z := c.start("x"), c.start("y"), c.start("z")
		var cancelled atomic.Int64
		answers{x: {time.Second, nil}, y: {time.Second, errors.New("broken")}, z: {time.Hour, nil}}.register(c, &cancelled)

		results, err := rpc.Gather[string](background, x, rpc.All(), "answer", nothing{}, rpc.Timeout(2*time.Second))

		require.Error(t, err)
		require.ErrorContains(t, err, "2 of 3 nodes failed")
		require.ErrorContains(t, err, "broken")
		require.ErrorIs(t, err, fault.DeadlineExceeded, "what each failed with is found")
		require.Len(t, results, 3)
		for _, r := range results {
			switch r.Member.Name {
			case "x":
				require.NoError(t, r.Err)
				require.Equal(t, "x", r.Value)
				require.Equal(t, time.Second, r.Latency)
			case "y":
				require.Equal(t, fault.Internal, fault.CodeOf(r.Err))
				require.True(t, fault.IsRemote(r.Err))
			case "z":
				require.Equal(t, fault.DeadlineExceeded, fault.LocalCode(r.Err))
			}
		}
		synctest.Wait()
		require.Equal(t, int64(1), cancelled.Load())
	})
}

func TestTheFirstAnswerEndsTheCallAndCancelsTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		x, y, z := c.start("x"), c.start("y"), c.start("z")
		var cancelled atomic.Int64
		answers{x: {time.Minute, nil}, y: {time.Second, nil}, z: {time.Minute, nil}}.register(c, &cancelled)
		began := time.Now()

		got, err := rpc.Call[string](background, x, rpc.All(), "answer", nothing{})

		require.NoError(t, err)
		require.Equal(t, "y", got)
		require.Equal(t, time.Second, time.Since(began))
		synctest.Wait()
		require.Equal(t, int64(2), cancelled.Load())
	})
}

func TestFirstOKPassesOverFailures(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		x, y, z := c.start("x"), c.start("y"), c.start("z")
		var cancelled atomic.Int64
		broken := fault.New(fault.NotFound, "not here")
		answers{x: {time.Second, broken}, y: {2 * time.Second, nil}, z: {3 * time.Second, broken}}.register(c, &cancelled)

		_, err := rpc.Call[string](background, x, rpc.All(), "answer", nothing{})
		require.Equal(t, fault.NotFound, fault.CodeOf(err), "the first answers, whatever it says")
		got, err := rpc.Call[string](background, x, rpc.All(), "answer", nothing{}, rpc.FirstOK())
		require.NoError(t, err)
		require.Equal(t, "y", got)

		require.NoError(t, y.Close())
		synctest.Wait()
		_, err = rpc.Call[string](background, x, rpc.All(), "answer", nothing{}, rpc.FirstOK())
		require.Equal(t, fault.NotFound, fault.CodeOf(err))
		require.True(t, fault.IsRemote(err))
		require.ErrorContains(t, err, "2 of 2 nodes failed")
	})
}

func TestAQuorumEndsTheCallAsSoonAsItIsReachedOrLost(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		x, y, z := c.start("x"), c.start("y"), c.start("z")
		var cancelled atomic.Int64
		broken := errors.New("broken")
		answers{x: {time.Second, broken}, y: {2 * time.Second, nil}, z: {3 * time.Second, nil}}.register(c, &cancelled)
		tests := []struct {
			quorum  int
			after   time.Duration
			results int
			says    string
		}{
			{1, 2 * time.Second, 2, ""},
			{2, 3 * time.Second, 3, ""},
			{3, 1 * time.Second, 1, "1 of 3 nodes failed"},
			{4, 1 * time.Second, 1, "1 of 3 nodes failed"},
		}
		for _, tt := range tests {
			began := time.Now()
			results, err := rpc.Gather[string](background, x, rpc.All(), "answer", nothing{}, rpc.Quorum(tt.quorum))
			if tt.says == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.says)
			}
			require.Len(t, results, tt.results, "quorum %d", tt.quorum)
			require.Equal(t, tt.after, time.Since(began), "quorum %d", tt.quorum)
		}
		_, err := rpc.Gather[string](background, x, rpc.All(), "name", nothing{}, rpc.Quorum(4))
		require.Equal(t, fault.Unavailable, fault.CodeOf(err))
		require.ErrorContains(t, err, "the quorum is 4")
	})
}

func TestAStreamYieldsAnswersAsTheyCome(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		x, y, z := c.start("x"), c.start("y"), c.start("z")
		var cancelled atomic.Int64
		answers{x: {3 * time.Second, nil}, y: {time.Second, nil}, z: {2 * time.Second, errors.New("broken")}}.register(c, &cancelled)

		var order []string
		began := time.Now()
		for r, err := range rpc.Stream[string](background, x, rpc.All(), "answer", nothing{}) {
			order = append(order, r.Member.Name)
			require.Equal(t, time.Duration(len(order))*time.Second, time.Since(began))
			require.Equal(t, r.Member.Name == "z", err != nil)
		}
		require.Equal(t, []string{"y", "z", "x"}, order)

		for range rpc.Stream[string](background, x, rpc.All(), "answer", nothing{}) {
			break
		}
		synctest.Wait()
		require.Equal(t, int64(2), cancelled.Load(), "leaving the loop cancels the rest")

		var last error
		for r, err := range rpc.Stream[string](background, x, rpc.Any(), "missing", nothing{}) {
			require.Empty(t, r.Member)
			last = err
		}
		require.Equal(t, fault.Unimplemented, fault.CodeOf(last))
	})
}

func TestANodeThatLeavesOrDiesCompletesItsSlot(t *testing.T) {
	for _, how := range []string{"leaves", "dies"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T, c *cluster) {
				lz := c.link()
				x, y, z := c.start("x"), c.start("y"), c.startOn(lz, "z", func(o *rpc.Options) { o.Drain = time.Millisecond })
				var cancelled atomic.Int64
				answers{x: {time.Second, nil}, y: {time.Second, nil}, z: {time.Hour, nil}}.register(c, &cancelled)
				time.AfterFunc(100*time.Millisecond, func() {
					if how == "dies" {
						lz.set(func(l *link) { l.cut = true })
					} else {
						_ = z.Close()
					}
				})
				began := time.Now()

				results, err := rpc.Gather[string](background, x, rpc.All(), "answer", nothing{}, rpc.Timeout(time.Minute))

				require.Equal(t, fault.NodeGone, fault.LocalCode(err), "%v", err)
				require.Len(t, results, 3)
				for _, r := range results {
					require.Equal(t, r.Member.Name == "z", fault.LocalCode(r.Err) == fault.NodeGone, "%v", r)
				}
				require.Less(t, time.Since(began), 6500*time.Millisecond)
			})
		})
	}
}

func TestANewcomersAnswerIsNotWaitedForAndDoesNotCount(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		x, y := c.start("x"), c.start("y")
		var cancelled atomic.Int64
		answers{x: {2 * time.Second, nil}, y: {3 * time.Second, nil}}.register(c, &cancelled)
		time.AfterFunc(time.Second, func() { c.start("late") })

		results, err := rpc.Gather[string](background, x, rpc.All(), "answer", nothing{})

		require.NoError(t, err)
		require.Len(t, results, 2)
		require.Len(t, x.Members(), 3)
	})
}

func TestTheWorkOfADeadCallerIsCancelled(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		lx := c.link()
		x, y := c.startOn(lx, "x"), c.start("y")
		var cancelled atomic.Int64
		answers{y: {time.Hour, nil}}.register(c, &cancelled)
		c.settle(x, y)
		done := make(chan error, 1)
		go func() {
			_, err := rpc.Call[string](background, x, rpc.Any(), "answer", nothing{}, rpc.Timeout(time.Hour))
			done <- err
		}()
		synctest.Wait()

		lx.set(func(l *link) { l.cut = true })
		time.Sleep(6 * time.Second)

		require.Equal(t, int64(1), cancelled.Load())
		require.Equal(t, fault.Unavailable, fault.LocalCode(<-done), "and the caller takes itself for dead")
	})
}
