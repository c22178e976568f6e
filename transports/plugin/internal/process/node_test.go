package process_test

import (
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
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

func TestMemoryOfNodeJSIsLimited(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is watched on Linux only")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed here")
	}
	c := config(t)
	c.Program, c.Args, c.MaxMemory = "node", []string{"testdata/plugin.js"}, 8<<20 // an idle one holds more

	p, err := process.Start(within(t), c)
	if err == nil { // it had answered before its memory was looked at
		err = ended(t, p)
	}

	require.ErrorIs(t, err, fault.Exhausted)
	require.ErrorContains(t, err, "max_memory allows 8.0 MiB")
}
