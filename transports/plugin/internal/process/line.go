package process

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// levelTrace is below slog's lowest, as hclog's is.
const levelTrace = slog.LevelDebug - 4

// record is one line of a plugin's output, as far as it is understood.
type record struct {
	level   slog.Level
	time    time.Time // zero: not told
	message string
	attrs   []slog.Attr
}

// The keys under which the loggers of several languages keep what every line has: slog, hclog, pino and bunyan, logrus.
var (
	messageKeys = []string{"@message", "msg", "message"}
	levelKeys   = []string{"@level", "level", "severity"}
	timeKeys    = []string{"@timestamp", "time", "timestamp", "ts"}
)

// parseLine reads a line that a plugin has printed: JSON of the usual loggers, or text that may begin with its level in
// brackets. Whatever is odd about it stays in the record as it is, and nothing makes this fail: the line comes from a
// program that may be broken, and that is when it matters most.
func parseLine(line []byte) record {
	text := strings.ToValidUTF8(strings.TrimSpace(string(line)), "\uFFFD")
	if strings.HasPrefix(text, "{") {
		if r, ok := parseJSON(text); ok {
			return r
		}
	}
	r := record{level: slog.LevelInfo, message: text}
	if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
		r.level = slog.LevelError
		return r
	}
	if strings.HasPrefix(text, "[") {
		if tag, rest, ok := strings.Cut(text[1:], "]"); ok {
			if level, ok := parseLevel(tag); ok {
				r.level, r.message = level, strings.TrimSpace(rest)
			}
		}
	}
	return r
}

func parseJSON(text string) (record, bool) {
	var fields map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // a long ID stays what it is
	if err := decoder.Decode(&fields); err != nil {
		return record{}, false
	}
	if rest := text[decoder.InputOffset():]; strings.TrimSpace(rest) != "" {
		return record{}, false
	}
	r := record{level: slog.LevelInfo}
	for _, key := range messageKeys {
		if message, ok := fields[key].(string); ok {
			r.message = message
			delete(fields, key)
			break
		}
	}
	if r.message == "" {
		r.message = text // JSON of another kind: a reader wants to see it as it was
		fields = map[string]any{levelKeys[1]: fields[levelKeys[1]], levelKeys[0]: fields[levelKeys[0]]}
	}
	for _, key := range levelKeys {
		if level, ok := parseLevel(fields[key]); ok {
			r.level = level
			delete(fields, key)
			break
		}
	}
	for _, key := range timeKeys {
		if stamp, ok := fields[key].(string); ok {
			if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
				r.time = t
				delete(fields, key)
				break
			}
		}
	}
	if r.message == text {
		return r, true
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		r.attrs = append(r.attrs, slog.Any(ownKey(key), plain(fields[key])))
	}
	return r, true
}

// ownKey keeps a plugin's field from standing beside one of the log's own with the same name.
func ownKey(key string) string {
	switch key {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey, slog.SourceKey, pluginKey, "":
		return "plugin." + key
	}
	return key
}

// plain is a JSON value as every log handler can print it: objects and arrays stay JSON.
func plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		return v.String()
	case map[string]any, []any:
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			return "unprintable"
		}
		return strings.TrimSpace(b.String())
	}
	return value
}

// parseLevel knows the names of levels, slog's "INFO+2", and the numbers of pino and bunyan (10 trace … 60 fatal).
func parseLevel(value any) (slog.Level, bool) {
	switch v := value.(type) {
	case string:
		switch strings.ToUpper(strings.TrimSpace(v)) {
		case "TRACE":
			return levelTrace, true
		case "DEBUG":
			return slog.LevelDebug, true
		case "INFO", "NOTICE":
			return slog.LevelInfo, true
		case "WARN", "WARNING":
			return slog.LevelWarn, true
		case "ERROR", "ERR", "FATAL", "PANIC", "CRITICAL":
			return slog.LevelError, true
		}
		var level slog.Level
		if err := level.UnmarshalText([]byte(v)); err == nil {
			return level, true
		}
	case json.Number:
		n, err := v.Int64()
		if err != nil || n < 10 || n > 60 {
			return 0, false
		}
		return slog.Level((n - 30) * 4 / 10), true // 30 is info
	}
	return 0, false
}
