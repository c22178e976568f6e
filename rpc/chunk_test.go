package rpc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
)

// pattern is bytes that would show a piece in the wrong place.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(n) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func echo(t *testing.T, peers ...*rpc.Peer) {
	t.Helper()
	for _, p := range peers {
		require.NoError(t, p.Handle("echo", func(_ context.Context, in *rpc.Incoming) ([]byte, error) { return in.Payload, nil }))
	}
}

func TestPayloadsOfEverySizeArriveWhole(t *testing.T) {
	sizes := []int{0, 1, 65_000, 65_536, 256 << 10, 256<<10 - 300, 256<<10 + 1, 1 << 20, 5<<20 + 17}
	for _, frame := range []int{64 << 10, 0} {
		if frame == 0 && !testing.Short() {
			sizes = append(sizes, 64<<20)
		}
		bubble(t, func(t *testing.T, c *cluster) {
			c.maxFrame = frame
			a, b := c.start("a"), c.start("b")
			echo(t, b)
			c.settle(a, b)
			for _, size := range sizes {
				payload := pattern(size)
				answer, err := a.Call(background, rpc.Any(), "echo", payload)
				require.NoError(t, err, "%d bytes", size)
				require.Equal(t, sha256.Sum256(payload), sha256.Sum256(answer), "%d bytes", size)
			}
			_, err := a.Call(background, rpc.Any(), "echo", make([]byte, 64<<20+1))
			require.Equal(t, fault.TooLarge, fault.CodeOf(err))
		})
	}
}

func TestALargeRequestReachesAllNodes(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		var peers []*rpc.Peer
		for i := range 5 {
			peers = append(peers, c.start(fmt.Sprint("n", i)))
		}
		echo(t, peers...)
		c.settle(peers...)
		payload := pattern(3 << 20)

		replies, err := peers[0].Gather(background, rpc.All(), "echo", payload)

		require.NoError(t, err)
		require.Len(t, replies, 5)
		for _, r := range replies {
			require.True(t, bytes.Equal(payload, r.Value))
		}
		replies, err = peers[0].Gather(background, rpc.All(), "echo", payload, rpc.Quorum(1))
		require.NoError(t, err)
		require.Len(t, replies, 1, "the first ends it, and the transfers to the others")
		require.NoError(t, peers[0].Cast(background, rpc.All(), "echo", payload))
	})
}

func TestAnAnswerOverTheLimitIsTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", func(o *rpc.Options) { o.Limits.Payload = 1 << 20 })
		b := c.start("b")
		small := c.start("small", func(o *rpc.Options) { o.Limits.Payload = 300_000 })
		echo(t, small)
		for _, p := range []*rpc.Peer{b, small} {
			require.NoError(t, p.Handle("give", func(_ context.Context, in *rpc.Incoming) ([]byte, error) { return pattern(2 << 20), nil }))
		}
		c.settle(a, b, small)

		_, err := a.Call(background, rpc.Node(small.Self().Incarnation), "give", nil)
		require.Equal(t, fault.TooLarge, fault.CodeOf(err), "over the answering node's limit")
		require.True(t, fault.IsRemote(err))
		_, err = a.Call(background, rpc.Node(small.Self().Incarnation), "echo", pattern(900_000))
		require.Equal(t, fault.TooLarge, fault.CodeOf(err), "a request over the other node's limit")
		_, err = a.Call(background, rpc.Node(b.Self().Incarnation), "give", nil, rpc.Timeout(5*time.Second))
		require.Equal(t, fault.TooLarge, fault.CodeOf(err), "an answer over this node's limit: %v", err)
	})
}

func TestALostPieceEndsTheCallLongBeforeItsDeadline(t *testing.T) {
	for name, lost := range map[string]int{"in the middle": 3, "the last": 8} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, c *cluster) {
				la, lb := c.link(), c.link()
				a, b := c.startOn(la, "a"), c.startOn(lb, "b")
				echo(t, a, b)
				c.settle(a, b)
				call := func(l *link, options ...rpc.CallOption) error {
					n := 0
					l.set(func(l *link) {
						l.lose = func(f rpc.Frame) bool {
							if kindOf(f) == chunk {
								n++
							}
							return kindOf(f) == chunk && n == lost
						}
					})
					options = append(options, rpc.Timeout(time.Hour))
					answer, err := a.Call(background, rpc.Node(b.Self().Incarnation), "echo", pattern(7*256<<10+500), options...)
					if err == nil {
						require.Len(t, answer, 7*256<<10+500)
					}
					return err
				}
				began := time.Now()

				require.Equal(t, fault.Unavailable, fault.LocalCode(call(la)), "of the request")
				require.Equal(t, fault.Unavailable, fault.LocalCode(call(lb)), "of the answer")
				require.NoError(t, call(la, rpc.Repeatable()))
				require.NoError(t, call(lb, rpc.Repeatable()))
				require.Less(t, time.Since(began), time.Minute)
			})
		})
	}
}

