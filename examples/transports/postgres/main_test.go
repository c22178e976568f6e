//go:build unix

package postgres_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	_ "github.com/gobackplane/backplane/examples/transports/postgres"
	"github.com/gobackplane/backplane/transports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const minute = time.Minute

// far is a time that does not come.
var far = time.Now().Add(1000 * time.Hour)

// open opens a node, which is closed when the test ends.
func open(t testing.TB, url, namespace string) transports.Transport {
	t.Helper()
	node, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: namespace, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}
