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
	"github.com/gobackplane/backplane/transports/memory"
)

type demoFlags struct {
	nodes, servers                int
	root, transport, cluster, out string
	kill, json, verbose           bool
}

func demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Let a cluster count the identifiers of a source tree, and check that it did",
		Example: `  backplane demo
  backplane demo --kill --json
  backplane demo --servers 3 --kill
  backplane demo --transport redis:
  backplane demo --root . --transport memory: --out counts.txt`,
		Long: `Let a cluster count the identifiers of every Go file in a tree: one task a file, one entry a file, written only if
there is none, with progress over pub/sub and the nodes' shares gathered by RPC. Then count again in one goroutine and
compare, file by file. It exits 0 only if every count is equal, 1 if one is not, and 2 when it could not find out.

The nodes are processes, and nothing has to be installed: a NATS server runs inside the demo, or with --servers 3 inside
each of the first three nodes, so that --kill takes one of the servers as well. With --transport redis: the demo starts
and stops a redis-server of the PATH, with a URL it uses what is there, and with memory: all nodes are in this process.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.nodes, "nodes", 3, "how many nodes work")
	flags.StringVar(&f.root, "root", "", "the tree; default: the Go sources of go env GOROOT")
	flags.IntVar(&f.servers, "servers", 1, "how many NATS servers there are without --transport: 1 in the demo, or more in as many nodes")
	flags.StringVar(&f.transport, "transport", "", "the URL of a transport, or redis: for a server of its own; default: a NATS server inside")
	flags.StringVar(&f.cluster, "cluster", "", "the cluster's name; its entries stay in the store, and another run finds them. Default: a new name, and the entries are removed")
	flags.StringVar(&f.out, "out", "", "write the counts to this file, one line a source file")
	flags.BoolVar(&f.kill, "kill", false, "send SIGKILL to a node in the middle, and start another")
	flags.BoolVar(&f.verbose, "verbose", false, "show what NATS servers that run inside and their nodes log; a kill makes them say much")
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
	if err := f.check(); err != nil {
		return err
	}
	root, err := f.tree(ctx)
	if err != nil {
		return err
	}
	cluster := f.cluster
	if cluster == "" {
		cluster = "demo-" + strings.ToLower(rand.Text()[:12])
	}
	s, err := f.store(ctx, cluster)
	if err != nil {
		return err
	}
	defer s.stop()
	report, err := demo.Run(ctx, demo.Options{
		Root: root, Nodes: f.nodes, Kill: f.kill, Keep: f.cluster != "", Out: f.out, Events: events, Bar: bar(events),
		Kind: s.kind, Hosts: s.hosts, Local: s.kind == memory.Kind,
		Quiet: f.quiet(),
		Config: backplane.Config{
			Node:       backplane.NodeConfig{Name: "coordinator"},
			Cluster:    backplane.ClusterConfig{Name: cluster, Keys: []string{envelope.NewKey()}},
			Transports: s.transports,
		},
	})
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

// quiet tells whether the nodes log nothing.
func (f demoFlags) quiet() bool { return f.transport == "" && !f.verbose }

func (f demoFlags) check() error {
	switch {
	case f.nodes < 1 || f.nodes > 100:
		return fmt.Errorf("--nodes %d: 1 to 100 are allowed", f.nodes)
	case f.servers != 1 && f.transport != "":
		return errors.New("--servers is for the NATS servers that run inside; leave out --transport")
	case f.servers != 1 && (f.servers < 3 || f.servers > 5 || f.servers > f.nodes):
		return fmt.Errorf("--servers %d: 1, or 3 to 5 and no more than there are nodes (%d)", f.servers, f.nodes)
	case f.servers != 1 && f.cluster != "":
		return errors.New("--cluster keeps the entries in the store, and here the store ends with the nodes; leave out --servers")
	case f.kill && strings.HasPrefix(f.transport, memory.Kind+":"):
		return errors.New("with --transport memory: all nodes are in one process, and --kill needs processes; leave it out")
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