func TestALargeRequestWhoseBeginningWasLostWithTheLinkIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la := c.link()
		a, b := c.startOn(la, "a"), c.start("b")
		echo(t, b)
		c.settle(a, b)
		la.set(func(l *link) { l.cut = true })
		done := make(chan error, 1)
		go func() {
			_, err := a.Call(background, rpc.Any(), "echo", pattern(1<<20), rpc.Timeout(time.Hour))
			done <- err
		}()
		time.Sleep(time.Second)

		la.mend()
		mended := time.Now()

		require.Equal(t, fault.Unavailable, fault.LocalCode(<-done))
		require.Less(t, time.Since(mended), time.Second)
	})
}

func TestALargeAnswerThatNobodyWaitsForIsNotTaken(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la, lb := c.link(), c.link()
		a, b := c.startOn(la, "a"), c.startOn(lb, "b")
		require.NoError(t, b.Handle("slow", func(context.Context, *rpc.Incoming) ([]byte, error) {
			time.Sleep(time.Second)
			return pattern(20 << 20), nil
		}))
		c.settle(a, b)
		la.set(func(l *link) { l.lose = func(f rpc.Frame) bool { return kindOf(f) == cancelled } })
		ctx, cancel := context.WithCancel(background)
		time.AfterFunc(500*time.Millisecond, cancel)

		_, err := a.Call(ctx, rpc.Any(), "slow", nil, rpc.Timeout(time.Hour))
		require.Equal(t, fault.Canceled, fault.CodeOf(err))

		c.eventually(func() bool { return a.Counters().Late == 1 }, "the answer is refused")
		require.Zero(t, lb.count(chunk))
	})
}

func TestALostCreditIsSaidAgain(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		lb := c.link()
		a, b := c.start("a"), c.startOn(lb, "b")
		echo(t, b)
		c.settle(a, b)
		n := 0
		lb.set(func(l *link) {
			l.lose = func(f rpc.Frame) bool {
				if kindOf(f) == credit {
					n++
				}
				return kindOf(f) == credit && n%2 == 1
			}
		})

		answer, err := a.Call(background, rpc.Any(), "echo", pattern(20<<20), rpc.Timeout(time.Hour))

		require.NoError(t, err)
		require.Len(t, answer, 20<<20)
	})
}

func TestManyLargePayloadsShareTheReceiversBounds(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		b := c.start("b", func(o *rpc.Options) {
			o.Limits = rpc.Limits{Payload: 2 << 20, Assembly: 5 << 20, AssemblyPerNode: 3 << 20}
		})
		echo(t, b)
		var peers []*rpc.Peer
		for i := range 6 {
			peers = append(peers, c.start(fmt.Sprint("n", i)))
		}
		c.settle(append(peers, b)...)
		var wg sync.WaitGroup
		errs := make(chan error, 24)
		for i, p := range peers {
			for j := range 4 {
				wg.Go(func() {
					payload := pattern(1<<20 + i*1000 + j)
					answer, err := p.Call(background, rpc.Node(b.Self().Incarnation), "echo", payload, rpc.Timeout(time.Minute))
					if err == nil && !bytes.Equal(payload, answer) {
						err = fault.New(fault.Corrupt, "another answer")
					}
					errs <- err
				})
			}
		}
		wg.Wait()
		for range 24 {
			require.NoError(t, <-errs)
		}
	})
}

func TestGivingUpALargeCallFreesBothSides(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		la, lb := c.link(), c.link()
		a, b := c.startOn(la, "a"), c.startOn(lb, "b", func(o *rpc.Options) { o.Limits.Payload = 1 << 20 })
		echo(t, b)
		c.settle(a, b)
		lb.set(func(l *link) { l.lose = func(f rpc.Frame) bool { return kindOf(f) == credit } })
		for range 5 {
			_, err := a.Call(background, rpc.Node(b.Self().Incarnation), "echo", pattern(1<<20), rpc.Timeout(time.Second))
			require.Equal(t, fault.DeadlineExceeded, fault.CodeOf(err))
		}
		_, err := a.Call(background, rpc.Node(b.Self().Incarnation), "echo", pattern(1<<20), rpc.Timeout(time.Hour))
		require.Equal(t, fault.Unavailable, fault.LocalCode(err), "a receiver that says nothing: %v", err)
		lb.set(func(l *link) { l.lose = nil })

		_, err = a.Call(background, rpc.Node(b.Self().Incarnation), "echo", pattern(1<<20), rpc.Timeout(time.Second))

		require.NoError(t, err)
		synctest.Wait()
	})
}

// The answering node learns that the beginning of its answer was lost by hearing nothing of it; so then must the caller.
func TestALargeAnswerWhoseBeginningWasLostIsNotWaitedForUntilTheDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a, lb := c.start("a"), c.link()
		b := c.startOn(lb, "b")
		require.NoError(t, b.Handle("give", func(context.Context, *rpc.Incoming) ([]byte, error) { return pattern(2 << 20), nil }))
		c.settle(a, b)
		lost := false
		lb.set(func(l *link) {
			l.lose = func(f rpc.Frame) bool {
				if kindOf(f) != begin || lost {
					return false
				}
				lost = true
				return true
			}
		})
		began := time.Now()

		_, err := a.Call(background, rpc.Any(), "give", nil, rpc.Timeout(10*time.Minute))

		require.Equal(t, fault.Unavailable, fault.CodeOf(err), "%v", err)
		require.Less(t, time.Since(began), 30*time.Second)
	})
}
