package nodesqlite_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestThePartForAuthors runs the tests of what knows nothing of SQLite, which are in JavaScript.
func TestThePartForAuthors(t *testing.T) {
	main(t)

	out, err := exec.CommandContext(t.Context(), "npm", "test").CombinedOutput()

	require.NoError(t, err, "%s", out)
}
