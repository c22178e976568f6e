package envelope

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The model remembers everything.
func TestTheWindowAgreesWithAMemoryWithoutBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen := map[uint64]bool{}
		var newest uint64
		base := rapid.Uint64Range(1, 1<<40).Draw(t, "base")

		for range rapid.IntRange(1, 400).Draw(t, "frames") {
			from := newest
			if from == 0 {
				from = base
			}
			seq := from + rapid.Uint64Range(0, 2500).Draw(t, "ahead")
			if back := rapid.Uint64Range(0, 1500).Draw(t, "behind"); back < seq {
				seq -= back
			}

			want := !seen[seq] && (newest == 0 || seq > newest || newest-seq < WindowSize)
			require.Equal(t, want, w.accept(seq), "sequence %d, newest %d", seq, newest)
			seen[seq] = true
			newest = max(newest, seq)
		}
	})
}

func TestSequenceZeroIsNone(t *testing.T) {
	require.False(t, new(window).accept(0))
}
