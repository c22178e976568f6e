package complaints_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/complaints"
)

func TestOneLineOfEachCodeInAWhileSaysHowManyItStandsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b complaints.Box
		_, ok := b.Allow(fault.Corrupt)
		require.True(t, ok)
		for range 3 {
			_, ok = b.Allow(fault.Corrupt)
			require.False(t, ok)
		}
		_, ok = b.Allow(fault.Duplicate)
		require.True(t, ok, "another code has a line of its own")

		time.Sleep(10 * time.Second)

		others, ok := b.Allow(fault.Corrupt)
		require.True(t, ok)
		require.Equal(t, 3, others)
		_, ok = b.Allow(fault.Corrupt)
		require.False(t, ok)
	})
}
