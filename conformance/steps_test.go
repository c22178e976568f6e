package conformance

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

func TestEveryCaseIsInOneStep(t *testing.T) {
	t.Parallel()
	var named []string
	for _, step := range Steps() {
		require.NotEmpty(t, step.Cases, step.Name)
		for _, c := range step.Cases {
			named = append(named, c.Name)
			optional := c.Needs != "" && c.Needs != NeedsCache
			if step.Name != "faults" && optional {
				require.True(t, strings.HasPrefix(string(c.Needs), string(step.Needs)), "%s needs %s and is in step %s", c.Name, c.Needs, step.Name)
			}
			require.Equal(t, len(c.Hooks) > 0, step.Name == "faults", c.Name)
		}
	}
	var all []string
	for _, c := range All() {
		all = append(all, c.Name)
	}
	require.ElementsMatch(t, all, named)
}

// unwritten is what a transport's author has not come to yet, when the step that is named has just been done.
type unwritten struct {
	step                          string
	calls                         int // of the driver, in the order of the steps, are there
	conditions, lifetimes, guards bool
}

var unwrittens = []unwritten{
	{"entries", 2, false, false, false},
	{"delete", 3, false, false, false},
	{"conditions", 3, true, false, false},
	{"lifetimes", 4, true, true, false},
	{"counters", 5, true, true, false},
	{"keys", 6, true, true, false},
	{"locks", 9, true, true, false},
	{"guards", 9, true, true, true},
}

func TestAStepNeedsNothingOfALaterOne(t *testing.T) {
	t.Parallel()
	for _, at := range unwrittens {
		harness := unfinished(at)

		plan := Next(t.Context(), harness, InBubble(t))

		reached := slices.IndexFunc(plan.Stages, func(stage Stage) bool { return stage.Step.Name == at.step })
		require.Positive(t, reached)
		for _, stage := range plan.Stages[:reached+1] {
			for _, r := range stage.Results {
				assert.NotEqual(t, Fail, r.Outcome, "when %s is done: %s: %s\n%s", at.step, stage.Step.Name, r.Case.Name, r.Reason)
			}
			assert.NotEmpty(t, stage.Results, "it was not reached when %s is done", at.step)
		}
	}
}

func TestNextStopsWhereSomethingFails(t *testing.T) {
	t.Parallel()
	plan := Next(t.Context(), unfinished(unwrittens[0]), InBubble(t))
	plan.Again = "again %s!"

	require.False(t, plan.OK())
	var text strings.Builder
	require.NoError(t, plan.WriteText(&text))
	require.Regexp(t, `(?m)^ 1  done  +open `, text.String())
	require.Regexp(t, `(?m)^ 3  NEXT  +delete `, text.String())
	require.Regexp(t, `(?m)^ 4  not yet  +conditions `, text.String())
	require.Contains(t, text.String(), "still to be written")
	require.Contains(t, text.String(), "again cache/delete/removes!")
	require.Empty(t, plan.Stages[3].Results)
	require.Less(t, strings.Count(text.String(), "\n"), 200, "a person is to read it:\n%s", text.String())
}

func TestNextGetsToTheEndOfWhatIsOffered(t *testing.T) {
	t.Parallel()
	plan := Next(t.Context(), Harness{New: func(T) Cluster { return nowhere{} }})

	require.True(t, plan.OK())
	var text strings.Builder
	require.NoError(t, plan.WriteText(&text))
	require.Regexp(t, `(?m)^ 1  done  +open `, text.String())
	require.Regexp(t, `(?m)^ 2  not offered  +entries `, text.String())
	require.Contains(t, text.String(), "Nothing fails.")
}

// unfinished is a memory of which something is not written.
func unfinished(u unwritten) Harness {
	return Harness{Virtual: true, New: func(T) Cluster { return &growing{unwritten: u} }}
}

type growing struct {
	store memory.Store
	unwritten
}

func (g *growing) Open(t T, namespace string) transports.Transport {
	node, err := g.store.Open(namespace)
	require.NoError(t, err)
	return grown{node, g.unwritten}
}

type grown struct {
	*memory.Transport
	unwritten
}

func (g grown) Cache() *cache.Backend {
	b := *g.Transport.Cache()
	return &cache.Backend{Driver: written{b.Driver, g.unwritten}, Capabilities: b.Capabilities}
}

// written is a driver without what is unwritten.
type written struct {
	cache.Driver
	unwritten
}

// ready reports that so many calls, and what they are asked for, are written.
func (w written) ready(calls int, asked ...bool) error {
	if w.calls >= calls && !slices.Contains(asked, true) {
		return nil
	}
	return fault.New(fault.Unimplemented, "still to be written")
}

func (w written) guard(g cache.Guard) bool { return !w.guards && g != cache.Guard{} }

func (w written) Get(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
	for _, r := range reads {
		if err := w.ready(1, w.guard(r.Guard)); err != nil {
			return nil, err
		}
	}
	return w.Driver.Get(ctx, reads)
}

func (w written) Set(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
	for _, each := range writes {
		err := w.ready(2, w.guard(each.Guard), !w.conditions && !each.If.IsAlways(), !w.lifetimes && each.TTL != 0)
		if err != nil {
			return nil, err
		}
	}
	return w.Driver.Set(ctx, writes)
}

func (w written) Delete(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	for _, r := range removals {
		if err := w.ready(3, w.guard(r.Guard)); err != nil {
			return nil, err
		}
	}
	if err := w.ready(3); err != nil {
		return nil, err
	}
	return w.Driver.Delete(ctx, removals)
}

func (w written) Touch(ctx context.Context, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
	if err := w.ready(4); err != nil {
		return nil, err
	}
	return w.Driver.Touch(ctx, lifetimes)
}

func (w written) Add(ctx context.Context, increments []cache.Increment) ([]cache.Sum, error) {
	if err := w.ready(5); err != nil {
		return nil, err
	}
	return w.Driver.Add(ctx, increments)
}

func (w written) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	if err := w.ready(6); err != nil {
		return cache.Keys{}, err
	}
	return w.Driver.Keys(ctx, p)
}

func (w written) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	if err := w.ready(7); err != nil {
		return nil, err
	}
	return w.Driver.Acquire(ctx, claims)
}

func (w written) Renew(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
	if err := w.ready(8); err != nil {
		return nil, err
	}
	return w.Driver.Renew(ctx, leases)
}

func (w written) Release(ctx context.Context, leases []cache.Lease) ([]error, error) {
	if err := w.ready(9); err != nil {
		return nil, err
	}
	return w.Driver.Release(ctx, leases)
}
