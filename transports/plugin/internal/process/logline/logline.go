// Package logline reads the lines that a program in any language prints to its standard error: JSON of the usual loggers
// (slog, hclog, pino, logrus), text that begins with its level in brackets, and anything else as it is.
package logline

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// LevelTrace is below slog's lowest, as hclog's is.
const LevelTrace = slog.LevelDebug - 4

// Record is one line, as far as it is understood.
type Record struct {
	Level   slog.Level // Info where the line does not tell
	Time    time.Time  // zero where it does not tell
	Message string
	Attrs   []slog.Attr // in the line's order
}

// The keys under which the loggers of several languages keep what every line has: slog, hclog, pino and bunyan, logrus.
var (
	messageKeys = []string{"@message", "msg", "message"}
	levelKeys   = []string{"@level", "level", "severity"}
	timeKeys    = []string{"@timestamp", "time", "timestamp", "ts"}
)

// Parse reads one line. Whatever is odd about it stays in the record as it is, and nothing makes this fail or panic: the
// line comes from a program that may be broken, and that is when it matters most. Its cost is bounded by its length.
func Parse(line []byte) Record {
	text := strings.ToValidUTF8(strings.TrimSpace(string(line)), "\uFFFD")
	if strings.HasPrefix(text, "{") {
		if r, ok := parseJSON(text); ok {
			return r
		}
	}
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if tag, rest, ok := strings.Cut(rest, "]"); ok {
			if level, ok := levelOf(tag); ok {
				return Record{Level: level, Message: strings.TrimSpace(rest)}
			}
		}
	}
	if IsPanic(text) {
		return Record{Level: slog.LevelError, Message: text}
	}
	return Record{Message: text}
}

// IsPanic tells whether a Go program that prints this is ending, with a trace to follow.
func IsPanic(message string) bool {
	return strings.HasPrefix(message, "panic: ") || strings.HasPrefix(message, "fatal error: ")
}

// field is one of a JSON object's.
type field struct {
	key   string
	value any
}

// parseJSON reads an object. One without a message is another kind of JSON, of which a reader wants to see all.
func parseJSON(text string) (Record, bool) {
	fields, ok := object(text)
	if !ok {
		return Record{}, false
	}
	r := Record{Message: text}
	fields, _ = take(fields, levelKeys, func(value any) (ok bool) { r.Level, ok = levelOf(value); return ok })
	fields, _ = take(fields, timeKeys, func(value any) (ok bool) { r.Time, ok = timeOf(value); return ok })
	fields, ok = take(fields, messageKeys, func(value any) (ok bool) { r.Message, ok = value.(string); return ok })
	if !ok {
		r.Message = text
		return r, true
	}
	for _, f := range fields {
		r.Attrs = append(r.Attrs, slog.Any(f.key, plain(f.value)))
	}
	return r, true
}

// object reads the fields in their order, also those whose name comes twice: slog writes its own level first, and does
// not mind one of the program's.
func object(text string) ([]field, bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // a long ID stays what it is
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, false
	}
	var fields []field
	for decoder.More() {
		key, err := decoder.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return nil, false
		}
		f := field{key: name}
		if err := decoder.Decode(&f.value); err != nil {
			return nil, false
		}
		fields = append(fields, f)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, false
	}
	return fields, strings.TrimSpace(text[decoder.InputOffset():]) == ""
}

// take removes the first field of such a name which is what it should be.
func take(fields []field, keys []string, accept func(any) bool) ([]field, bool) {
	for _, key := range keys {
		for i, f := range fields {
			if f.key == key && accept(f.value) {
				return slices.Delete(fields, i, i+1), true
			}
		}
	}
	return fields, false
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

// levelOf knows the names of levels, slog's "INFO+2", and the numbers of pino and bunyan (10 trace … 60 fatal).
func levelOf(value any) (slog.Level, bool) {
	switch v := value.(type) {
	case string:
		if level, ok := names[strings.ToUpper(strings.TrimSpace(v))]; ok {
			return level, true
		}
		var level slog.Level
		err := level.UnmarshalText([]byte(v))
		return level, err == nil
	case json.Number:
		n, err := v.Int64()
		if err != nil || n < 10 || n > 60 {
			return 0, false
		}
		return slog.Level((n - 30) * 4 / 10), true // 30 is info
	}
	return 0, false
}

var names = map[string]slog.Level{
	"TRACE": LevelTrace, "DEBUG": slog.LevelDebug,
	"INFO": slog.LevelInfo, "NOTICE": slog.LevelInfo,
	"WARN": slog.LevelWarn, "WARNING": slog.LevelWarn,
	"ERROR": slog.LevelError, "ERR": slog.LevelError,
	"FATAL": slog.LevelError, "PANIC": slog.LevelError, "CRITICAL": slog.LevelError,
}

// timeOf knows RFC 3339 and its kin, and milliseconds since 1970 as JavaScript counts them.
func timeOf(value any) (time.Time, bool) {
	switch v := value.(type) {
	case string:
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700"} {
			if t, err := time.Parse(layout, v); err == nil {
				return t, true
			}
		}
	case json.Number:
		const first, last = 1e11, 1e14 // 1973 to 5138: neither seconds nor nanoseconds
		if ms, err := v.Int64(); err == nil && ms > first && ms < last {
			return time.UnixMilli(ms), true
		}
	}
	return time.Time{}, false
}
