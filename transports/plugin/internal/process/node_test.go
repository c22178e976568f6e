package process_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the handshake needs is written down for authors in other languages; this is the proof that it is all.
func TestPluginInNodeJS(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed here")
	}
	ctx := within(t)
	seen := newLog()
	c := config(t)
	c.Program, c.Args, c.Logger = "node", []string{"testdata/plugin.js"}, slogOf(seen)
	p := start(t, c)

	answer, err := tell(ctx, p, "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", answer)
	require.NoError(t, p.Ping(ctx))

	require.NoError(t, p.Stop(ctx))
	seen.find(t, "node ends in order")
}
