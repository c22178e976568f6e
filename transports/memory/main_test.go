package memory_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/transports/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster opens n nodes on a store of their own, and closes them with the test.
func cluster(t *testing.T, n int) []*memory.Transport {
	t.Helper()
	var store memory.Store
	return nodes(t, &store, n)
}

func nodes(t *testing.T, store *memory.Store, n int) []*memory.Transport {
	t.Helper()
	all := make([]*memory.Transport, n)
	for i := range all {
		node, err := store.Open("test")
		require.NoError(t, err)
		t.Cleanup(func() { _ = node.Close() })
		all[i] = node
	}
	return all
}

// one is the only result of a call with one element.
func one[T any](t require.TestingT, results []T, err error) T {
	require.NoError(t, err)
	require.Len(t, results, 1)
	return results[0]
}

var background = context.Background()
