// Command abilities writes the README's table of transports and abilities, from a conformance run of each and from what
// each declares. It starts its own Redis, and a NATS server inside.
//
//	go run ./cmd/backplane/internal/abilities README.md
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/nats/embedded"

	_ "github.com/gobackplane/backplane/transports/memory"
	_ "github.com/gobackplane/backplane/transports/redis"
)

const (
	begin = "<!-- abilities: written by go generate -->\n"
	end   = "<!-- /abilities -->\n"
)

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "abilities:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string) error {
	redis, err := servers.StartRedis(ctx, servers.RedisOptions{})
	if err != nil {
		return err
	}
	defer redis.Stop()
	nats, stop, err := startNATS(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var columns []column
	for _, url := range []string{"memory:", redis.URL(), nats} {
		c, err := measure(ctx, url)
		if err != nil {
			return err
		}
		columns = append(columns, c)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table: it stands between %q and %q", file, begin, end)
	}
	return os.WriteFile(file, bytes.Join([][]byte{before, []byte(begin), table(columns), []byte(end), after}, nil), 0o644)
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

// column is what is known of one transport.
type column struct {
	name                    string
	report                  conformance.Report
	caps                    transports.Capabilities
	lists, watcher, holders bool
}

func measure(ctx context.Context, url string) (column, error) {
	node, err := transports.OpenURL(ctx, url, transports.Settings{Namespace: "abilities"})
	if err != nil {
		return column{}, err
	}
	c := column{name: node.Kind(), caps: transports.CapabilitiesOf(node)}
	if b := node.Cache(); b != nil {
		c.lists, c.watcher, c.holders = b.Lists != nil, b.Watcher != nil, b.Holders != nil
	}
	if err := node.Close(); err != nil {
		return column{}, err
	}
	c.report = conformance.Run(ctx, conformance.Of(transports.Settings{URL: url}), conformance.Parallel(8))
	if !c.report.OK() {
		return column{}, fmt.Errorf("%s does not conform: run backplane conformance", c.name)
	}
	return c, nil
}

func table(columns []column) []byte {
	var b bytes.Buffer
	row := func(name string, cell func(column) string) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", cell(c))
		}
		b.WriteByte('\n')
	}
	row("", func(c column) string { return c.name })
	fmt.Fprintf(&b, "|---|%s\n", strings.Repeat("---|", len(columns)))
	for _, concern := range []string{"transport", "cache", "lock", "queue", "pubsub", "rpc"} {
		row("conformance: "+concern, func(c column) string { return kept(c.report, concern) })
	}
	row("cache: watch", func(c column) string { return yes(c.watcher) })
	row("cache: lists", func(c column) string { return yes(c.lists) })
	row("cache: who holds which lock", func(c column) string { return yes(c.holders) })
	parameters(row, "cache", func(c column) any { return c.caps.Cache })
	parameters(row, "queue", func(c column) any { return c.caps.Queue })
	parameters(row, "pubsub", func(c column) any { return c.caps.PubSub })
	parameters(row, "rpc", func(c column) any { return c.caps.RPC })
	return b.Bytes()
}

// kept reads like "56 kept, 1 refused as it should be".
func kept(r conformance.Report, concern string) string {
	pass, refused, faults := 0, 0, 0
	for _, result := range r.Results {
		if result.Case.Concern() != concern {
			continue
		}
		switch result.Outcome {
		case conformance.Pass:
			pass++
		case conformance.Refused:
			refused++
		case conformance.NotExercised:
			faults++
		}
	}
	text := fmt.Sprintf("%d kept", pass)
	if refused > 0 {
		text += fmt.Sprintf(", %d refused", refused)
	}
	if faults > 0 {
		text += fmt.Sprintf(" (+%d with faults, in its own tests)", faults)
	}
	return text
}

// parameters writes a row for each field of a concern's Capabilities.
func parameters(row func(string, func(column) string), concern string, of func(column) any) {
	t := reflect.TypeOf(of(column{})).Elem()
	for i := range t.NumField() {
		row(concern+": "+words(t.Field(i).Name), func(c column) string {
			v := reflect.ValueOf(of(c))
			if v.IsNil() {
				return "not offered"
			}
			return value(t.Field(i).Name, v.Elem().Field(i).Interface())
		})
	}
}

// words makes "max payload" of MaxPayload.
func words(name string) string {
	var b strings.Builder
	for i, c := range name {
		upper := c >= 'A' && c <= 'Z'
		nextLower := i+1 < len(name) && name[i+1] >= 'a' && name[i+1] <= 'z'
		if upper && i > 0 && (nextLower || name[i-1] >= 'a' && name[i-1] <= 'z') {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return strings.ToLower(b.String())
}

func value(name string, v any) string {
	switch v := v.(type) {
	case bool:
		return yes(v)
	case time.Duration:
		if v == 0 {
			return "–"
		}
		return strings.TrimSuffix(strings.TrimSuffix(v.String(), "0s"), "0m")
	case int:
		sized := strings.Contains(name, "Payload") || strings.Contains(name, "Value") || strings.Contains(name, "Frame")
		switch {
		case sized && v >= 1<<20 && v%(1<<20) == 0:
			return fmt.Sprintf("%d MiB", v>>20)
		case sized && v >= 1<<10:
			return fmt.Sprintf("%d KiB", v>>10)
		}
		return fmt.Sprint(v)
	}
	return fmt.Sprint(v)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
