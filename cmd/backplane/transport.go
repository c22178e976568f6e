package main

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gobackplane/backplane/cmd/backplane/internal/scaffold"
)

func transportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "transport",
		Short: "Write a transport of your own",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(transportNewCommand())
	return cmd
}

func transportNewCommand() *cobra.Command {
	var p scaffold.Project
	cmd := &cobra.Command{
		Use:   "new NAME --lang go|node",
		Short: "Begin a transport: a project that runs, and is told by the suite what to do next",
		Long: `Begin a transport: write a project into the folder NAME that compiles and runs as a plugin. It has a cache that sets and
gets, and fails the conformance suite with a list of what to do next; docs/writing-a-transport.md goes on from there.

A project in Go requires the version of Backplane that this command is. A command that was built from a checkout is no
version that could be required: give --replace with the checkout's folder then.`,
		Example: `  backplane transport new mystore --lang go --module example.com/mystore
  backplane transport new mystore --lang go --replace ~/src/backplane
  backplane transport new mystore --lang node`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%d names were given, one is expected: %s", len(args), cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Name, p.Version = args[0], version()
			p.Dir = cmp.Or(p.Dir, p.Name)
			if p.Lang == "" {
				return fmt.Errorf("in which language? Give --lang %s", strings.Join(scaffold.Languages, " or --lang "))
			}
			files, err := p.Write()
			if err != nil {
				return err
			}
			return tellNext(cmd.OutOrStdout(), p, files)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&p.Lang, "lang", "", "the language: go or node")
	flags.StringVar(&p.Dir, "dir", "", "the folder to write into; NAME without it")
	flags.StringVar(&p.Module, "module", "", "path of the Go module; NAME without it")
	flags.StringVar(&p.Replace, "replace", "", "use the checkout of Backplane in this folder, in place of a release")
	flags.BoolVar(&p.Force, "force", false, "write into a folder that is not empty, over files with the same names")
	return cmd
}

// tellNext lists what was written, and what to type.
func tellNext(w io.Writer, p scaffold.Project, files []string) error {
	var b strings.Builder
	for _, file := range files {
		fmt.Fprintln(&b, filepath.Join(p.Dir, filepath.FromSlash(file)))
	}
	fmt.Fprintf(&b, "\nnext:\n    cd %s\n", p.Dir)
	for _, line := range next[p.Lang] {
		fmt.Fprintf(&b, "    %s\n", strings.ReplaceAll(line, "NAME", p.Name))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// next are the commands that a project begins with. They fail, and say what to do.
var next = map[string][]string{
	"go":   {"go mod tidy", "go test ./...", "go build ./cmd/NAME && backplane conformance --plugin ./NAME --steps"},
	"node": {"npm install", "backplane conformance --plugin ./src/main.mjs --steps"},
}
