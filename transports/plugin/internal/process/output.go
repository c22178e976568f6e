package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/gobackplane/backplane/transports/plugin/internal/process/logline"
)

const (
	pluginKey = "plugin"

	maxLine  = 8 << 10 // of a line that is logged; the rest of it is counted
	maxTail  = 20      // lines that an error shows
	maxShown = 500     // bytes of each of them

	// A plugin may print as much as it likes and is never made to wait; what is logged of it is bounded.
	lineRate  = 200  // a second
	lineBurst = 1000 // and at once
)

// output takes what a plugin prints, on whichever way: it logs the lines, and keeps the last ones for errors.
type output struct {
	logger *slog.Logger

	mu     sync.Mutex
	tail   []string
	traced bool // the plugin panics: what follows is its trace
	tokens float64
	last   time.Time
	unsaid int // lines that were not logged
}

func newOutput(logger *slog.Logger, name string) *output {
	return &output{logger: logger.With(pluginKey, name), tokens: lineBurst, last: time.Now()}
}

// readAll logs every line of r until it ends.
func (o *output) readAll(r io.Reader) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, cut, err := readLine(in, maxLine)
		if len(line) > 0 || cut > 0 {
			o.line(line, cut)
		}
		if err != nil {
			return // the plugin is gone, or we close
		}
	}
}

// readLine reads one line, of which it keeps at most limit bytes; cut is how many there were more.
func readLine(in *bufio.Reader, limit int) (line []byte, cut int, err error) {
	for {
		part, err := in.ReadSlice('\n')
		room := limit - len(line)
		if len(part) > room {
			cut += len(part) - room
			line = append(line, part[:room]...)
		} else {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if cut > 0 && bytes.HasSuffix(part, []byte{'\n'}) {
			cut--
		}
		return bytes.TrimRight(line, "\r\n"), cut, err
	}
}

// line takes one line.
func (o *output) line(line []byte, cut int) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	r := logline.Parse(line)
	if cut > 0 {
		r.Message += fmt.Sprintf("… (%d bytes more)", cut)
	}
	unsaid, ok := o.keep(&r)
	if !ok {
		return
	}
	ctx := context.Background()
	if unsaid > 0 {
		o.logger.WarnContext(ctx, "plugin prints faster than is logged", "lines_not_logged", unsaid)
	}
	if !o.logger.Enabled(ctx, r.Level) {
		return
	}
	now := time.Now()
	if age := now.Sub(r.Time); age < -time.Minute || age > time.Minute {
		r.Time = now // not told, or nonsense
	}
	entry := slog.NewRecord(r.Time, r.Level, r.Message, 0)
	for _, attr := range r.Attrs {
		attr.Key = ownKey(attr.Key)
		entry.AddAttrs(attr)
	}
	_ = o.logger.Handler().Handle(ctx, entry) // where should its error be told, if not in the log?
}

// ownKey keeps a plugin's field from standing beside one of the log's own with the same name.
func ownKey(key string) string {
	switch key {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey, slog.SourceKey, pluginKey, "":
		return pluginKey + "." + key
	}
	return key
}

// keep remembers the line among the last, and tells whether it may be logged.
func (o *output) keep(r *logline.Record) (unsaid int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.traced:
		r.Level = slog.LevelError
	case logline.IsPanic(r.Message):
		o.traced = true
		o.tail = o.tail[max(0, len(o.tail)-3):] // room for the beginning of the trace: it says more than its end
	}
	if len(o.tail) == maxTail && !o.traced {
		o.tail = append(o.tail[:0], o.tail[1:]...)
	}
	if len(o.tail) < maxTail {
		o.tail = append(o.tail, shorten(r.Message, maxShown))
	}

	now := time.Now()
	o.tokens = min(lineBurst, o.tokens+now.Sub(o.last).Seconds()*lineRate)
	o.last = now
	if o.tokens < 1 {
		o.unsaid++
		return 0, false
	}
	o.tokens--
	unsaid, o.unsaid = o.unsaid, 0
	return unsaid, true
}

// lines are the last that the plugin has printed.
func (o *output) lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.tail...)
}

func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// writer takes what arrives in pieces (go-plugin's stdio stream) and makes lines of it.
func (o *output) writer() *lineWriter { return &lineWriter{output: o} }

type lineWriter struct {
	output *output
	line   []byte
	cut    int
}

// Write takes a piece. It is called by one goroutine.
func (w *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		piece, rest, whole := bytes.Cut(b, []byte{'\n'})
		room := min(maxLine-len(w.line), len(piece))
		w.line = append(w.line, piece[:room]...)
		w.cut += len(piece) - room
		if !whole {
			break
		}
		w.output.line(w.line, w.cut)
		w.line, w.cut = w.line[:0], 0
		b = rest
	}
	return n, nil
}
