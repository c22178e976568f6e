package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// beginning is what the suite says to a project that was just begun.
const beginning = `(?ms)^ *1 +done +open .*^ *2 +done +entries .*^ *3 +NEXT +delete .*^ *4 +not yet +conditions .*` +
	`next: Delete, and revisions that never repeat\. It fails here:.*cache/delete/removes.*One of them alone:\n +%s`

func TestAProjectInGoRunsAndIsToldWhatIsNext(t *testing.T) {
	t.Parallel()
	dir := newProject(t, "my-store", "--lang", "go", "--module", "example.com/stores/my-store", "--replace", "../..")

	out, err := inProject(dir, "go", "vet", "./...")
	require.NoError(t, err, out)
	out, err = inProject(dir, "go", "test", "-v", "./...")
	require.Error(t, err)
	require.Regexp(t, fmt.Sprintf(beginning, `go test -run 'TestConformance/linked/cache/delete/removes'`), out)
	require.Contains(t, out, "TODO: Delete: remove entries, and say of each whether it existed")
	require.Contains(t, out, "--- PASS: TestThePluginAnswers")
	require.NotContains(t, out, "panic")

	program := filepath.Join(dir, "my-store.exe")
	out, err = inProject(dir, "go", "build", "-o", program, "./cmd/my-store")
	require.NoError(t, err, out)
	requireBeginning(t, program)
}

func TestAProjectForNodeRunsAndIsToldWhatIsNext(t *testing.T) {
	t.Parallel()
	needNode(t)
	dir := newProject(t, "my-store", "--lang", "node")

	out, err := inProject(dir, "npm", "install", "--no-audit", "--no-fund", "--prefer-offline")
	require.NoError(t, err, out)

	requireBeginning(t, filepath.Join(dir, "src", "main.mjs"))
}

// requireBeginning puts a plugin's program through the suite.
func requireBeginning(t *testing.T, program string) {
	t.Helper()
	code, stdout, stderr := invoke(t, "conformance", "--plugin", program, "--steps")
	require.Equal(t, exitFailed, code, stderr)
	require.Empty(t, stderr, "the list says it all")
	require.Regexp(t, fmt.Sprintf(beginning, `backplane conformance --plugin .* --run cache/delete/removes`), stdout)
	require.Less(t, strings.Count(stdout, "\n"), 100, "a person is to read it:\n%s", stdout)

	code, stdout, stderr = invoke(t, "conformance", "--plugin", program, "--run", "cache/entry/flags-come-back,transport/nodes,queue/claim", "--format", "json")
	require.Zero(t, code, stderr)
	v := decodeVerdict(t, stdout)
	require.Equal(t, 3, v.Passed, "nodes of one process share what it keeps")
	require.Positive(t, v.Refused)
	require.Zero(t, v.Failed)
}

// needNode skips a test where there is no Node.js, with the reason, unless BACKPLANE_REQUIRE has node.
func needNode(t *testing.T) {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		_, err := exec.LookPath(program)
		switch {
		case err == nil:
		case slices.Contains(strings.Split(os.Getenv("BACKPLANE_REQUIRE"), ","), "node"):
			t.Fatalf("BACKPLANE_REQUIRE has node, but there is no %s on the PATH: install Node.js 20 or later (nodejs.org, or apt-get install nodejs npm)", program)
		default:
			t.Skipf("skipped: there is no %s on the PATH; install Node.js 20 or later", program)
		}
	}
}

func TestWhatCannotBeBegunIsToldInOneLine(t *testing.T) {
	t.Parallel()
	empty, full := t.TempDir(), writeTree(t, map[string]string{"mine.txt": "x"})
	for args, says := range map[string]string{
		"new":                                "0 names were given, one is expected: backplane transport new NAME --lang go|node",
		"new a b --lang go":                  "2 names were given",
		"new mine":                           "in which language? Give --lang go or --lang node",
		"new mine --lang cobol":              `--lang "cobol": there are templates for go and node`,
		"new Mine --lang node":               "lower-case letters",
		"new redis --lang node":              "choose another name, such as my-redis",
		"new mine --lang go --bogus":         "unknown flag: --bogus; see backplane transport new --help",
		"new mine --lang node --dir " + full: "is not empty; choose another with --dir, or overwrite what is in the way with --force",
		"new mine --lang go --replace " + empty + " --dir " + filepath.Join(empty, "mine"): "that is no checkout of Backplane",
	} {
		code, stdout, stderr := invoke(t, append([]string{"transport"}, strings.Fields(args)...)...)

		require.Equal(t, exitCannot, code, args)
		require.Empty(t, stdout, args)
		require.Contains(t, stderr, says, args)
		require.Equal(t, 1, strings.Count(stderr, "\n"), "%s: %s", args, stderr)
	}
	require.NoDirExists(t, filepath.Join(empty, "mine"))
}

func TestConformanceOfAPluginIsAskedForProperly(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	for args, says := range map[string]string{
		"--plugin " + empty:                              "that is a folder; build the project in it",
		"--plugin " + filepath.Join(empty, "none"):       "--plugin " + filepath.Join(empty, "none"),
		"--plugin x --config y":                          "--plugin and --config exclude each other",
		"--transport memory: --steps --run cache":        "--steps and --run exclude each other",
		"--transport memory: --steps --soak 1s":          "--steps and --soak exclude each other",
		"--transport memory: --steps --format json":      "--steps writes text for people",
		"--transport memory: --steps --report steps.txt": "--steps writes text for people",
	} {
		code, stdout, stderr := invoke(t, append([]string{"conformance"}, strings.Fields(args)...)...)

		require.Equal(t, exitCannot, code, args)
		require.Empty(t, stdout, args)
		require.Contains(t, stderr, says, args)
	}
}
