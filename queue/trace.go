package queue

import (
	"context"
	"strings"
)

// Propagator carries the trace of a caller to the handler of its task, in the task's headers. [TraceContext] is the one
// used when none is named; that of OpenTelemetry fits in six lines:
//
//	type otelPropagator struct{ propagation.TextMapPropagator }
//	func (p otelPropagator) Inject(ctx context.Context, h map[string]string) {
//		p.TextMapPropagator.Inject(ctx, propagation.MapCarrier(h))
//	}
//	func (p otelPropagator) Extract(ctx context.Context, h map[string]string) context.Context {
//		return p.TextMapPropagator.Extract(ctx, propagation.MapCarrier(h))
//	}
type Propagator interface {
	// Inject writes the trace that ctx carries into headers.
	Inject(ctx context.Context, headers map[string]string)
	// Extract is ctx with the trace that headers carry, or ctx itself.
	Extract(ctx context.Context, headers map[string]string) context.Context
}

// Trace is a W3C trace context: https://www.w3.org/TR/trace-context/
type Trace struct {
	Parent string // "00-<trace ID>-<span ID>-<flags>"; empty: no trace
	State  string // of the tracing systems involved; may be empty
}

type traceKey struct{}

// WithTrace is ctx carrying a trace: tasks enqueued with it, and their handlers, belong to it.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceOf is the trace that ctx carries; the zero Trace if none.
func TraceOf(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

// The headers of a W3C trace context.
const (
	traceParentHeader = "traceparent"
	traceStateHeader  = "tracestate"
)

// TraceContext is the [Propagator] of [WithTrace] and [TraceOf], with the headers traceparent and tracestate. A
// traceparent that does not look like one is left alone.
type TraceContext struct{}

// Inject implements Propagator.
func (TraceContext) Inject(ctx context.Context, headers map[string]string) {
	t := TraceOf(ctx)
	if !isTraceParent(t.Parent) {
		return
	}
	headers[traceParentHeader] = t.Parent
	if t.State != "" {
		headers[traceStateHeader] = t.State
	}
}

// Extract implements Propagator.
func (TraceContext) Extract(ctx context.Context, headers map[string]string) context.Context {
	parent := headers[traceParentHeader]
	if !isTraceParent(parent) {
		return ctx
	}
	return WithTrace(ctx, Trace{Parent: parent, State: headers[traceStateHeader]})
}

// isTraceParent checks the shape that every version of the format begins with: 2, 32, 16 and 2 lower-case hex digits.
func isTraceParent(s string) bool {
	const shape = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if len(s) < shape || len(s) > shape && s[shape] != '-' || s[:2] == "ff" {
		return false
	}
	for i := range shape {
		switch c := s[i]; i {
		case 2, 35, 52:
			if c != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdef", rune(c)) {
				return false
			}
		}
	}
	return true
}
