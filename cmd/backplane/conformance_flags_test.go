package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance"
)

func TestConformanceRunsEachCaseAlone(t *testing.T) {
	t.Parallel()
	const name = "queue/history/a-task-is-with-one-claimer-at-a-time"

	code, stdout, stderr := invoke(t, "conformance", "--transport", "memory:", "--run", name, "--format", "json", "--repeat", "3", "--parallel", "1")

	require.Zero(t, code, stderr)
	v := decodeVerdict(t, stdout)
	require.Len(t, v.Cases, 1)
	require.Equal(t, name, v.Cases[0].Name)
	require.Equal(t, 3, v.Cases[0].Runs)
	require.Equal(t, "queue: partial", v.Summary)
}

func TestConformanceListsItsCases(t *testing.T) {
	t.Parallel()
	code, stdout, _ := invoke(t, "conformance", "--list", "--run", "cache/history")

	require.Zero(t, code)
	require.Contains(t, stdout, "cache/history/entries-are-linearizable-across-cuts (needs cut)\n    operations on one key")
	require.Contains(t, stdout, "docs/conformance.md#cache-history-counters-are-linearizable\n")
	require.NotContains(t, stdout, "queue/")
}

func TestConformanceIsShuffledAgainByItsSeed(t *testing.T) {
	t.Parallel()
	order := func(args ...string) (names []string, seed, told string) {
		args = append([]string{"conformance", "--transport", "memory:", "--run", "cache/entry", "--format", "json"}, args...)
		code, stdout, stderr := invoke(t, args...)
		require.Zero(t, code, stderr)
		for _, c := range decodeVerdict(t, stdout).Cases {
			names = append(names, c.Name)
		}
		found := regexp.MustCompile(`--shuffle=(\d+) gives the same order`).FindStringSubmatch(stderr)
		if found == nil {
			return names, "", stderr
		}
		return names, found[1], stderr
	}

	plain, _, _ := order()
	drawn, seed, told := order("--shuffle")
	require.NotEmpty(t, seed, told)
	again, same, _ := order("--shuffle=" + seed)

	require.Equal(t, seed, same)
	require.Equal(t, drawn, again)
	require.NotEqual(t, plain, drawn)
	require.ElementsMatch(t, plain, drawn)
}

func TestConformanceSoaks(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := invoke(t, "conformance", "--transport", "memory:", "--run", "cache/condition/if-*", "--soak", "1s", "--format", "json")

	require.Zero(t, code, stdout)
	v := decodeVerdict(t, stdout)
	require.Greater(t, v.Rounds, 1)
	require.NotZero(t, v.Seed)
	require.Contains(t, stderr, "shuffled with seed")
	require.GreaterOrEqual(t, v.MS, int64(1000))
	for _, c := range v.Cases {
		require.GreaterOrEqual(t, c.Runs, v.Rounds-1, "every case is run in every round, but perhaps the last")
		require.Zero(t, c.RunsFailed)
	}
}

func TestConformanceWritesSeveralReports(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	args := []string{"conformance", "--transport", "memory:", "--run", "transport/nodes", "--format", "badge"}
	for _, name := range []string{"r.html", "r.md", "r.xml", "r.json", "r.txt"} {
		args = append(args, "--report", filepath.Join(folder, name))
	}

	code, stdout, stderr := invoke(t, args...)

	require.Zero(t, code, stderr)
	require.Regexp(t, `^\[!\[conformance: transport: partial\]\(https://img\.shields\.io/badge/.+\)\]\(.+#levels\)\n$`, stdout)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		return string(text)
	}
	require.True(t, strings.HasPrefix(read("r.html"), "<!DOCTYPE html>"))
	require.Contains(t, read("r.md"), strings.TrimSpace(stdout))
	require.NoError(t, xml.Unmarshal([]byte(read("r.xml")), new(struct{})))
	require.Equal(t, "transport: partial", decodeVerdict(t, read("r.json")).Summary)
	require.Contains(t, read("r.txt"), "transport: partial")
}

func TestConformanceRefusesFlagsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"leave --faults out": {"--transport", "memory:", "--faults"},
		"give one of them":   {"--transport", "nats://127.0.0.1:1,127.0.0.1:2", "--faults"},
		"belong together":    {"--transport", "memory:", "--pause-command", "true"},
		"must end in":        {"--transport", "memory:", "--report", "x.pdf"},
		"there is no folder": {"--transport", "memory:", "--report", filepath.Join(t.TempDir(), "no", "x.html")},
		"write text, json":   {"--transport", "memory:", "--format", "yaml"},
		"a time such as":     {"--transport", "memory:", "--soak", "-1s"},
	} {
		code, stdout, stderr := invoke(t, append([]string{"conformance", "--run", "transport/nodes"}, args...)...)

		require.Equal(t, exitCannot, code, args)
		require.Empty(t, stdout)
		require.NotEmpty(t, stderr)
		if want != "give one of them" { // the address is tried before
			require.Contains(t, stderr, want)
		}
	}
}

func TestEveryFlagOfConformanceIsInTheDocs(t *testing.T) {
	t.Parallel()
	var flags []string
	for _, match := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(readDoc(t, "conformance-howto.md"), -1) {
		flags = append(flags, match[1])
	}
	code, help, _ := invoke(t, "conformance", "--help")
	require.Zero(t, code)
	var has []string
	for _, match := range regexp.MustCompile(`(?m)^ +(?:-h, )?--([a-z-]+)`).FindAllStringSubmatch(help, -1) {
		if match[1] != "help" {
			has = append(has, match[1])
		}
	}

	require.ElementsMatch(t, has, flags)
	for _, hook := range []conformance.Hook{conformance.Restart, conformance.Partition, conformance.Cut, conformance.Crash, conformance.Pause, conformance.AdvanceClock} {
		require.Contains(t, readDoc(t, "conformance-howto.md"), "| "+string(hook)+" |")
	}
}
