package transportv1_test

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "remember the .proto files as those that the code was generated from; make proto does")

func TestTheGeneratedCodeIsThatOfTheProtocol(t *testing.T) {
	const remembered = "sources.sha256"
	sources, err := filepath.Glob("../../../../proto/backplane/transport/v1/*.proto")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	slices.Sort(sources)
	sum := sha256.New()
	for _, source := range sources {
		text, err := os.ReadFile(source)
		require.NoError(t, err)
		sum.Write(text)
	}
	current := hex.EncodeToString(sum.Sum(nil))
	if *update {
		require.NoError(t, os.WriteFile(remembered, []byte(current+"\n"), 0o644))
	}

	generated, err := os.ReadFile(remembered)

	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(string(generated)), current, "the .proto files were changed; run make proto")
}
