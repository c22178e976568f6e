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

// grows are the calls of a cache in the order in which the steps ask for them: the number of calls that there are at each.
var grows = []struct {
	step  string
	calls int
}{{"entries", 2}, {"delete", 3}, {"conditions", 3}, {"lifetimes", 4}, {"counters", 5}, {"keys", 6}, {"locks", 9}}

func TestAStepNeedsNothingOfALaterOne(t *testing.T) {
	t.Parallel()
	for _, at := range grows {
		harness := unfinished(at.calls)

		plan := Next(t.Context(), harness, InBubble(t))

		reached := slices.IndexFunc(plan.Stages, func(stage Stage) bool { return stage.Step.Name == at.step })
		require.Positive(t, reached)
		for _, stage := range plan.Stages[:reached+1] {
			for _, r := range stage.Results {
				assert.NotEqual(t, Fail, r.Outcome, "with %d calls: %s: %s\n%s", at.calls, stage.Step.Name, r.Case.Name, r.Reason)
			}
			assert.NotEmpty(t, stage.Results, "it was not reached with %d calls", at.calls)
		}
	}
}

func TestNextStopsWhereSomethingFails(t *testing.T) {
	t.Parallel()
	plan := Next(t.Context(), unfinished(2), InBubble(t))
	plan.Again = "again %s!"

	require.False(t, plan.OK())
	var text strings.Builder
	require.NoError(t, plan.WriteText(&text))
	require.Regexp(t, `(?m)^ 1  done  +open `, text.String())
	require.Regexp(t, `(?m)^ 3  NEXT  +delete `, text.String())
	require.Regexp(t, `(?m)^ 4  not yet  +conditions `, text.String())
	require.Contains(t, text.String(), "still to be written")
	require.Contains(t, text.String(), "again transport/namespaces/entries-are-isolated!")
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

// unfinished is a memory of which so many calls of the cache are written.
func unfinished(calls int) Harness {
	return Harness{Virtual: true, New: func(T) Cluster { return &growing{calls: calls} }}
}

type growing struct {
	store memory.Store
	calls int
}

func (g *growing) Open(t T, namespace string) transports.Transport {
	node, err := g.store.Open(namespace)
	require.NoError(t, err)
	return grown{node, g.calls}
}

type grown struct {
	*memory.Transport
	calls int
}

func (g grown) Cache() *cache.Backend {
	b := *g.Transport.Cache()
	return &cache.Backend{Driver: written{b.Driver, g.calls}, Capabilities: b.Capabilities}
}

// written is a driver of which the first calls are written.
type written struct {
	cache.Driver
	calls int
}

func (w written) missing(call int) error {
	if call < w.calls {
		return nil
	}
	return fault.New(fault.Unimplemented, "still to be written")
}

func (w written) Delete(ctx context.Context, r []cache.Removal) ([]cache.Removed, error) {
	if err := w.missing(2); err != nil {
		return nil, err
	}
	return w.Driver.Delete(ctx, r)
}

func (w written) Touch(ctx context.Context, l []cache.Lifetime) ([]cache.Touched, error) {
	if err := w.missing(3); err != nil {
		return nil, err
	}
	return w.Driver.Touch(ctx, l)
}

func (w written) Add(ctx context.Context, i []cache.Increment) ([]cache.Sum, error) {
	if err := w.missing(4); err != nil {
		return nil, err
	}
	return w.Driver.Add(ctx, i)
}

func (w written) Keys(ctx context.Context, p cache.Page) (cache.Keys, error) {
	if err := w.missing(5); err != nil {
		return cache.Keys{}, err
	}
	return w.Driver.Keys(ctx, p)
}

func (w written) Acquire(ctx context.Context, c []cache.Claim) ([]cache.Lease, error) {
	if err := w.missing(6); err != nil {
		return nil, err
	}
	return w.Driver.Acquire(ctx, c)
}

func (w written) Renew(ctx context.Context, l []cache.Lease) ([]cache.Lease, error) {
	if err := w.missing(7); err != nil {
		return nil, err
	}
	return w.Driver.Renew(ctx, l)
}

func (w written) Release(ctx context.Context, l []cache.Lease) ([]error, error) {
	if err := w.missing(8); err != nil {
		return nil, err
	}
	return w.Driver.Release(ctx, l)
}
