package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/transports"
)

type conformanceFlags struct {
	transport, config, run, format string
	repeat, parallel               int
	slow                           float64
	requireHooks, log              bool
}

func conformanceCommand() *cobra.Command {
	var f conformanceFlags
	cmd := &cobra.Command{
		Use:   "conformance (--transport URL | --config FILE)",
		Short: "Check that a transport keeps its promises",
		Long: `Check that a transport keeps its promises, each in a fresh namespace of its own.

It exits 0 when no case failed, 1 when one did, and 2 when the suite could not run. Faults (a restart of the store, a
link that swallows packets) need hooks, which only a Go test can give: here such cases are listed as not exercised.

What a case leaves in the store, in a namespace that begins with conform-, is removed when it is over. After a run that
was interrupted some may remain.`,
		Example: `  backplane conformance --transport redis://127.0.0.1:6379
  backplane conformance --transport memory: --run cache/lock
  backplane conformance --config backplane.yaml --format junit > report.xml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.check(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.transport, "transport", "", "the transport's URL")
	flags.StringVar(&f.config, "config", "", "a config file: each concern is checked on the transport that it uses")
	flags.StringVar(&f.run, "run", "", "run only the cases below this name; * stands for part of a name, a comma separates several")
	flags.StringVar(&f.format, "format", "text", "text, json, junit or markdown")
	flags.IntVar(&f.repeat, "repeat", 1, "run each case so often")
	flags.IntVar(&f.parallel, "parallel", 8, "run so many cases at once")
	flags.Float64Var(&f.slow, "slow", 1, "stretch all timing by this factor, for a distant store")
	flags.BoolVar(&f.requireHooks, "require-hooks", false, "fail where a fault could not be exercised")
	flags.BoolVar(&f.log, "log", false, "show what is logged meanwhile: cases provoke faults, so warnings are usual")
	return cmd
}

func (f conformanceFlags) check(ctx context.Context, out, progress io.Writer) error {
	write, ok := map[string]func(conformance.Report, io.Writer) error{
		"text": conformance.Report.WriteText, "json": conformance.Report.WriteJSON,
		"junit": conformance.Report.WriteJUnit, "markdown": conformance.Report.WriteMarkdown,
	}[f.format]
	if !ok {
		return fmt.Errorf("--format %q: write text, json, junit or markdown", f.format)
	}
	switch {
	case f.transport == "" && f.config == "":
		return errors.New("what is to be checked? Give --transport URL or --config FILE")
	case f.transport != "" && f.config != "":
		return errors.New("--transport and --config exclude each other; give one of them")
	case f.repeat < 1:
		return fmt.Errorf("--repeat %d: at least 1 is expected", f.repeat)
	case f.parallel < 1:
		return fmt.Errorf("--parallel %d: at least 1 is expected", f.parallel)
	case f.slow <= 0:
		return fmt.Errorf("--slow %g: more than 0 is expected", f.slow)
	}
	if err := f.checkNames(); err != nil {
		return err
	}
	harness, name, err := f.harness(ctx)
	if err != nil {
		return err
	}
	if !f.log {
		slog.SetDefault(slog.New(slog.DiscardHandler))
	}
	options := []conformance.Option{
		conformance.Repeat(f.repeat), conformance.Parallel(f.parallel), conformance.Slow(f.slow), showProgress(progress),
	}
	if f.run != "" {
		options = append(options, conformance.Match(f.run))
	}
	if f.requireHooks {
		options = append(options, conformance.RequireHooks())
	}
	report := conformance.Run(ctx, harness, options...)
	report.Transport = name
	if ctx.Err() != nil {
		return context.Cause(ctx) // what was cut short would look like failures
	}
	if err := write(report, out); err != nil {
		return err
	}
	if !report.OK() {
		return errFailed
	}
	return nil
}

// checkNames refuses each name that selects nothing: of several, a misspelt one would pass unseen.
func (f conformanceFlags) checkNames() error {
	if f.run == "" {
		return nil
	}
	all := conformance.All()
	for pattern := range strings.SplitSeq(f.run, ",") {
		if !slices.ContainsFunc(all, func(c conformance.Case) bool { return conformance.MatchName(pattern, c.Name) }) {
			return fmt.Errorf("--run %q: no case has such a name; they look like cache/lock/release-by-non-holder-is-refused", pattern)
		}
	}
	return nil
}

// harness opens the target once before the suite does, so that a wrong address is one clear error and not hundreds of
// failed cases.
func (f conformanceFlags) harness(ctx context.Context) (conformance.Harness, string, error) {
	var open opener
	var name string
	if f.transport != "" {
		name = strings.SplitN(f.transport, ":", 2)[0]
		open = func(ctx context.Context, namespace string) (transports.Transport, error) {
			return transports.OpenURL(ctx, f.transport, transports.Settings{Namespace: namespace})
		}
	} else {
		config, err := backplane.Load(f.config)
		if err != nil {
			return conformance.Harness{}, "", err
		}
		name, open = f.config, configured(config)
	}
	first, err := open(ctx, "conformance")
	if err != nil {
		return conformance.Harness{}, "", err
	}
	if f.transport != "" {
		name = first.Kind()
	}
	return conformance.OfFunc(open), name, first.Close()
}

// showProgress draws a bar on a terminal, and nothing elsewhere.
func showProgress(w io.Writer) conformance.Option {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return conformance.Progress(nil)
	}
	var bar *progressbar.ProgressBar
	return conformance.Progress(func(done, total int, r conformance.Result) {
		if bar == nil {
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
		}
		bar.Describe(fmt.Sprintf("%-60.60s", r.Case.Name))
		err := bar.Set(done)
		if done == total {
			err = errors.Join(err, bar.Finish())
		}
		if err != nil {
			bar = nil // the terminal has gone; the report goes on
		}
	})
}
