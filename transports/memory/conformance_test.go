package memory_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

// ownStore is a store of its own, in the memory of this process.
type ownStore struct{ store memory.Store }

func (c *ownStore) Open(t conformance.T, namespace string) transports.Transport {
	node, err := c.store.Open(namespace)
	require.NoError(t, err)
	return node
}

// bubbled is one in a bubble, where time passes as soon as everybody waits for it.
type bubbled struct{ ownStore }

func (*bubbled) AdvanceClock(d time.Duration) { time.Sleep(d) }

// TestConformance runs the suite in virtual time.
func TestConformance(t *testing.T) {
	conformance.Test(t, conformance.Harness{
		New:     func(conformance.T) conformance.Cluster { return &bubbled{} },
		Virtual: true,
	})
}

// TestConformanceInRealTime runs it by the machine's clock, as programs do.
func TestConformanceInRealTime(t *testing.T) {
	harness := conformance.Of(transports.Settings{URL: "memory:conformance"})
	harness.Timing = conformance.Timing{Case: 3 * time.Minute, Wait: time.Minute, Prompt: 20 * time.Second} // for busy machines

	report := conformance.Run(t.Context(), harness, conformance.Parallel(8))

	report.Transport = memory.Kind
	var text bytes.Buffer
	require.NoError(t, report.WriteText(&text))
	require.True(t, report.OK(), text.String())
}
