package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/gobackplane/backplane/fault"
)

// journal takes what the server logs. Its notices are details to a program that has the server inside.
type journal struct {
	log *slog.Logger

	mu   sync.Mutex
	last error // the last fatal one
}

func (j *journal) write(level slog.Level, format string, v []any) {
	if ctx := context.Background(); j.log.Enabled(ctx, level) {
		j.log.Log(ctx, level, "nats-server: "+fmt.Sprintf(format, v...))
	}
}

// Noticef logs at level debug.
func (j *journal) Noticef(format string, v ...any) { j.write(slog.LevelDebug, format, v) }

// Warnf logs a warning.
func (j *journal) Warnf(format string, v ...any) { j.write(slog.LevelWarn, format, v) }

// Errorf logs an error.
func (j *journal) Errorf(format string, v ...any) { j.write(slog.LevelError, format, v) }

// Fatalf logs an error, and keeps it: the server goes on, but not as it should.
func (j *journal) Fatalf(format string, v ...any) {
	j.write(slog.LevelError, format, v)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last = fault.New(fault.Unavailable, "the server could not start: "+format, v...)
}

// Debugf is for those who work on the server.
func (j *journal) Debugf(string, ...any) {}

// Tracef is for those who work on the server.
func (j *journal) Tracef(string, ...any) {}

func (j *journal) fatal() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}
