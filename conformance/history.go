package conformance

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// history is what clients that were at it together asked, and were answered: when each operation began and when its
// answer was there. A model then says whether there is any order of the operations, each somewhere between its two
// times, in which one client alone could have been answered all that (linearizability).
//
// The times are those of a counter, not of a clock: it is raised before an operation is begun and after it was answered,
// so what ended before another began has the lower numbers, in a bubble too, where a clock would stand still.
//
// An operation whose outcome is unknown (its context ended, the link was lost) may have been done at any time after it
// began, long after its caller gave up, or never. It is given no end, and models allow both.
type history struct {
	e     *Env
	nodes []transports.Transport
	ticks atomic.Int64

	rounds atomic.Int64       // of all clients
	after  func(rounds int64) // each round; nil: nothing

	mu     sync.Mutex
	done   []porcupine.Operation
	doubts int // how many outcomes are unknown
}

// newHistory opens the nodes of a history.
func newHistory(e *Env) *history {
	return &history{e: e, nodes: []transports.Transport{e.Node, e.Open(), e.Open()}}
}

// question is what an operation asks: the input of a model.
type question interface {
	about() string // what is about different things is independent
	reads() bool   // changes nothing, so that one without an answer proves nothing
}

// outcome is how an operation was answered, as far as all models care.
type outcome int

const (
	done    outcome = iota
	refused         // answered that it was not done: a condition did not hold, a lease is lost
	unknown         // may have been done, or may be done yet
)

// outcomeOf sorts the error of an operation. An error that is neither a refusal of the kind that the operation may meet
// nor a sign that nothing is known breaks a promise of its own, and fails the case.
func (h *history) outcomeOf(what string, err error, refusals ...fault.Code) outcome {
	code := fault.CodeOf(err)
	switch {
	case err == nil:
		return done
	case slices.Contains(refusals, code):
		return refused
	case code == fault.Canceled, code == fault.DeadlineExceeded, code == fault.Unavailable:
		return unknown
	}
	h.e.Errorf("%s: %v", what, err)
	return unknown
}

// alone is the error of a call with one element. It may be used on any goroutine.
func alone[R any](results []R, err error, errOf func(R) error) error {
	if err == nil && len(results) != 1 {
		err = fault.New(fault.Internal, "%d results for one element", len(results))
	}
	return first(results, err, errOf)
}

// record notes one operation. ask begins and ends it.
func (c *historian) record(q question, ask func() (answer any, o outcome)) outcome {
	call := c.ticks.Add(1)
	answer, o := ask()
	if o == unknown {
		c.unheard++
	}
	c.note(call, q, answer, o)
	return o
}

// note notes an operation that has ended just now.
func (c *historian) note(call int64, q question, answer any, o outcome) {
	op := porcupine.Operation{ClientId: c.client, Input: q, Output: answer, Call: call, Return: c.ticks.Add(1)}
	if o == unknown {
		if q.reads() {
			return
		}
		op.Return = 0 // none
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, op)
}

// The size of a history: enough clients to meet each other, and so few operations that it is checked in a moment.
const (
	historyClients = 6
	historyRounds  = 24
	mostUnheard    = 3 // of one client: each unknown outcome doubles what has to be looked through, at worst
)

// historian is one client of a history, on a node that it shares with others.
type historian struct {
	*history
	client, round int
	node          transports.Transport
	hurried       int // the round in which it gives up early
	unheard       int // how many of its operations it has heard nothing of
}

