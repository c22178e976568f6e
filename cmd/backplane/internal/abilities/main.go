// Command abilities writes the README's table of transports and abilities, from a conformance run of each and from what
// each declares. It starts its own servers, and takes some minutes.
//
//	go run ./cmd/backplane/internal/abilities README.md
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/gobackplane/backplane/conformance"
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
	columns, err := measureAll(ctx)
	if err != nil {
		return err
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
		row("conformance: "+concern, func(c column) string { return c.results[concern].String() })
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

// String is like "56 kept, 1 refused".
func (c counts) String() string {
	text := fmt.Sprintf("%d kept", c[conformance.Pass])
	if n := c[conformance.Refused]; n > 0 {
		text += fmt.Sprintf(", %d refused", n)
	}
	if n := c[conformance.NotExercised]; n > 0 {
		text += fmt.Sprintf(" (+%d)", n)
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
