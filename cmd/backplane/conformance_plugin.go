package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/plugin"
)

// startPlugin starts the program that --plugin names. Its nodes share one process, as those that a plugin keeps in memory
// of its own have to.
func (f conformanceFlags) startPlugin(ctx context.Context) (t target, stop func(), err error) {
	stop = func() {}
	if info, err := os.Stat(f.plugin); err == nil && info.IsDir() {
		return t, stop, fmt.Errorf("--plugin %s: that is a folder; build the project in it, and give its program, such as %s",
			f.plugin, filepath.Join(f.plugin, filepath.Base(filepath.Clean(f.plugin))))
	}
	config := plugin.Config{Program: f.plugin}
	if !f.log {
		config.Logger = slog.New(slog.DiscardHandler) // an error has the last lines that the plugin printed
	}
	program, err := plugin.Start(ctx, config)
	if err != nil {
		return t, stop, fmt.Errorf("--plugin %s: %w", f.plugin, err)
	}
	t = lone(transports.Settings{URL: f.transport})
	t.through = func(ctx context.Context, s transports.Settings) (transports.Transport, error) {
		return program.Open(ctx, s)
	}
	return t, func() { _ = program.Stop() }, nil // the report has been written, or something worse happened
}

// again is the command for one case of the same target.
func (f conformanceFlags) again() string {
	words := []string{"backplane conformance"}
	for _, flag := range []struct{ name, value string }{{"plugin", f.plugin}, {"transport", transports.Redact(f.transport)}, {"config", f.config}} {
		if flag.value != "" {
			words = append(words, "--"+flag.name, shellWord(flag.value))
		}
	}
	return strings.Join(append(words, "--run %s"), " ")
}

// shellWord is a word as a shell takes it.
func shellWord(word string) string {
	if strings.ContainsAny(word, " ?&*'\"$;()<>|\\`") {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}
