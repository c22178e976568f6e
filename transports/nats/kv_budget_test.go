package nats

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestNoMoreIsUnderWayThanTheBudgetAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		ctx, cancel := context.WithCancel(t.Context())
		for range inFlight / leastSize {
			require.NoError(t, b.take(ctx, ctx, nil, 0))
		}
		entered := make(chan int, 2)
		for i, weight := range []int64{inFlight, 1} {
			go func() {
				if b.take(ctx, ctx, nil, weight) == nil {
					entered <- i
				}
			}()
			synctest.Wait()
		}
		require.Empty(t, entered)

		b.give(0)
		synctest.Wait()
		require.Empty(t, entered, "the small one passed the large one, which so might never get its turn")

		cancel() // both give up
		synctest.Wait()
		for range inFlight/leastSize - 1 {
			b.give(0)
		}
		require.Equal(t, int64(inFlight), b.left, "who gave up keeps nothing")
	})
}

func TestALargeRequestHasTheWholeBudget(t *testing.T) {
	b := newBudget()
	require.NoError(t, b.take(t.Context(), t.Context(), nil, 10*inFlight))
	require.Zero(t, b.left)
	b.give(10 * inFlight)
	require.Equal(t, int64(inFlight), b.left)
}

func TestLargeAnswersLeaveRoomForFewer(t *testing.T) {
	b := newBudget()
	require.Equal(t, int64(leastSize), b.guess())
	b.saw(1 << 20)
	require.Equal(t, int64(1<<20), b.guess())
	for range 1000 {
		b.saw(100)
	}
	require.Equal(t, int64(leastSize), b.guess(), "small answers make it forget large ones")
}
