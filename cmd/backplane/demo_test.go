package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/queue"
)

// outcome is the demo's line of JSON.
type outcome struct {
	OK        bool    `json:"ok"`
	Transport string  `json:"transport"`
	Files     int     `json:"files"`
	Tasks     int     `json:"tasks"`
	Lost      int     `json:"lost"`
	Double    int     `json:"double"`
	Killed    int     `json:"killed"`
	Reruns    int     `json:"reruns"`
	Seconds   float64 `json:"seconds"`
}

// decodeOutcome wants exactly one line with exactly these fields.
func decodeOutcome(t *testing.T, stdout string) outcome {
	t.Helper()
	require.Equal(t, 1, strings.Count(stdout, "\n"), stdout)
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &fields))
	for _, name := range []string{"ok", "transport", "files", "tasks", "lost", "double", "killed", "reruns", "seconds"} {
		require.Contains(t, fields, name)
		delete(fields, name)
	}
	require.Empty(t, fields, "fields that nobody was promised")
	var o outcome
	require.NoError(t, json.Unmarshal([]byte(stdout), &o))
	return o
}

// midsize is a real tree of some hundred files: enough that a node dies in the middle of it.
func midsize(t *testing.T) string {
	t.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	return filepath.Join(strings.TrimSpace(string(goroot)), "src", "net")
}

// demoTargets runs a test on memory, on Redis, and on what the demo brings itself.
func demoTargets(t *testing.T, test func(t *testing.T, transport string)) {
	t.Run("nats-embedded", func(t *testing.T) {
		t.Parallel()
		test(t, "")
	})
	targets(t, test)
}

// targets runs a test on memory and on Redis.
func targets(t *testing.T, test func(t *testing.T, transport string)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, "memory:")
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, testserver.Shared(t).URL())
	})
}

func TestDemoCountsNastyFiles(t *testing.T) {
	demoTargets(t, func(t *testing.T, transport string) {
		root, counts := nastyTree(t)
		out := filepath.Join(t.TempDir(), "counts")

		code, stdout, stderr := invoke(t, "demo", "--transport", transport, "--root", root, "--out", out, "--json")

		require.Zero(t, code, stderr)
		kind, _, _ := strings.Cut(cmp.Or(transport, "nats-embedded:"), ":")
		o := decodeOutcome(t, stdout)
		require.Positive(t, o.Seconds)
		o.Seconds = 0
		require.Equal(t, outcome{OK: true, Transport: kind, Files: len(counts), Tasks: len(counts)}, o)
		require.Equal(t, counts, readCounts(t, out))
		require.Contains(t, stderr, "every count is equal to a single goroutine's")
	})
}

func TestDemoCountsAsAnotherProgramDoes(t *testing.T) {
	demoTargets(t, func(t *testing.T, transport string) {
		root, out := midsize(t), filepath.Join(t.TempDir(), "counts")
		other := exec.Command("go", "run", "./testdata/identifiers", root)
		other.Stderr = os.Stderr
		printed, err := other.Output()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(out, []byte("what was here before, which is longer than nothing"), 0o666))

		code, stdout, stderr := invoke(t, "demo", "--transport", transport, "--root", root, "--out", out)

		require.Zero(t, code, stderr)
		require.Contains(t, stdout, "lost 0, double 0", "the result is for people when it is not for programs")
		want := parseCounts(t, string(printed))
		require.Greater(t, len(want), 100)
		require.Equal(t, want, readCounts(t, out))
	})
}

func TestDemoSurvivesAKillInTheMiddle(t *testing.T) {
	t.Parallel()
	server := testserver.Shared(t)
	tiny := writeTree(t, map[string]string{"a.go": "package a", "b.go": "package b", "c.go": ""})
	for name, args := range map[string][]string{
		"a server inside":    {"--root", midsize(t)},
		"a server in each":   {"--root", midsize(t), "--servers", "3"},
		"a redis of its own": {"--root", midsize(t), "--transport", "redis:"},
		"a given server":     {"--root", midsize(t), "--transport", server.URL(), "--nodes", "2"},
		"a tiny tree":        {"--root", tiny, "--transport", server.URL()},
		"one node":           {"--root", tiny, "--transport", server.URL(), "--nodes", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := invoke(t, append([]string{"demo", "--kill", "--json"}, args...)...)

			require.Zero(t, code, stderr)
			o := decodeOutcome(t, stdout)
			require.True(t, o.OK)
			require.Equal(t, 1, o.Killed)
			require.Zero(t, o.Lost)
			require.Zero(t, o.Double)
			require.Equal(t, o.Files, o.Tasks)
			require.Equal(t, 1, strings.Count(stderr, "killed a node; another takes its place"))
			require.NotContains(t, stderr, "redis: 20", "what go-redis prints is not for the operator")
		})
	}
}

func TestSecondDemoFindsEverythingDone(t *testing.T) {
	t.Parallel()
	server := testserver.Shared(t)
	root, counts := nastyTree(t)
	cluster := testserver.Namespace(t)
	args := []string{"demo", "--transport", server.URL(), "--root", root, "--cluster", cluster}
	code, _, stderr := invoke(t, args...)
	require.Zero(t, code, stderr)
	first := entries(t, server.URL(), cluster, counts)

	code, stdout, stderr := invoke(t, args...)

	require.Zero(t, code, stderr)
	require.Equal(t, first, entries(t, server.URL(), cluster, counts), "entries keep their revisions")
	found := 0
	for _, match := range regexp.MustCompile(`\((\d+) found done already\)`).FindAllStringSubmatch(stdout, -1) {
		n, err := strconv.Atoi(match[1])
		require.NoError(t, err)
		found += n
	}
	require.Equal(t, len(counts), found, stdout)
}

