package main

import (
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/backplane"
	"github.com/gobackplane/backplane/internal/testserver"
	"github.com/gobackplane/backplane/transports"
)

var update = flag.Bool("update", false, "write the tables of limits into docs/transports")

const docs = "../../docs/"

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(docs + name)
	require.NoError(t, err)
	return string(text)
}

// section is what stands below a heading, up to the next one of its rank.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(doc, "\n## "+heading+"\n")
	require.True(t, found, heading)
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// firstColumn are the names in the first column of a section's table.
func firstColumn(text string) []string {
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(text, -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			names = append(names, name[1])
		}
	}
	slices.Sort(names)
	return names
}

func TestDocsNameEveryOptionAndNoOther(t *testing.T) {
	t.Parallel()
	for kind, url := range map[string]string{
		"redis": "redis://h?no-such-option=1", "nats": "nats://h?no-such-option=1", "nats-embedded": "nats-embedded:?no-such-option=1",
	} {
		_, err := transports.OpenURL(t.Context(), url, transports.Settings{Namespace: "n"})
		_, known, found := strings.Cut(err.Error(), "there are: ")
		require.True(t, found, err)

		require.Equal(t, strings.Split(known, ", "), firstColumn(section(t, readDoc(t, "config.md"), "Options of "+kind)), kind)
	}
}

func TestDocsNameEveryKeyOfTheConfigAndNoOther(t *testing.T) {
	t.Parallel()
	named := firstColumn(section(t, readDoc(t, "config.md"), "Keys"))

	require.Equal(t, slices.Sorted(maps.Keys(keysOf(reflect.TypeFor[backplane.Config](), ""))), named)
}

// keysOf are the keys that a struct has in YAML, as paths.
func keysOf(of reflect.Type, path string) map[string]bool {
	keys := map[string]bool{}
	for i := range of.NumField() {
		field := of.Field(i)
		tag := field.Tag.Get("yaml")
		if tag == "" || tag == "-" {
			continue
		}
		at := path + tag
		switch {
		case tag == ",inline":
			keys[path+"…"] = true
		case field.Type.Kind() == reflect.Struct:
			maps.Copy(keys, keysOf(field.Type, at+"."))
		case field.Type.Kind() == reflect.Map && field.Type.Elem().Kind() == reflect.Struct:
			keys[at] = true
			maps.Copy(keys, keysOf(field.Type.Elem(), at+".NAME."))
		default:
			keys[at] = true
		}
	}
	return keys
}

func TestConfigOfTheDocsLoads(t *testing.T) {
	t.Setenv("SHOP_KEY", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	t.Setenv("REDIS_PASSWORD", "p")
	_, rest, _ := strings.Cut(readDoc(t, "config.md"), "```yaml\n")
	config, _, _ := strings.Cut(rest, "```")

	c, err := backplane.Parse("config.md", []byte(config))

	require.NoError(t, err)
	require.Equal(t, "redis://app:p@10.0.0.5:6379/0", c.Transports["store"].URL)
}

func TestDocsOfTransportsHaveTheirLimits(t *testing.T) {
	targets(t, func(t *testing.T, address string) {
		transport, err := transports.OpenURL(t.Context(), address, transports.Settings{Namespace: testserver.Namespace(t)})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, transport.Close()) })
		name := "transports/" + transport.Kind() + ".md"
		doc := readDoc(t, name)
		want := limitsTable(transport)
		if *update {
			written := strings.Replace(doc, "\n## Limits\n"+section(t, doc, "Limits"), "\n## Limits\n"+replaceTable(section(t, doc, "Limits"), want), 1)
			require.NoError(t, os.WriteFile(docs+name, []byte(written), 0o666))
			return
		}

		require.Contains(t, section(t, doc, "Limits"), want, "go test ./cmd/backplane -run TestDocs -update writes it")
	})
}

func replaceTable(text, table string) string {
	return regexp.MustCompile(`(?m)(LIMITS\n|(^\|.*\n)+)`).ReplaceAllLiteralString(text, table)
}

// limitsTable are a transport's parameters in a table.
func limitsTable(t transports.Transport) string {
	c, q, p := t.Cache().Capabilities, t.Queue().Capabilities, t.PubSub().Capabilities
	rows := []struct {
		what  string
		value any
	}{
		{"longest key, lock or list name", inBytes(c.MaxKey)},
		{"largest cache value", inBytes(c.MaxValue)},
		{"elements of one cache call", c.MaxBatch},
		{"shortest lifetime; rounded up to", fmt.Sprintf("%v; %v", c.MinTTL, c.Granularity)},
		{"an entry may be seen after its end for", c.ExpiryDelay},
		{"a lock's last fence is remembered for", c.FenceMemory},
		{"largest task, with headers", inBytes(q.MaxPayload)},
		{"tasks of one call; of one claim", fmt.Sprintf("%d; %d", q.MaxBatch, q.MaxClaim)},
		{"longest queue name, task ID or unique key", inBytes(q.MaxName)},
		{"shortest lease; rounded up to", fmt.Sprintf("%v; %v", q.MinLease, q.Granularity)},
		{"a due task may be seen late by", q.Lateness},
		{"a task ID that the caller chose is remembered for", q.IDMemory},
		{"priorities", fmt.Sprintf("0 to %d", q.MaxPriority)},
		{"largest message, with headers", inBytes(p.MaxPayload)},
		{"longest subject", inBytes(p.MaxSubject)},
		{"messages of one publish", p.MaxBatch},
		{"a dead link can go unnoticed for", p.Silence},
	}
	var b strings.Builder
	b.WriteString("| limit | value |\n|---|---|\n")
	for _, row := range rows {
		value := row.value
		switch d, isDuration := value.(time.Duration); {
		case isDuration && d == 0:
			value = "–"
		case isDuration && d >= time.Minute:
			value = strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
		}
		fmt.Fprintf(&b, "| %s | %v |\n", row.what, value)
	}
	return b.String()
}

func inBytes(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
