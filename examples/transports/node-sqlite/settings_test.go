package nodesqlite_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

func TestSettingsThatCannotBeRightSaySo(t *testing.T) {
	p := start(t)
	folder := t.TempDir()
	text := filepath.Join(folder, "text")
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("a text, and no database\n", 100)), 0o600))
	for name, c := range map[string]struct {
		settings transports.Settings
		message  string
	}{
		"no file":     {transports.Settings{}, "file is missing"},
		"unknown":     {transports.Settings{Options: map[string]any{"fil": "x"}}, `no option "fil"; the options are file: the database`},
		"synchronous": {transports.Settings{Options: map[string]any{"file": "x", "synchronous": "off"}}, `neither "full" nor "normal"`},
		"shared":      {transports.Settings{Options: map[string]any{"file": "x", "shared": "yes"}}, "neither true nor false"},
		"no folder":   {transports.Settings{Options: map[string]any{"file": filepath.Join(folder, "no", "file")}}, "there is no folder"},
		"no database": {transports.Settings{URL: "sqlite:" + text}, "no SQLite database"},
	} {
		t.Run(name, func(t *testing.T) {
			c.settings.Namespace = "test"

			_, err := p.Open(t.Context(), c.settings)

			require.ErrorIs(t, err, fault.Invalid)
			require.ErrorContains(t, err, c.message)
		})
	}
}

// TestAFileBelongsToOneProcess opens the file in two processes of the plugin, and then with settings that say so.
func TestAFileBelongsToOneProcess(t *testing.T) {
	a, b, file := start(t), start(t), filepath.Join(t.TempDir(), "store.sqlite")
	first, err := a.Open(t.Context(), on(file, "test"))
	require.NoError(t, err)

	_, err = b.Open(t.Context(), on(file, "test"))

	require.ErrorIs(t, err, fault.Unavailable)
	require.ErrorContains(t, err, "set the option shared to true in all of them")
	require.NoError(t, first.Close())
	second, err := b.Open(t.Context(), on(file, "test"))
	require.NoError(t, err, "it is free again")
	require.NoError(t, second.Close())
}

func TestAFileThatIsSharedOffersNoWatches(t *testing.T) {
	p := start(t)
	settings := on(filepath.Join(t.TempDir(), "store.sqlite"), "test")
	settings.Options["shared"] = true
	node, err := p.Open(t.Context(), settings)
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close()) }()

	require.Nil(t, node.Cache().Watcher)
	require.NotNil(t, node.Cache().Lists)
	require.NotNil(t, node.Cache().Holders)
	require.Nil(t, node.PubSub())
	require.NotNil(t, node.Queue().Admin)
}

func TestStartedByHandItSaysWhatItIs(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), main(t)).CombinedOutput()

	require.Error(t, err)
	require.Contains(t, string(out), "this program is a plugin of Backplane")
}