func TestDemoFinishesWhatAnEarlierRunLeft(t *testing.T) {
	t.Parallel()
	server := testserver.Shared(t)
	root, counts := nastyTree(t)
	cluster := testserver.Namespace(t)
	node := join(t, server.URL(), cluster)
	type task struct {
		File string `json:"file"`
	}
	_, err := queue.Enqueue(t.Context(), node.Queue(), queue.NewKind[task]("demo.count"), task{"tags.go"})
	require.NoError(t, err)

	code, stdout, stderr := invoke(t, "demo", "--transport", server.URL(), "--root", root, "--cluster", cluster, "--json")

	require.Zero(t, code, stderr)
	require.Equal(t, len(counts), decodeOutcome(t, stdout).Tasks)
}

func TestDemoTellsAMiscount(t *testing.T) {
	t.Parallel()
	server := testserver.Shared(t)
	root, _ := nastyTree(t)
	type count struct {
		File        string `json:"file"`
		Identifiers int    `json:"identifiers"`
		Lines       int    `json:"lines"`
	}
	for name, poison := range map[string]func(*testing.T, *backplane.Node){
		"a wrong count": func(t *testing.T, node *backplane.Node) {
			_, err := cache.Typed[count](node.Cache(), nil).Set(t.Context(), "count/tags.go", count{"tags.go", 7, 5})
			require.NoError(t, err)
		},
		"an entry too many": func(t *testing.T, node *backplane.Node) {
			_, err := cache.Typed[count](node.Cache(), nil).Set(t.Context(), "count/nowhere.go", count{"nowhere.go", 1, 1})
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := testserver.Namespace(t)
			poison(t, join(t, server.URL(), cluster))

			code, stdout, stderr := invoke(t, "demo", "--transport", server.URL(), "--root", root, "--cluster", cluster, "--json")

			require.Equal(t, exitFailed, code, stderr)
			o := decodeOutcome(t, stdout)
			require.False(t, o.OK)
			require.Contains(t, stderr, "NOT what a single goroutine counts")
			if name == "a wrong count" {
				require.Contains(t, stderr, "wrong: tags.go")
			} else {
				require.Equal(t, 1, o.Double)
			}
		})
	}
}

func TestDemoLeavesNothingInAGivenStore(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	root, counts := nastyTree(t)

	code, _, stderr := invoke(t, "demo", "--transport", server.URL(), "--root", root, "--kill")

	require.Zero(t, code, stderr)
	require.Empty(t, entryKeys(t, server.URL()), "entries, locks and tasks")

	code, _, stderr = invoke(t, "demo", "--transport", server.URL(), "--root", root, "--cluster", "kept")

	require.Zero(t, code, stderr)
	require.Len(t, entryKeys(t, server.URL()), len(counts), "a cluster with a name keeps its entries")
}

func TestDemoNamesAFileThatItCannotRead(t *testing.T) {
	if os.Getuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("skipped: nothing is unreadable here")
	}
	t.Parallel()
	root, _ := nastyTree(t)
	require.NoError(t, os.Chmod(filepath.Join(root, "tags.go"), 0))

	code, stdout, stderr := invoke(t, "demo", "--transport", "memory:", "--root", root, "--json")

	require.Equal(t, exitCannot, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "tags.go")
}

func TestFailedDemoLeavesTheOutputAlone(t *testing.T) {
	t.Parallel()
	root, _ := nastyTree(t)
	dir := t.TempDir()
	old, fresh := filepath.Join(dir, "old"), filepath.Join(dir, "fresh")
	require.NoError(t, os.WriteFile(old, []byte("3 a.go\n"), 0o666))

	for _, out := range []string{old, fresh} {
		code, _, _ := invoke(t, "demo", "--transport", "redis://127.0.0.1:1", "--root", root, "--out", out)
		require.Equal(t, exitCannot, code)
	}

	require.Equal(t, map[string]int{"a.go": 3}, readCounts(t, old))
	require.NoFileExists(t, fresh)
}

// join opens a node in the cluster of a demo.
func join(t *testing.T, transport, cluster string) *backplane.Node {
	t.Helper()
	config := backplane.URL(transport)
	config.Cluster.Name, config.Cluster.Insecure, config.Logger = cluster, true, slog.New(slog.DiscardHandler)
	node, err := backplane.Open(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Close()) })
	return node
}

// entries are the demo's, with their revisions.
func entries(t *testing.T, transport, cluster string, counts map[string]int) map[string]string {
	t.Helper()
	store := join(t, transport, cluster).Cache()
	all := map[string]string{}
	for file := range counts {
		entry, err := store.Get(context.Background(), "count/"+file)
		require.NoError(t, err, file)
		all[file] = fmt.Sprint(entry.Revision, string(entry.Value))
	}
	return all
}

func readCounts(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return parseCounts(t, string(text))
}

// parseCounts reads a line a file, its count and its name.
func parseCounts(t *testing.T, text string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		number, name, found := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		require.True(t, found, line)
		n, err := strconv.Atoi(number)
		require.NoError(t, err, line)
		require.NotContains(t, counts, name, "a file twice")
		counts[name] = n
	}
	return counts
}
