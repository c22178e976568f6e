// Package house holds the tests of how the repository is laid out.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/gobackplane/backplane"

// may says what each part of the module may import of the others. Imports go down only: a part that is not listed here
// is a mistake, and so is an import that is not listed in its row.
var may = map[string][]string{
	"fault":                    {},
	"internal":                 {"fault", "internal"},
	"internal/limits":          {"fault", "internal", "cache", "queue", "pubsub"}, // what drivers check alike; only they import it
	"cache":                    {"fault", "internal"},
	"queue":                    {"fault", "internal"},
	"pubsub":                   {"fault", "internal"},
	"rpc":                      {"fault", "internal", "pubsub"},
	"transports":               {"fault", "internal", "cache", "queue", "pubsub", "rpc"},
	"transports/memory":        {"fault", "internal", "internal/limits", "cache", "queue", "pubsub", "rpc", "transports"},
	"transports/redis":         {"fault", "internal", "internal/limits", "cache", "queue", "pubsub", "rpc", "transports"},
	"transports/nats":          {"fault", "internal", "internal/limits", "cache", "queue", "pubsub", "rpc", "transports"},
	"transports/nats/embedded": {"fault", "internal", "transports", "transports/nats"},
	"transports/plugin":        {"fault", "internal", "internal/limits", "cache", "queue", "pubsub", "rpc", "transports"},
	"conformance":              {"fault", "internal", "cache", "queue", "pubsub", "rpc", "transports"},
	"conformance/saboteurs":    {"fault", "internal", "cache", "queue", "pubsub", "rpc", "transports", "transports/memory", "conformance"},
	"backplane":                {"fault", "internal", "cache", "queue", "pubsub", "rpc", "transports"},
	"cmd":                      {"fault", "internal", "cache", "queue", "pubsub", "rpc", "transports", "transports/memory", "transports/redis", "transports/nats", "transports/nats/embedded", "transports/plugin", "conformance", "backplane"},
	"examples":                 {"fault", "cache", "queue", "pubsub", "rpc", "transports", "transports/memory", "transports/redis", "transports/nats", "transports/nats/embedded", "transports/plugin", "conformance", "backplane"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"/...")
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			require.Greater(t, len(all), 5)
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

// part is the longest row of the table that a package belongs to.
func part(path string) string {
	path = strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	for path != "" {
		if _, ok := may[path]; ok {
			return path
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return ""
		}
		path = path[:i]
	}
	return ""
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath == module {
			continue
		}
		from := part(p.ImportPath)
		require.NotEmpty(t, from, "%s belongs to no part: add it to the table, or move it", p.ImportPath)
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module+"/") {
				continue
			}
			to := part(imported)
			allowed := to == from || slices.Contains(may[from], to)
			require.True(t, allowed, "%s must not import %s", p.ImportPath, imported)
		}
	}
}

// An application compiles what it names and no more: no transport's client, and no test library.
func TestApplicationsDoNotCompileWhatTheyDoNotName(t *testing.T) {
	never := map[string][]string{
		// go-plugin imports testing for helpers of its own; it registers no flags and does no harm.
		"testing":                        {"transports/plugin", "conformance", "conformance/saboteurs", "cmd", "internal", "examples"},
		"github.com/stretchr/testify":    {"conformance", "conformance/saboteurs", "cmd", "internal"},
		"github.com/anishathalye":        {"conformance", "conformance/saboteurs", "cmd"},
		"github.com/redis/go-redis":      {"transports/redis", "cmd", "internal", "examples"},
		"github.com/nats-io":             {"transports/nats", "transports/nats/embedded", "cmd", "internal", "examples"},
		"github.com/nats-io/nats-server": {"transports/nats/embedded", "cmd", "internal"},
		"github.com/hashicorp/go-plugin": {"transports/plugin", "cmd", "examples"},
	}
	for _, p := range packages(t) {
		for banned, exempt := range never {
			if slices.Contains(exempt, part(p.ImportPath)) {
				continue
			}
			for _, dep := range p.Deps {
				require.False(t, dep == banned || strings.HasPrefix(dep, banned+"/"), "%s compiles %s in", p.ImportPath, dep)
			}
		}
	}
}
