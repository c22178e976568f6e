package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gobackplane/backplane/queue"
)

func TestTheBackoffGrowsWithEveryAttemptUpToItsLongest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Minute)).Draw(t, "first"))
		longest := first * time.Duration(rapid.Int64Range(1, 1<<20).Draw(t, "times"))
		b := queue.Exponential(first, longest)

		before := time.Duration(0)
		for attempt := range 100 {
			d := b(attempt+1, errBroken)
			require.LessOrEqual(t, d, longest+longest/4)
			if d < longest/2 {
				require.Greater(t, d, before)
			}
			require.GreaterOrEqual(t, d, min(first, longest)*3/4)
			before = d
		}
	})
}

func TestTheDefaultBackoffOutlastsAWeekend(t *testing.T) {
	b, total := queue.DefaultBackoff(), time.Duration(0)

	for attempt := 1; attempt < queue.DefaultMaxAttempts; attempt++ {
		total += b(attempt, errBroken)
	}

	require.Greater(t, total, 48*time.Hour)
	require.Less(t, total, 96*time.Hour)
}

func TestErrorsThatDecideKeepTheirCause(t *testing.T) {
	require.ErrorIs(t, queue.Skip(errBroken), errBroken)
	require.ErrorIs(t, queue.RetryIn(errBroken, time.Second), errBroken)
	require.EqualError(t, queue.Skip(errBroken), "broken")
	require.Error(t, queue.Skip(nil))
	require.Error(t, queue.RetryIn(nil, -time.Second))
	require.EqualError(t, queue.SnoozeFor(time.Second), "snoozed for 1s")
	require.ErrorIs(t, &queue.PanicError{Value: errBroken}, errBroken)
	require.NotErrorIs(t, &queue.PanicError{Value: "text"}, errBroken)
}

func TestEndsOfAContextCanBeToldApart(t *testing.T) {
	require.ErrorIs(t, queue.ErrShutdown, context.Canceled)
	require.ErrorIs(t, queue.ErrCanceled, context.Canceled)
	require.ErrorIs(t, queue.ErrTimeout, context.DeadlineExceeded)
	require.ErrorIs(t, queue.ErrDeadline, context.DeadlineExceeded)
	ends := []error{queue.ErrShutdown, queue.ErrCanceled, queue.ErrTimeout, queue.ErrDeadline, queue.ErrLeaseLost}
	for i, a := range ends {
		for j, b := range ends {
			require.Equal(t, i == j, errors.Is(a, b), "%v and %v", a, b)
		}
	}
}

func TestTheRawCodecTakesBytesAsTheyAre(t *testing.T) {
	data, err := queue.Raw.Encode([]byte{0, 255})
	require.NoError(t, err)
	back, err := queue.Raw.Decode(data)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 255}, back)
	require.Same(t, &data[0], &back[0], "a payload of megabytes is not copied")
}
