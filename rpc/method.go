package rpc

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// method is a registered method with its bound and its statistics.
type method struct {
	name    string
	handler Handler
	limit   int64

	inFlight  atomic.Int64
	requests  atomic.Uint64
	errors    atomic.Uint64
	exhausted atomic.Uint64
	expired   atomic.Uint64
	nanos     atomic.Int64
	lastError atomic.Pointer[string]
}

// enter takes one of the places; leave gives it back.
func (m *method) enter() bool {
	if m.inFlight.Add(1) > m.limit {
		m.inFlight.Add(-1)
		m.exhausted.Add(1)
		return false
	}
	return true
}

func (m *method) leave() { m.inFlight.Add(-1) }

// inTime drops a request whose time ran out while it waited, in middleware for example.
func (m *method) inTime(handler Handler) Handler {
	return func(ctx context.Context, in *Incoming) ([]byte, error) {
		if err := fault.FromContext(ctx); err != nil {
			m.expired.Add(1)
			return nil, err
		}
		return handler(ctx, in)
	}
}

func (m *method) note(err error, took time.Duration) {
	m.requests.Add(1)
	m.nanos.Add(int64(took))
	if err != nil {
		m.errors.Add(1)
		text := cut(err.Error(), 500)
		m.lastError.Store(&text)
	}
}

func (m *method) stats() MethodStats {
	s := MethodStats{
		Method:      m.name,
		Requests:    m.requests.Load(),
		Errors:      m.errors.Load(),
		InFlight:    m.inFlight.Load(),
		Concurrency: m.limit,
		Exhausted:   m.exhausted.Load(),
		Expired:     m.expired.Load(),
		TotalTime:   time.Duration(m.nanos.Load()),
	}
	if text := m.lastError.Load(); text != nil {
		s.LastError = *text
	}
	return s
}

// announced lists the methods that other nodes are told of: all but the built-in one, which every node has.
func announced(methods map[string]*method) []string {
	names := slices.Sorted(maps.Keys(methods))
	return slices.DeleteFunc(names, func(name string) bool { return name == statsMethod })
}

// checkMethod reports why a name cannot be a method. Names that begin with "$" are the package's own.
func checkMethod(name string, builtin bool) error {
	switch {
	case name == "":
		return fault.New(fault.Invalid, "the method has no name")
	case len(name) > maxMethod:
		return fault.New(fault.Invalid, "the method's name has %d bytes, %d are allowed", len(name), maxMethod)
	case name[0] == '$' && !builtin:
		return fault.New(fault.Invalid, `names that begin with "$" are built in`)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == 0x7f {
			return fault.New(fault.Invalid, "byte %q is not allowed in a method's name", c)
		}
	}
	return nil
}
