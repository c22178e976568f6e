package house

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// The README's first program is the one in examples/hello, to the letter, and does what the README says.
func TestTheProgramOfTheREADMERuns(t *testing.T) {
	readme, err := os.ReadFile(root + "/README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "```go\n")
	require.True(t, found, "the README shows a Go program")
	program, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	example, err := os.ReadFile(root + "/examples/hello/main.go")
	require.NoError(t, err)
	require.Equal(t, string(example), program, "README.md and examples/hello/main.go differ")

	cmd := exec.Command("go", "run", "./examples/hello")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()

	require.NoError(t, err, string(out))
	require.Equal(t, "Hello Ada, visitor 1\n", string(out))
}
