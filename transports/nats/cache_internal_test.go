package nats

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheCacheNeedsAServerWithAtomicBatches(t *testing.T) {
	for version, enough := range map[string]bool{
		"2.11.9": false, "2.12.0": true, "2.15.3": true, "2.14.0-RC.1": true, "3.0.0": true, "1.4.1": false, "": true,
	} {
		require.Equal(t, enough, hasAtomicBatches(version), version)
	}
}
