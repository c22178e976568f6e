package nodesqlite_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// busy is for machines that do other things too.
var busy = conformance.Timing{Case: 3 * time.Minute, Wait: time.Minute, Prompt: 20 * time.Second}

// TestConformance has all nodes in one process of the plugin.
func TestConformance(t *testing.T) {
	p, file := start(t), filepath.Join(t.TempDir(), "store.sqlite")
	harness := conformance.OfFunc(func(ctx context.Context, namespace string) (transports.Transport, error) {
		return p.Open(ctx, on(file, namespace))
	})
	harness.Timing = busy

	conformance.Test(t, harness, conformance.Parallel(4))
}

// TestConformanceOfSeveralProcesses gives each node a process of its own, as several programs on one machine have: they share
// the file. A third of a second for each is too much for all cases; these are where processes could get in each other's way.
func TestConformanceOfSeveralProcesses(t *testing.T) {
	program, settings := main(t), on(filepath.Join(t.TempDir(), "store.sqlite"), "")
	settings.Options["shared"] = true
	harness := conformance.OfFunc(func(ctx context.Context, namespace string) (transports.Transport, error) {
		options := map[string]any{"program": program, "start_timeout": "1m", "options": settings.Options}
		return transports.Open(ctx, transports.Settings{Kind: plugin.Kind, Namespace: namespace, Options: options})
	})
	harness.Timing = busy

	conformance.Test(t, harness, conformance.Parallel(2), conformance.Match(
		"transport/nodes,transport/concurrency,cache/lock/*wait*,cache/lock/*one*,queue/claim,queue/nodes"))
}
