package demo_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/cmd/backplane/internal/demo"
	_ "github.com/gobackplane/backplane/transports/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// optionsOn are those of a run on a memory store of the test's own.
func optionsOn(t *testing.T, root string) demo.Options {
	t.Helper()
	config := backplane.URL("memory:" + t.Name())
	config.Cluster.Name = "demo"
	return demo.Options{
		Root: root, Nodes: 3, Config: config, Kind: "memory", Local: true, Keep: true,
		Events: io.Discard, Bar: func(int, int) {},
	}
}

func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, source := range map[string]string{"a.go": "package a\n", "b.go": "package b\n\nvar x = 1\n", "empty.go": ""} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(source), 0o666))
	}
	return root
}

func TestSecondRunFindsEverythingDone(t *testing.T) {
	o := optionsOn(t, tree(t))
	watcher, err := backplane.Open(t.Context(), o.Config) // keeps the store, too
	require.NoError(t, err)
	defer watcher.Close()
	revisions := func() (all []cache.Revision) {
		for _, file := range []string{"a.go", "b.go", "empty.go"} {
			entry, err := watcher.Cache().Get(t.Context(), "count/"+file)
			require.NoError(t, err)
			all = append(all, entry.Revision)
		}
		return all
	}

	first, err := demo.Run(t.Context(), o)
	require.NoError(t, err)
	require.True(t, first.OK)
	require.Equal(t, 3, first.Identifiers)
	before := revisions()
	second, err := demo.Run(t.Context(), o)

	require.NoError(t, err)
	require.True(t, second.OK)
	require.Equal(t, before, revisions())
	require.Len(t, second.Shares, 3)
	written, found := 0, 0
	for _, s := range second.Shares {
		written, found = written+s.Files, found+s.Repeated
	}
	require.Zero(t, written)
	require.Equal(t, 3, found)
}

func TestChangedFileIsWrongAndSaidSo(t *testing.T) {
	o := optionsOn(t, tree(t))
	watcher, err := backplane.Open(t.Context(), o.Config)
	require.NoError(t, err)
	defer watcher.Close()
	_, err = demo.Run(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(o.Root, "a.go"), []byte("package a; var y int\n"), 0o666))

	report, err := demo.Run(t.Context(), o)

	require.NoError(t, err)
	require.False(t, report.OK)
	require.Equal(t, []string{"a.go"}, report.Wrong)
	var said bytes.Buffer
	report.Write(&said)
	require.Contains(t, said.String(), "wrong: a.go")
	require.Contains(t, said.String(), "give another --cluster")
}

func TestRootMayBeASymbolicLink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "src")
	if err := os.Symlink(tree(t), link); err != nil {
		t.Skip("skipped: no symbolic links here:", err)
	}

	report, err := demo.Run(t.Context(), optionsOn(t, link))

	require.NoError(t, err)
	require.True(t, report.OK)
	require.Equal(t, 3, report.Files)
}

func TestNameThatCannotTravelIsRefused(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: file names are Unicode here")
	}
	root := tree(t)
	require.NoError(t, os.WriteFile(filepath.Join(root, "\xff.go"), nil, 0o666))

	_, err := demo.Run(t.Context(), optionsOn(t, root))

	require.ErrorContains(t, err, `\xff.go": the name is not UTF-8`)
}

func TestProgressReachesTheEnd(t *testing.T) {
	o := optionsOn(t, tree(t))
	var last, total int
	o.Bar = func(done, of int) { last, total = done, of }

	_, err := demo.Run(t.Context(), o)

	require.NoError(t, err)
	require.Equal(t, []int{3, 3}, []int{last, total})
}
