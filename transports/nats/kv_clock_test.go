package nats

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// skewed is a sample of a server's clock that is ahead by skew, asked over a link of so much delay each way.
func skewed(skew, there, back time.Duration) sample {
	s := sample{asked: time.Now()}
	time.Sleep(there)
	s.server = time.Now().Add(skew).Round(0)
	time.Sleep(back)
	s.told = time.Now()
	return s
}

func TestTheStoresTimeIsTheServersWhateverTheClockHereSays(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var c storeClock
			c.add(skewed(skew, 3*time.Millisecond, 2*time.Millisecond))

			late := time.Now().Add(skew).Sub(c.now())

			require.GreaterOrEqual(t, late, time.Duration(0), "an entry would end early")
			require.LessOrEqual(t, late, 3*time.Millisecond)
		})
	}
}

func TestTheBestSampleCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c storeClock
		c.add(skewed(0, time.Second, time.Second))
		c.add(skewed(0, time.Millisecond, time.Millisecond))
		c.add(skewed(0, time.Second, time.Second))

		late := time.Since(c.now())

		require.GreaterOrEqual(t, late, time.Duration(0))
		require.LessOrEqual(t, late, 2*time.Millisecond)
	})
}

func TestAClockThatWasSetBackIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c storeClock
		c.add(skewed(time.Minute, time.Millisecond, time.Millisecond))
		c.add(skewed(0, time.Millisecond, time.Millisecond))

		require.False(t, c.now().After(time.Now()), "an entry would end a minute early")
	})
}

func TestSlowClocksHereEndNothingEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c storeClock
		c.add(skewed(0, 0, 0))
		time.Sleep(10 * time.Hour)
		require.True(t, c.now().Before(time.Now().Add(-3*time.Second)), "clocks may differ by one part in 10,000")
	})
}

func TestWhatHasEndedToOneHasEndedToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var near, far storeClock
		near.add(skewed(0, 0, 0))
		far.add(skewed(0, 20*time.Millisecond, 30*time.Millisecond))
		end := time.Now().Add(time.Second)

		time.Sleep(time.Second)
		require.False(t, near.moment(t.Context()).before(end))
		require.False(t, far.moment(t.Context()).before(end), "it has ended to another node")
		require.Less(t, time.Since(end), 31*time.Millisecond, "no longer than until it is certain")
	})
}

func TestOnlyWhatIsInDoubtIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		there, back time.Duration
		left        time.Duration
		lasts       bool
		waits       time.Duration
	}{
		"long before its end":      {20 * time.Millisecond, 30 * time.Millisecond, time.Second, true, 0},
		"after its end, for sure":  {20 * time.Millisecond, 30 * time.Millisecond, -31 * time.Millisecond, false, 0},
		"a moment before its end":  {20 * time.Millisecond, 30 * time.Millisecond, 10 * time.Millisecond, false, 41 * time.Millisecond},
		"a moment after its end":   {20 * time.Millisecond, 30 * time.Millisecond, -10 * time.Millisecond, false, 21 * time.Millisecond},
		"a doubt that is too long": {time.Second, time.Second, -10 * time.Millisecond, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var clock storeClock
				clock.add(skewed(0, c.there, c.back))
				began := time.Now()

				lasts := clock.moment(t.Context()).before(began.Add(c.left))

				require.Equal(t, c.lasts, lasts)
				require.InDelta(t, c.waits, time.Since(began), float64(time.Millisecond))
			})
		})
	}
}

func TestWhoeverWaitsForCertaintyMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock storeClock
		clock.add(skewed(0, 20*time.Millisecond, 30*time.Millisecond))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		began := time.Now()

		clock.moment(ctx).before(began)

		require.Equal(t, 5*time.Millisecond, time.Since(began))
	})
}
