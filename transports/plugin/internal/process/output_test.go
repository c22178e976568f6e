package process_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/transports/plugin/internal/process"
	"github.com/gobackplane/backplane/transports/plugin/internal/process/logline"
)

// printing has a plugin obey one order, and gives what was logged.
func printing(t *testing.T, order string) *log {
	t.Helper()
	seen := newLog()
	c := config(t, "good")
	c.Logger = slogOf(seen)
	p := start(t, c)
	_, err := tell(within(t), p, order)
	require.NoError(t, err)
	return seen
}

func TestWhatAPluginLogsIsInTheHostsLog(t *testing.T) {
	e := printing(t, "log").find(t, "told by slog")

	require.Equal(t, slog.LevelWarn, e.level)
	require.Equal(t, map[string]any{
		"plugin": filepath.Base(os.Args[0]), "answer": int64(42), "plugin.level": "odd", "list": "[1,2]",
	}, e.attrs)
}

func TestWhatAPluginPrintsIsInTheHostsLog(t *testing.T) {
	seen := printing(t, "print [WARN] watch out")

	seen.find(t, "watch out")
	require.Equal(t, slog.LevelWarn, seen.find(t, "watch out").level)
	eventually(t, "both lines", func() bool { return len(seen.with("watch out")) == 2 })
}

func TestLastWordsAreNotLost(t *testing.T) {
	p := start(t, config(t, "good"))

	_, err := tell(within(t), p, "print-and-exit I cannot go on")

	require.Error(t, err)
	require.ErrorContains(t, ended(t, p), "I cannot go on")
}

func TestOddLinesHarmNobody(t *testing.T) {
	for _, line := range []string{
		`{"@message": 1, "@level": ["x"], "@timestamp": {}}`, // each of these stops a host that uses go-plugin's reader
		`{"@message": "a message", "@level": 5, "@timestamp": true, "@module": null}`,
		`{"msg": {"nested": "message"}, "level": "WARN"}`,
		`{"a": ` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`,
		`{"unfinished": `,
		"\x00\x1b[31m \xff\xfe",
	} {
		seen := printing(t, "stderr "+strconv.Quote(line))
		eventually(t, "a log line", func() bool { return len(seen.all()) > 0 })
	}
}

func TestLevelOfJSONWithoutAMessageIsKept(t *testing.T) {
	e := printing(t, "stderr "+strconv.Quote(`{"msg": 3, "level": "ERROR"}`)).find(t, `{"msg": 3, "level": "ERROR"}`)

	require.Equal(t, slog.LevelError, e.level)
}

func TestPluginThatFloodsItsLogIsNeitherHeldUpNorLoggedInFull(t *testing.T) {
	const lines = 50_000
	ctx := within(t)
	seen := newLog()
	c := config(t, "good")
	c.Logger = slogOf(seen)
	p := start(t, c)

	_, err := tell(ctx, p, "flood 50000")

	require.NoError(t, err, "all of it was read")
	require.NoError(t, p.Ping(ctx))
	logged := len(seen.with("flood"))
	require.GreaterOrEqual(t, logged, 500)
	require.Less(t, logged, lines/2)
	p.Kill(nil)
	require.ErrorContains(t, ended(t, p), "the end of the flood", "the last lines are known all the same")
}

func TestLongLinesAreCut(t *testing.T) {
	e := printing(t, "stderr "+strconv.Quote(strings.Repeat("x", 100_000))).find(t, "xxx")

	require.Less(t, len(e.message), 10_000)
	require.Contains(t, e.message, "… (91808 bytes more)")
}

func TestTraceOfAPanicIsLoggedAsErrors(t *testing.T) {
	seen := newLog()
	c := config(t, "good")
	c.Logger = slogOf(seen)
	p := start(t, c)

	_, err := tell(within(t), p, "panic")

	require.Error(t, err)
	_ = ended(t, p)
	require.Equal(t, slog.LevelError, seen.find(t, "panic: the plugin is broken").level)
	require.Equal(t, slog.LevelError, seen.find(t, "goroutine ").level)
}

func TestLevelsOfTheLowestAreKept(t *testing.T) {
	require.Equal(t, logline.LevelTrace, printing(t, "stderr "+strconv.Quote("[TRACE] every byte")).find(t, "every byte").level)
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\nthree"), 1)
	f.Add([]byte(strings.Repeat("x", 20_000)+"\n"+strings.Repeat("\n", 100)+"[WARN] y"), 1000)
	f.Add([]byte("panic: x\n\ngoroutine 1 [running]:\n"+strings.Repeat("main.go:1\n", 50)), 7)
	f.Add([]byte("\r\r\n\xff\n{\"@message\":1}\n"), 3)
	f.Fuzz(func(t *testing.T, printed []byte, piece int) {
		if piece < 1 {
			return
		}
		read, sent := process.LastLines(printed, piece)

		if !slices.Equal(read, sent) {
			t.Errorf("lines differ by the way they come:\n%q\n%q", read, sent)
		}
		if len(read) > 20 {
			t.Errorf("%d lines", len(read))
		}
		for _, line := range read {
			if len(line) > 600 || !utf8.ValidString(line) {
				t.Errorf("a bad line: %q", line)
			}
		}
	})
}
