//go:build !race

package envelope_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/envelope"
)

// Under the race detector sync.Pool drops at random, so allocations say nothing there.
func TestSealingAndOpeningCostNoMemory(t *testing.T) {
	r := ring(t, envelope.NewKey())
	lane, o := sealer(t, r, envelope.Signed).Lane(1), envelope.NewOpener(r, 0)
	payload, buffer := make([]byte, 256), make([]byte, 0, 1024)

	allocs := testing.AllocsPerRun(1000, func() {
		buffer = lane.Seal(buffer[:0], 1, address, payload)
		if _, err := o.Open(buffer, address); err != nil {
			panic(err)
		}
	})

	require.LessOrEqual(t, allocs, 1.0)
}
