package main

import (
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

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/cmd/backplane/internal/demo"
	"github.com/gobackplane/backplane/internal/envelope"
	"github.com/gobackplane/backplane/internal/servers"
)

type demoFlags struct {
	nodes                         int
	root, transport, cluster, out string
	kill, json                    bool
}

func demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Let a cluster count the identifiers of a source tree, and check that it did",
		Example: `  backplane demo
  backplane demo --kill --json
  backplane demo --root . --transport memory: --out counts.txt`,
		Long: `Let a cluster count the identifiers of every Go file in a tree: one task a file, one entry a file, written only if
there is none, with progress over pub/sub and the nodes' shares gathered by RPC. Then count again in one goroutine and
compare, file by file. It exits 0 only if every count is equal, 1 if one is not, and 2 when it could not find out.

With a redis-server on the PATH (or --transport redis://…) the nodes are processes; the server is started and stopped
by the demo. Without, they run in this process, on memory.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.nodes, "nodes", 3, "how many nodes work")
	flags.StringVar(&f.root, "root", "", "the tree; default: the Go sources of go env GOROOT")
	flags.StringVar(&f.transport, "transport", "", "the URL of a transport; default: a Redis of its own, or memory")
	flags.StringVar(&f.cluster, "cluster", "", "the cluster's name; its entries stay in the store, and another run finds them. Default: a new name, and the entries are removed")
	flags.StringVar(&f.out, "out", "", "write the counts to this file, one line a source file")
	flags.BoolVar(&f.kill, "kill", false, "send SIGKILL to a node in the middle, and start another")
	flags.BoolVar(&f.json, "json", false, "write the result as one line of JSON")
	return cmd
}

// demoNodeCommand is what the demo's node processes run.
func demoNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    demo.NodeCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// An interrupt at the terminal reaches the whole group; the coordinator decides what it means.
			return demo.RunNode(context.WithoutCancel(cmd.Context()), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func (f demoFlags) run(ctx context.Context, out, events io.Writer) error {
	if f.nodes < 1 || f.nodes > 100 {
		return fmt.Errorf("--nodes %d: 1 to 100 are allowed", f.nodes)
	}
	if f.kill && f.local() {
		return errors.New("--kill needs nodes that are processes, and so a server: install redis-server (make deps), or give --transport redis://…")
	}
	root, err := f.tree(ctx)
	if err != nil {
		return err
	}
	options := demo.Options{Root: root, Nodes: f.nodes, Kill: f.kill, Keep: f.cluster != "", Out: f.out, Events: events}
	address, stop, err := f.target(ctx)
	if err != nil {
		return err
	}
	defer stop()
	options.Config = backplane.URL(address)
	options.Config.Node.Name = "coordinator"
	options.Config.Cluster.Keys = []string{envelope.NewKey()}
	options.Config.Cluster.Name = f.cluster
	if f.cluster == "" {
		options.Config.Cluster.Name = "demo-" + strings.ToLower(rand.Text()[:12])
	}
	options.Kind, _, _ = strings.Cut(address, ":")
	options.Local = f.local()
	options.Bar = bar(events)

	report, err := demo.Run(ctx, options)
	if err != nil {
		return err
	}
	if !f.json {
		report.Write(out)
	} else {
		report.Write(events)
		if err := json.NewEncoder(out).Encode(report); err != nil {
			return err
		}
	}
	if !report.OK {
		return errFailed
	}
	return nil
}

// tree is what to count.
func (f demoFlags) tree(ctx context.Context) (string, error) {
	if f.root != "" {
		return filepath.Abs(f.root)
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("no go command to ask where the Go sources are; name a tree with --root: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(goroot)), "src"), nil
}

// local tells whether the nodes are in this process.
func (f demoFlags) local() bool {
	if f.transport != "" {
		return strings.HasPrefix(f.transport, "memory:")
	}
	_, err := exec.LookPath("redis-server")
	return err != nil
}

// target is the transport's URL, and what stops the server that was started for it.
func (f demoFlags) target(ctx context.Context) (address string, stop func(), err error) {
	nothing := func() {}
	if f.transport != "" {
		return f.transport, nothing, nil
	}
	if f.local() {
		return "memory:", nothing, nil
	}
	redis, err := servers.StartRedis(ctx, servers.RedisOptions{})
	if err != nil {
		return "", nil, err
	}
	return redis.URL(), redis.Stop, nil
}

// bar draws progress on a terminal, and nothing elsewhere.
func bar(w io.Writer) func(done, total int) {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func(int, int) {}
	}
	var b *progressbar.ProgressBar
	finished := false
	return func(done, total int) {
		if finished {
			return
		}
		if b == nil {
			b = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("files"))
		}
		_ = b.Set(done) // a terminal that has gone is no reason to stop
		if done == total {
			_ = b.Finish()
			fmt.Fprintln(w)
			finished = true
		}
	}
}
