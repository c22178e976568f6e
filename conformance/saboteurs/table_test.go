package saboteurs_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance/saboteurs"
)

var update = flag.Bool("update", false, "write docs/conformance.md")

func TestTableIsCurrent(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "conformance.md")
	var want bytes.Buffer
	require.NoError(t, saboteurs.WriteTable(&want))

	if *update {
		require.NoError(t, os.WriteFile(path, want.Bytes(), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want.String(), string(got), "docs/conformance.md is not current; run: go generate ./conformance/saboteurs")
}
