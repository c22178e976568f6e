// Package nodesqlite_test puts the plugin through the conformance suite, as a host: it knows nothing of it but its program.
package nodesqlite_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// slow is a bound that only something broken exceeds.
const slow = time.Minute

// oldest is the first version of Node.js that the plugin runs on.
const oldest = 20

// main is the plugin's program.
func main(t testing.TB) string {
	t.Helper()
	if err := ready(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("BACKPLANE_REQUIRE"), ","), "node") {
			t.Fatalf("BACKPLANE_REQUIRE has node, but: %v", err)
		}
		t.Skipf("skipped: %v", err)
	}
	path, err := filepath.Abs("src/main.mjs")
	require.NoError(t, err)
	return path
}

// ready tells what is missing for the plugin to run.
func ready() error {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("there is no %s on the PATH: install Node.js %d or later (nodejs.org, or apt-get install nodejs npm)", program, oldest)
		}
	}
	out, err := exec.Command("node", "--version").Output()
	if err != nil {
		return fmt.Errorf("node --version: %w", err)
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldest {
		return fmt.Errorf("this is Node.js %s: install %d or later", version, oldest)
	}
	if _, err := os.Stat("node_modules"); err == nil {
		return nil
	}
	if out, err := exec.Command("npm", "ci").CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: run it by hand in this folder\n%s", err, out)
	}
	return nil
}

// start starts the plugin.
func start(t testing.TB) *plugin.Program {
	t.Helper()
	p, err := plugin.Start(t.Context(), plugin.Config{Program: main(t), StartTimeout: slow})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	return p
}

// on are the settings of a node on a file.
func on(file, namespace string) transports.Settings {
	// Normal: a power cut is not what is tried here, and the suite writes a lot.
	return transports.Settings{Namespace: namespace, Options: map[string]any{"file": file, "synchronous": "normal"}}
}