// run has all clients play their rounds side by side, with a short break between two rounds so that they meet in ever other
// ways.
func (h *history) run(play func(c *historian)) {
	together(historyClients, func(i int) error {
		c := &historian{history: h, client: i, node: h.nodes[i%len(h.nodes)], hurried: rand.N(historyRounds)}
		for c.round = range historyRounds {
			before := c.unheard
			play(c)
			if rounds := h.rounds.Add(1); h.after != nil {
				h.after(rounds)
			}
			if c.unheard >= mostUnheard {
				break
			}
			if c.unheard > before {
				c.untilAnswered()
			}
			h.e.sleepHere(rand.N(2 * time.Millisecond))
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.doubts += c.unheard
		return nil
	})
}

// runAcrossCuts is run while links are cut, one after the other: each time a quarter of the rounds is over.
func (h *history) runAcrossCuts(play func(c *historian)) {
	const quarter = historyClients * historyRounds / 4
	h.after = func(rounds int64) {
		node := int(rounds/quarter) - 1
		if rounds%quarter != 0 || node >= len(h.nodes) {
			return
		}
		h.e.does("cuts the link of node %d", node)
		if err := h.e.cluster.(Cutter).Cut(h.e.Context(), node); err != nil {
			h.e.Errorf("the harness could not cut the link of node %d: %v", node, err)
		}
	}
	h.run(play)
}

// untilAnswered waits until the node has its link again: what it would be asked before would be unknown too.
func (c *historian) untilAnswered() {
	for end := time.Now().Add(c.e.Timing.Wait); time.Now().Before(end) && c.node.Health(c.e.Context()) != nil; {
		c.e.sleepHere(5 * time.Millisecond)
	}
}

// context is that of the client's next operation. One round in each client's life ends in the midst of what it asks.
func (c *historian) context() (context.Context, context.CancelFunc) {
	if c.round != c.hurried {
		return context.WithTimeout(c.e.Context(), c.e.Timing.Wait)
	}
	return context.WithTimeout(c.e.Context(), rand.N(time.Millisecond))
}

// check fails the case when no order explains the history, and says where every one of them ends.
func (h *history) check(model porcupine.Model) {
	h.e.Helper()
	require.Lessf(h.e, 2*h.doubts, len(h.done), "of %d operations so many have no answer that the rest proves nothing", len(h.done))
	for i := range h.done {
		if op := &h.done[i]; op.Return == 0 {
			op.Return = h.ticks.Add(1)
		}
	}
	switch porcupine.CheckOperationsTimeout(model, h.done, h.e.Timing.Case/2) {
	case porcupine.Ok:
		h.e.Logf("%d operations of %d clients, %d with unknown outcome", len(h.done), historyClients, h.doubts)
		return
	case porcupine.Unknown:
		h.e.Errorf("no order was found in %v, and none was excluded: the machine is too slow for a history of %d operations", h.e.Timing.Case/2, len(h.done))
		h.e.FailNow()
	}
	_, info := porcupine.CheckOperationsVerbose(model, h.done, h.e.Timing.Case/8)
	h.e.Errorf("no order of what %d clients asked at the same time explains what they were answered.\n%s%s",
		historyClients, h.dispute(model), h.draw(model, info))
	h.e.FailNow()
}

// dispute tells, of the first part of the history that nothing explains, how far an explanation gets.
func (h *history) dispute(model porcupine.Model) string {
	const enough = 12
	for _, part := range model.Partition(h.done) {
		result, info := porcupine.CheckOperationsVerbose(model, part, h.e.Timing.Case/8)
		if result != porcupine.Illegal {
			continue
		}
		explained := longest(info.PartialLinearizationsOperations()[0])
		state := model.Init()
		var b strings.Builder
		if len(explained) > enough {
			fmt.Fprintf(&b, "  %d operations are explained, the last of them so:\n", len(explained))
		} else {
			fmt.Fprintf(&b, "  %d operations are explained so:\n", len(explained))
		}
		for i, op := range explained {
			_, state = model.Step(state, op.Input, op.Output)
			if i >= len(explained)-enough {
				fmt.Fprintf(&b, "    client %d: %-60s now %s\n", op.ClientId, model.DescribeOperation(op.Input, op.Output), model.DescribeState(state))
			}
		}
		fmt.Fprintf(&b, "  and then none of these fits:\n")
		for i, op := range leftOf(part, explained) {
			if i == enough {
				break
			}
			fmt.Fprintf(&b, "    client %d: %s\n", op.ClientId, model.DescribeOperation(op.Input, op.Output))
		}
		return b.String()
	}
	return ""
}

func longest(orders [][]porcupine.Operation) []porcupine.Operation {
	return slices.MaxFunc(append(orders, nil), func(a, b []porcupine.Operation) int { return cmp.Compare(len(a), len(b)) })
}

// leftOf are the operations that an explanation leaves out, those first that were over first.
func leftOf(all, explained []porcupine.Operation) []porcupine.Operation {
	in := map[int64]bool{}
	for _, op := range explained {
		in[op.Call] = true
	}
	left := slices.DeleteFunc(slices.Clone(all), func(op porcupine.Operation) bool { return in[op.Call] })
	slices.SortFunc(left, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	return left
}

// draw writes a page on which the history can be looked at, and says where it is.
func (h *history) draw(model porcupine.Model, info porcupine.LinearizationInfo) string {
	dir, err := h.e.drawings()
	if err != nil {
		return fmt.Sprintf("  It could not be drawn: %v\n", err)
	}
	if dir == "" {
		return "  HistoryDir (--history-dir) has it drawn.\n"
	}
	file, err := os.CreateTemp(dir, strings.ReplaceAll(h.e.Name(), "/", "-")+"-*.html")
	if err == nil {
		err = porcupine.Visualize(model, info, file)
		if closing := file.Close(); err == nil {
			err = closing
		}
	}
	if err != nil {
		return fmt.Sprintf("  It could not be drawn: %v\n", err)
	}
	path, err := filepath.Abs(file.Name())
	if err != nil {
		path = file.Name()
	}
	h.e.attach(path)
	return fmt.Sprintf("  It is drawn in %s\n", path)
}

// byThing splits a history by what its operations are about.
func byThing(all []porcupine.Operation) [][]porcupine.Operation {
	parts := map[string][]porcupine.Operation{}
	for _, op := range all {
		thing := op.Input.(question).about()
		parts[thing] = append(parts[thing], op)
	}
	var split [][]porcupine.Operation
	for _, thing := range slices.Sorted(maps.Keys(parts)) {
		split = append(split, parts[thing])
	}
	return split
}

// modelOf makes the model of one thing: what it is like at first, and in which states it may be after an operation that
// was answered so (none: it cannot have been).
func modelOf[S comparable, Q question, A any](initial S, step func(S, Q, A) []S, describe func(Q, A) string) porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: byThing,
		Init:      func() []any { return []any{initial} },
		Step: func(state, input, output any) []any {
			var all []any
			for _, next := range step(state.(S), input.(Q), output.(A)) {
				all = append(all, next)
			}
			return all
		},
		DescribeOperation: func(input, output any) string { return describe(input.(Q), output.(A)) },
		DescribeState:     func(state any) string { return fmt.Sprint(state) },
	}
	return model.ToModel()
}
