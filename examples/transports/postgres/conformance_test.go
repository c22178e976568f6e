//go:build unix

package postgres_test

import (
	"testing"

	"github.com/gobackplane/backplane/examples/transports/postgres/internal/pgsuite"
	"github.com/gobackplane/backplane/examples/transports/postgres/internal/pgtest"
	"github.com/gobackplane/backplane/transports"
)

// TestConformance runs the whole suite on the transport as it is linked in. cmd/backplane-postgres does the same through
// the plugin.
func TestConformance(t *testing.T) {
	clock := pgtest.NewClock(t)
	server := pgtest.Start(t, pgtest.Options{Clock: clock})
	pgsuite.Run(t, server, clock, transports.Open)
}
