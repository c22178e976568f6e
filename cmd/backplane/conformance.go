package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/transports"
)

type conformanceFlags struct {
	transport, config string
	plugin            string
	steps             bool
	run               string
	list              bool
	repeat, parallel  int
	shuffled          bool
	seed              uint64
	soak              time.Duration
	slow              float64
	faults            faultFlags
	requireHooks      bool
	format            string
	reports           []string
	historyDir        string
	log               bool
}

func conformanceCommand() *cobra.Command {
	var f conformanceFlags
	cmd := &cobra.Command{
		Use:   "conformance (--transport URL | --plugin PROGRAM | --config FILE)",
		Short: "Check that a transport keeps its promises",
		Long: `Check that a transport keeps its promises, each in a fresh namespace of its own.

It exits 0 when no case failed, 1 when one did, and 2 when the suite could not run. Cases about faults need hooks:
--faults gives those that take a link (cut, partition, crash), for which it puts proxies before the store, and commands
of yours those that take the store (restart, pause). Without them such cases are listed as not exercised.

The report ends with the level of each concern: core, full or fault-tolerant; docs/conformance.md says what they mean.

What a case leaves in the store, in a namespace that begins with conform-, is removed when it is over. After a run that
was interrupted some may remain.`,
		Example: `  backplane conformance --transport redis://127.0.0.1:6379
  backplane conformance --transport memory: --run cache/lock
  backplane conformance --transport redis://127.0.0.1:6379 --faults --restart-command 'docker restart -t 0 r1' --require-hooks
  backplane conformance --transport nats://127.0.0.1:4222 --soak 10m --report soak.html
  backplane conformance --config backplane.yaml --report report.html --report junit.xml
  backplane conformance --plugin ./mystore --steps
  backplane conformance --plugin ./backplane-postgres --transport postgres://127.0.0.1/shop`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.shuffled = cmd.Flags().Changed("shuffle")
			return f.check(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.transport, "transport", "", "the transport's URL; with --plugin, the URL that the plugin gets")
	flags.StringVar(&f.plugin, "plugin", "", "a plugin's program: its nodes are opened in one process of it")
	flags.StringVar(&f.config, "config", "", "a config file: each concern is checked on the transport that it uses")
	flags.StringVar(&f.run, "run", "", "run only the cases below this name; * stands for part of a name, a comma separates several")
	flags.BoolVar(&f.list, "list", false, "list the cases with their promises, and run none")
	flags.BoolVar(&f.steps, "steps", false, "go step by step, as a transport is written, and stop at the first step in which a case fails")
	flags.IntVar(&f.repeat, "repeat", 1, "run each case so often; the first failure ends it")
	flags.IntVar(&f.parallel, "parallel", 8, "run so many cases at once; those that need hooks run alone")
	flags.Uint64Var(&f.seed, "shuffle", 0, "run the cases in another order, which the seed decides; without one it is drawn, and printed")
	flags.Lookup("shuffle").NoOptDefVal = "0"
	flags.DurationVar(&f.soak, "soak", 0, "run the cases again and again, shuffled, until this time is over, and count how often each fails")
	flags.Float64Var(&f.slow, "slow", 1, "stretch all timing by this factor, for a distant store")
	f.faults.add(flags)
	flags.BoolVar(&f.requireHooks, "require-hooks", false, "fail where a fault could not be exercised")
	flags.StringVar(&f.format, "format", "text", "what to print: text, json, junit, markdown, html or badge")
	flags.StringArrayVar(&f.reports, "report", nil, "write a report to this file too: .html, .md, .xml (JUnit), .json or .txt; may be given again")
	flags.StringVar(&f.historyDir, "history-dir", "", "draw histories of concurrent operations that fail, in this folder")
	flags.BoolVar(&f.log, "log", false, "show what is logged meanwhile: cases provoke faults, so warnings are usual")
	return cmd
}

func (f conformanceFlags) check(ctx context.Context, out, progress io.Writer) error {
	if err := f.checkNames(); err != nil {
		return err
	}
	if f.list {
		return f.listCases(out)
	}
	write, ok := writers[f.format]
	switch {
	case !ok:
		return fmt.Errorf("--format %q: write text, json, junit, markdown, html or badge", f.format)
	case f.transport == "" && f.config == "" && f.plugin == "":
		return errors.New("what is to be checked? Give --transport URL, --plugin PROGRAM or --config FILE")
	case f.plugin != "" && f.config != "":
		return errors.New("--plugin and --config exclude each other; a config names the plugin's program itself")
	case f.transport != "" && f.config != "":
		return errors.New("--transport and --config exclude each other; give one of them")
	case f.repeat < 1:
		return fmt.Errorf("--repeat %d: at least 1 is expected", f.repeat)
	case f.parallel < 1:
		return fmt.Errorf("--parallel %d: at least 1 is expected", f.parallel)
	case f.slow <= 0:
		return fmt.Errorf("--slow %g: more than 0 is expected", f.slow)
	case f.soak < 0:
		return fmt.Errorf("--soak %v: a time such as 10m is expected", f.soak)
	}
	if err := f.checkSteps(); err != nil {
		return err
	}
	files, err := reportFiles(f.reports)
	if err != nil {
		return err
	}
	t, stop, err := f.target(ctx)
	if err != nil {
		return err
	}
	defer stop()
	harness, name, err := f.harness(ctx, t)
	if err != nil {
		return err
	}
	if !f.log {
		slog.SetDefault(slog.New(slog.DiscardHandler))
	}
	if f.steps {
		return f.walk(ctx, harness, out, progress)
	}
	report := conformance.Run(ctx, harness, append(f.options(progress), showProgress(progress))...)
	report.Transport = name
	if ctx.Err() != nil {
		return context.Cause(ctx) // what was cut short would look like failures
	}
	if err := errors.Join(write(report, out), files.write(report)); err != nil {
		return err
	}
	if !report.OK() {
		return errFailed
	}
	return nil
}

// options are those of the flags. A seed that is drawn is told at once, so that a run which is broken off can be repeated.
func (f conformanceFlags) options(told io.Writer) []conformance.Option {
	options := []conformance.Option{conformance.Repeat(f.repeat), conformance.Parallel(f.parallel), conformance.Slow(f.slow)}
	if f.shuffled || f.soak > 0 {
		for f.seed == 0 {
			f.seed = rand.Uint64()
		}
		fmt.Fprintf(told, "shuffled with seed %d; --shuffle=%[1]d gives the same order\n", f.seed)
		options = append(options, conformance.Shuffle(f.seed), conformance.Soak(f.soak))
	}
	if f.run != "" {
		options = append(options, conformance.Match(f.run))
	}
	if f.requireHooks {
		options = append(options, conformance.RequireHooks())
	}
	if f.historyDir != "" {
		options = append(options, conformance.HistoryDir(f.historyDir))
	}
	return options
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

// listCases says what --run chooses.
func (f conformanceFlags) listCases(out io.Writer) error {
	for _, c := range conformance.All() {
		chosen := f.run == ""
		for pattern := range strings.SplitSeq(f.run, ",") {
			chosen = chosen || conformance.MatchName(pattern, c.Name)
		}
		if !chosen {
			continue
		}
		needs := ""
		for _, hook := range c.Hooks {
			needs += " (needs " + string(hook) + ")"
		}
		if _, err := fmt.Fprintf(out, "%s%s\n    %s\n    %s\n", c.Name, needs, c.Clause, c.Link()); err != nil {
			return err
		}
	}
	return nil
}

// target is what the flags name. stop ends what was started for it.
func (f conformanceFlags) target(ctx context.Context) (t target, stop func(), err error) {
	stop = func() {}
	switch {
	case f.plugin != "":
		return f.startPlugin(ctx)
	case f.config != "":
		config, err := backplane.Load(f.config)
		return configured(config), stop, err
	}
	return lone(transports.Settings{URL: f.transport}), stop, nil
}

// harness opens the target once before the suite does, so that a wrong address is one clear error and not hundreds of
// failed cases.
func (f conformanceFlags) harness(ctx context.Context, t target) (conformance.Harness, string, error) {
	first, err := t.open(ctx, "conformance", nil)
	if err != nil {
		return conformance.Harness{}, "", err
	}
	name := cmp.Or(f.config, first.Kind())
	if err := first.Close(); err != nil {
		return conformance.Harness{}, "", err
	}
	harness, err := f.faults.harness(t)
	return harness, name, err
}

// showProgress draws a bar on a terminal, and nothing elsewhere.
func showProgress(w io.Writer) conformance.Option {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return conformance.Progress(nil)
	}
	var bar *progressbar.ProgressBar
	return conformance.Progress(func(done, total int, r conformance.Result) {
		if bar == nil || done == 1 {
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
