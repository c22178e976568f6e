package reentry_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/reentry"
)

type loop struct{}

func (*loop) drain(callback func()) { callback() }

const drain = "reentry_test.(*loop).drain"

func TestTheStackTellsACallFromWithin(t *testing.T) {
	var l loop
	within := false

	l.drain(func() { within = reentry.Within(drain) })

	require.True(t, within)
	require.False(t, reentry.Within(drain))
}

func TestAnotherGoroutineIsNotWithin(t *testing.T) {
	var l loop
	within := make(chan bool)

	l.drain(func() {
		go func() { within <- reentry.Within(drain) }()
		require.False(t, <-within)
	})
}

func TestADeepStackIsSearchedToItsEnd(t *testing.T) {
	var l loop
	var sink func(depth int) bool
	sink = func(depth int) bool {
		if depth == 0 {
			return reentry.Within(drain)
		}
		return sink(depth - 1)
	}
	within := false

	l.drain(func() { within = sink(1000) })

	require.True(t, within)
}
