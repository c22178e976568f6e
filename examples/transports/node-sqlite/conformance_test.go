package nodesqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// busy is for machines that do other things too.
var busy = conformance.Timing{Case: 3 * time.Minute, Wait: time.Minute, Prompt: 20 * time.Second}

// TestConformance has all nodes of a case in one process of the plugin. There are several, each with a file of its own, because
// each node that is closed cancels its streams, and HTTP/2 in Node.js ends a connection on which a thousand were cancelled within
// seconds, as a guard against floods. Nobody but a suite opens and closes hundreds of nodes.
func TestConformance(t *testing.T) {
	const processes = 8
	programs, dir := make([]*plugin.Program, processes), t.TempDir()
	for i := range programs {
		programs[i] = start(t)
	}
	var cases atomic.Int64
	harness := conformance.Harness{Timing: busy, New: func(t conformance.T) conformance.Cluster {
		i := cases.Add(1) % processes
		return conformance.OfFunc(func(ctx context.Context, namespace string) (transports.Transport, error) {
			return programs[i].Open(ctx, on(filepath.Join(dir, fmt.Sprint(i)), namespace))
		}).New(t)
	}}

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
