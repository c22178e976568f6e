package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/nats/embedded"

	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

// column is what is known of one transport.
type column struct {
	name                    string
	results                 map[string]counts // by concern
	caps                    transports.Capabilities
	lists, watcher, holders bool
}

// counts are how many cases ended how.
type counts map[conformance.Outcome]int

func (c *column) count(name string, outcome conformance.Outcome) {
	concern := conformance.Case{Name: name}.Concern()
	if c.results == nil {
		c.results = map[string]counts{}
	}
	if c.results[concern] == nil {
		c.results[concern] = counts{}
	}
	c.results[concern][outcome]++
}

func measureAll(ctx context.Context) ([]column, error) {
	redis, err := servers.StartRedis(ctx, servers.RedisOptions{})
	if err != nil {
		return nil, err
	}
	defer redis.Stop()
	nats, stop, err := startNATS(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	var columns []column
	for _, url := range []string{"memory:", redis.URL(), nats} {
		c, err := measure(ctx, url)
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	cluster, err := measureCluster(ctx)
	if err != nil {
		return nil, err
	}
	mixed, err := measureMixed(ctx, columns[1], columns[2], redis.URL(), nats)
	return append(columns, cluster, mixed), err
}

func startNATS(ctx context.Context) (url string, stop func(), err error) {
	folder, err := os.MkdirTemp("", "abilities-")
	if err != nil {
		return "", nil, err
	}
	t, err := embedded.Open(ctx, transports.Settings{
		Namespace: "server", Options: map[string]any{"folder": folder, "secret": rand.Text()},
	})
	if err != nil {
		_ = os.RemoveAll(folder)
		return "", nil, err
	}
	return t.(*embedded.Transport).URL(), func() {
		_ = t.Close() // always nil
		_ = os.RemoveAll(folder)
	}, nil
}

// declared is what the transport says of itself.
func declared(ctx context.Context, s transports.Settings) (column, error) {
	s.Namespace = "abilities"
	node, err := transports.Open(ctx, s)
	if err != nil {
		return column{}, err
	}
	c := column{name: node.Kind(), caps: transports.CapabilitiesOf(node)}
	if b := node.Cache(); b != nil {
		c.lists, c.watcher, c.holders = b.Lists != nil, b.Watcher != nil, b.Holders != nil
	}
	return c, node.Close()
}

func measure(ctx context.Context, url string) (column, error) {
	c, err := declared(ctx, transports.Settings{URL: url})
	if err != nil {
		return c, err
	}
	report := conformance.Run(ctx, conformance.Of(transports.Settings{URL: url}), conformance.Parallel(8))
	if !report.OK() {
		return c, fmt.Errorf("%s does not conform: run backplane conformance", c.name)
	}
	for _, r := range report.Results {
		c.count(r.Case.Name, r.Outcome)
	}
	return c, nil
}

// measureCluster has the transport's own test run the suite, which gives every hook.
func measureCluster(ctx context.Context) (column, error) {
	cluster, err := servers.StartNATSCluster(ctx, 3, servers.NATSOptions{})
	if err != nil {
		return column{}, err
	}
	c, err := declared(ctx, transports.Settings{URL: cluster.Nodes[0].URL(), Options: map[string]any{"replicas": 3}})
	cluster.Stop()
	if err != nil {
		return c, err
	}
	c.name = "nats, 3 servers, 3 replicas"
	const test = "TestConformanceOfACluster"
	command := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=20m", "-json", "-run=^"+test+"$", "github.com/gobackplane/backplane/transports/nats")
	command.Env = append(os.Environ(), "BACKPLANE_REQUIRE=nats-cluster")
	out, err := command.Output()
	if err != nil {
		return c, fmt.Errorf("%s does not conform: %w; run make cluster", c.name, err)
	}
	return c, c.countTests(out, test+"/")
}

// countTests reads what go test -json says of the suite's cases: the deepest tests are the cases.
func (c *column) countTests(out []byte, prefix string) error {
	outcomes := map[string]conformance.Outcome{"pass": conformance.Pass, "skip": conformance.NotExercised}
	refused := map[string]bool{}
	for events := json.NewDecoder(bytes.NewReader(out)); ; {
		var event struct{ Action, Test, Output string }
		if err := events.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		name, isCase := strings.CutPrefix(event.Test, prefix)
		if !isCase {
			continue
		}
		if strings.Contains(event.Output, ": "+string(conformance.Refused)+": ") {
			refused[name] = true
		}
		if outcome, ended := outcomes[event.Action]; ended {
			if refused[name] {
				outcome = conformance.Refused
			}
			c.count(name, outcome)
		}
	}
}

// measureMixed has the command run the suite on a config that uses Redis for what is stored and NATS for what is sent.
func measureMixed(ctx context.Context, store, bus column, redis, nats string) (column, error) {
	c := store
	c.name, c.results = "redis + nats", nil
	c.caps.PubSub, c.caps.RPC = bus.caps.PubSub, bus.caps.RPC
	folder, err := os.MkdirTemp("", "abilities-")
	if err != nil {
		return c, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	config := filepath.Join(folder, "mixed.yaml")
	text := fmt.Sprintf("transports: {store: {url: %q}, bus: {url: %q}}\nuse: {cache: store, queue: store, pubsub: bus, rpc: bus}\n", redis, nats)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return c, err
	}
	out, err := exec.CommandContext(ctx, "go", "run", "github.com/gobackplane/backplane/cmd/backplane", "conformance", "--config", config, "--format", "json").Output()
	if err != nil {
		return c, fmt.Errorf("%s does not conform: %w; run backplane conformance", c.name, err)
	}
	var verdict struct {
		Cases []struct {
			Name   string
			Result conformance.Outcome
		}
	}
	if err := json.Unmarshal(out, &verdict); err != nil {
		return c, err
	}
	for _, one := range verdict.Cases {
		c.count(one.Name, one.Result)
	}
	return c, nil
}
