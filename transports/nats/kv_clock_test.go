package nats

import (
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
