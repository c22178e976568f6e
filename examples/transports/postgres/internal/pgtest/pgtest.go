//go:build unix

// Package pgtest gives tests a PostgreSQL server of their own, on a free port and in a temporary folder, and links to it
// that can be made to fail. A server lives for one test and what is below it.
package pgtest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Start starts a server that is stopped when the test ends. Where PostgreSQL is not installed it skips the test; if
// BACKPLANE_REQUIRE has "postgres" among its comma-separated names it fails it instead.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := NewServer(t.Context(), o)
	if err == nil {
		t.Cleanup(s.Stop)
		return s
	}
	required := slices.Contains(strings.Split(os.Getenv("BACKPLANE_REQUIRE"), ","), "postgres")
	if _, missing := err.(*MissingError); missing && !required {
		t.Skip(err)
	}
	t.Fatal(err)
	return nil
}

// MissingError says that PostgreSQL is not installed.
type MissingError struct{ Looked []string }

func (e *MissingError) Error() string {
	return "no initdb and postgres on the PATH or in " + strings.Join(e.Looked, ", ") +
		`; install them: "apt-get install postgresql" on Debian, "brew install postgresql@17" on macOS`
}
