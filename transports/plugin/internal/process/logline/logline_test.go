package logline_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/transports/plugin/internal/process/logline"
)

func TestLinesOfManyLoggers(t *testing.T) {
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		line string
		want logline.Record
	}{
		"text":         {"hello", logline.Record{Message: "hello"}},
		"spaces":       {"  hello \t", logline.Record{Message: "hello"}},
		"a level":      {"[WARN]  careful", logline.Record{Level: slog.LevelWarn, Message: "careful"}},
		"lower case":   {"[error] oh", logline.Record{Level: slog.LevelError, Message: "oh"}},
		"trace":        {"[TRACE] x", logline.Record{Level: logline.LevelTrace, Message: "x"}},
		"other tags":   {"[main] x", logline.Record{Message: "[main] x"}},
		"open bracket": {"[WARN", logline.Record{Message: "[WARN"}},
		"a panic":      {"panic: x", logline.Record{Level: slog.LevelError, Message: "panic: x"}},
		"a fatal one":  {"fatal error: all goroutines are asleep", logline.Record{Level: slog.LevelError, Message: "fatal error: all goroutines are asleep"}},
		"no UTF-8":     {"a\xffb", logline.Record{Message: "a\uFFFDb"}},
		"slog": {`{"time":"2026-11-26T12:00:00Z","level":"DEBUG","msg":"m","n":1,"f":1.5,"s":"x","b":true,"g":{"a":[1]}}`, logline.Record{
			Level: slog.LevelDebug, Time: noon, Message: "m",
			Attrs: []slog.Attr{slog.Any("n", int64(1)), slog.Any("f", "1.5"), slog.Any("s", "x"), slog.Any("b", true), slog.Any("g", `{"a":[1]}`)},
		}},
		"slog's own levels": {`{"level":"INFO+2","msg":"m"}`, logline.Record{Level: slog.LevelInfo + 2, Message: "m"}},
		"hclog": {`{"@level":"trace","@message":"m","@timestamp":"2026-11-26T12:00:00.000000Z","@module":"x"}`, logline.Record{
			Level: logline.LevelTrace, Time: noon, Message: "m", Attrs: []slog.Attr{slog.Any("@module", "x")},
		}},
		"pino": {`{"level":40,"time":1795694400000,"pid":7,"msg":"m"}`, logline.Record{
			Level: slog.LevelWarn, Time: noon, Message: "m", Attrs: []slog.Attr{slog.Any("pid", int64(7))},
		}},
		"python":              {`{"severity":"CRITICAL","message":"m"}`, logline.Record{Level: slog.LevelError, Message: "m"}},
		"long numbers":        {`{"msg":"m","id":12345678901234567890}`, logline.Record{Message: "m", Attrs: []slog.Attr{slog.Any("id", "12345678901234567890")}}},
		"null":                {`{"msg":"m","x":null}`, logline.Record{Message: "m", Attrs: []slog.Attr{slog.Any("x", nil)}}},
		"no message":          {`{"level":"WARN","x":1}`, logline.Record{Level: slog.LevelWarn, Message: `{"level":"WARN","x":1}`}},
		"a message of a kind": {`{"msg":7}`, logline.Record{Message: `{"msg":7}`}},
		"odd kinds": {`{"@message":"m","@level":[1],"@timestamp":{}}`, logline.Record{
			Message: "m", Attrs: []slog.Attr{slog.Any("@level", "[1]"), slog.Any("@timestamp", "{}")},
		}},
		"a level out of range": {`{"msg":"m","level":1e99}`, logline.Record{Message: "m", Attrs: []slog.Attr{slog.Any("level", "1e99")}}},
		"twice": {`{"level":"WARN","msg":"m","level":"x","msg":2}`, logline.Record{
			Level: slog.LevelWarn, Message: "m", Attrs: []slog.Attr{slog.Any("level", "x"), slog.Any("msg", int64(2))},
		}},
		"two objects": {`{"msg":"m"}{"msg":"n"}`, logline.Record{Message: `{"msg":"m"}{"msg":"n"}`}},
		"cut":         {`{"msg":"m"`, logline.Record{Message: `{"msg":"m"`}},
		"an array":    {`[1]`, logline.Record{Message: `[1]`}},
		"nothing":     {``, logline.Record{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := logline.Parse([]byte(c.line))

			require.True(t, c.want.Time.Equal(got.Time), "%v", got.Time)
			got.Time, c.want.Time = time.Time{}, time.Time{}
			require.Equal(t, c.want, got)
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "hello", "[WARN] x", "panic: x", `{"@message":1,"@level":[],"@timestamp":{}}`, `{"msg":"m","level":30,"time":1e400}`,
		`{"msg":"m","x":{"y":[null,1.5,"z"]}}`, "{", "\xff", `{"level":"INFO+99999999999999999999"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r := logline.Parse(line)

		if len(r.Message) > 3*len(line) { // each odd byte becomes three
			t.Errorf("the message is longer than its line: %d from %d", len(r.Message), len(line))
		}
		handler := slog.DiscardHandler
		record := slog.NewRecord(r.Time, r.Level, r.Message, 0)
		record.AddAttrs(r.Attrs...)
		_ = handler.Handle(t.Context(), record)
		_ = slog.NewJSONHandler(discard{}, &slog.HandlerOptions{Level: slog.Level(-1 << 31)}).Handle(t.Context(), record)
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
