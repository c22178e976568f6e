package conformance

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Call is one call of a transport's methods, or what the harness did to the store, as the report of a failed case shows
// it.
type Call struct {
	At       time.Duration // since the case began
	Node     int           // as opened; -1: the harness
	Method   string        // "cache.Set"
	Asked    string
	Answered string
	Took     time.Duration
	Pending  bool // it had not returned when the case failed
}

// mostCalls is how many of the last calls before a failure are kept: enough to see what led to it, and few enough to be
// read.
const mostCalls = 40

// trace keeps the last calls of one attempt at a case, until it fails. What was asked and answered is copied at once,
// because callers use their buffers again, but put into words only for a failure.
type trace struct {
	start time.Time

	mu     sync.Mutex
	ring   [mostCalls]*traced
	total  int
	frozen []traced // what the ring held when the case failed; nil: it has not
}

// traced is a call as the trace keeps it.
type traced struct {
	at, took        time.Duration
	node            int
	method          string
	asked, answered func() string
	ended           bool
}

// harness is the number of what the harness did, in place of a node's.
const harness = -1

// begin notes a call that is about to be made.
func (t *trace) begin(node int, method string, asked func() string) *traced {
	c := &traced{at: time.Since(t.start), node: node, method: method, asked: asked}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frozen == nil {
		t.ring[t.total%mostCalls] = c
		t.total++
	}
	return c
}

// end notes its answer.
func (t *trace) end(c *traced, answered func() string) {
	took := time.Since(t.start) - c.at
	t.mu.Lock()
	defer t.mu.Unlock()
	c.answered, c.took, c.ended = answered, took, true
}

// event notes something that has happened at once.
func (t *trace) event(node int, method string, what func() string) {
	t.end(t.begin(node, method, what), nil)
}

// freeze keeps what led to the first failure, and nothing after it. It is called from outside a bubble too, and so
// reads no clock.
func (t *trace) freeze() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frozen != nil {
		return
	}
	t.frozen = make([]traced, 0, mostCalls)
	for i := max(0, t.total-mostCalls); i < t.total; i++ {
		t.frozen = append(t.frozen, *t.ring[i%mostCalls])
	}
}

// led tells what led to the failure, and how many calls were made before these.
func (t *trace) led() (calls []Call, before int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frozen == nil {
		return nil, 0
	}
	for _, c := range t.frozen {
		calls = append(calls, Call{
			At: c.at, Node: c.node, Method: c.method, Asked: words(c.asked), Answered: words(c.answered), Took: c.took, Pending: !c.ended,
		})
	}
	return calls, t.total - len(calls)
}

func words(f func() string) string {
	if f == nil {
		return ""
	}
	return f()
}

// Who is the node that was called, or the harness.
func (c Call) Who() string {
	if c.Node == harness {
		return "harness"
	}
	return fmt.Sprintf("node %d", c.Node)
}

// String is the call on one line.
func (c Call) String() string {
	line := fmt.Sprintf("%9s  %-7s  %s(%s)", sinceStart(c.At), c.Who(), c.Method, c.Asked)
	switch {
	case c.Node == harness:
		return fmt.Sprintf("%9s  %s %s", sinceStart(c.At), c.Who(), c.Method)
	case c.Pending:
		return line + " … not answered yet"
	case c.Answered != "":
		return fmt.Sprintf("%s → %s in %s", line, c.Answered, shortly(c.Took))
	}
	return line
}

func sinceStart(d time.Duration) string { return fmt.Sprintf("+%.4fs", d.Seconds()) }

// shortly is a duration with three digits.
func shortly(d time.Duration) string {
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// about says of a context what matters to what it is given to.
func about(ctx context.Context, asked func() string) func() string {
	if ctx.Err() == nil {
		return asked
	}
	return func() string { return "context ended, " + words(asked) }
}
