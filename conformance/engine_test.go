package conformance

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
)

// nothing is a transport that offers none of the four concerns.
type nothing struct{ closed atomic.Bool }

func (*nothing) Kind() string            { return "nothing" }
func (*nothing) Cache() *cache.Backend   { return nil }
func (*nothing) Queue() *queue.Backend   { return nil }
func (*nothing) PubSub() *pubsub.Backend { return nil }
func (*nothing) RPC() *rpc.Backend       { return nil }
func (n *nothing) Close() error          { n.closed.Store(true); return nil }
func (n *nothing) Health(ctx context.Context) error {
	if n.closed.Load() {
		return &fault.Error{Code: fault.Closed}
	}
	return fault.FromContext(ctx)
}

type nowhere struct{}

func (nowhere) Open(T, string) transports.Transport { return &nothing{} }

// ofNothing is a harness without anything.
var ofNothing = Harness{
	New:    func(T) Cluster { return nowhere{} },
	Timing: Timing{Case: 5 * time.Second, Wait: time.Second},
}

// judged runs one case of its own making.
func judged(t *testing.T, h Harness, c Case, options ...Option) Result {
	t.Helper()
	s := newSuite(h, options)
	return s.judge(t.Context(), c, nil)
}

func TestFailNowEndsOnlyTheCase(t *testing.T) {
	after := false

	r := judged(t, ofNothing, Case{Name: "x", Run: func(e *Env) {
		e.Cleanup(func() { after = true })
		require.Equal(e, 1, 2, "numbers differ")
		panic("not reached")
	}})

	require.Equal(t, Fail, r.Outcome)
	require.Contains(t, r.Reason, "numbers differ")
	require.NotContains(t, r.Reason, "not reached")
	require.True(t, after, "cleanups run after a failure")
}

func TestPanicFailsTheCase(t *testing.T) {
	r := judged(t, ofNothing, Case{Name: "x", Run: func(*Env) { panic("oh no") }})

	require.Equal(t, Fail, r.Outcome)
	require.Contains(t, r.Reason, "panic: oh no")
	require.Contains(t, r.Reason, "engine_test.go", "a panic comes with its stack")
}

func TestPanicInCleanupFailsTheCase(t *testing.T) {
	ran := 0

	r := judged(t, ofNothing, Case{Name: "x", Run: func(e *Env) {
		e.Cleanup(func() { ran++ })
		e.Cleanup(func() { panic("late") })
	}})

	require.Equal(t, Fail, r.Outcome)
	require.Equal(t, 1, ran, "the other cleanups run all the same")
}

func TestHangFailsTheCaseAndIsLeftBehind(t *testing.T) {
	release := make(chan struct{})
	defer close(release)

	r := judged(t, ofNothing, Case{Name: "x", Run: func(*Env) { <-release }}, Slow(0.01))

	require.Equal(t, Fail, r.Outcome)
	require.Contains(t, r.Reason, "hung")
	require.Contains(t, r.Reason, "goroutine ", "a hang comes with all stacks")
}

func TestDeadlockInABubbleFailsTheCase(t *testing.T) {
	h := ofNothing
	h.Virtual = true
	t.Run("bubble", func(t *testing.T) {
		s := newSuite(h, nil)
		release := make(chan struct{})
		defer close(release)

		stuck := s.judge(t.Context(), Case{Name: "x", Run: func(*Env) { <-make(chan int) }}, t)
		fine := s.judge(t.Context(), Case{Name: "y", Run: func(*Env) {}}, t)

		require.Equal(t, Fail, stuck.Outcome)
		require.Contains(t, stuck.Reason, "deadlock")
		require.Equal(t, Pass, fine.Outcome, "the run goes on")
	})
}

func TestTimeCostsNothingInABubble(t *testing.T) {
	h := ofNothing
	h.Virtual = true
	s := newSuite(h, nil)

	r := s.judge(t.Context(), Case{Name: "x", Run: func(e *Env) {
		start := time.Now()
		e.EventuallyWithin(time.Hour, func() bool { return time.Since(start) > 50*time.Minute }, "an hour")
	}}, t)

	require.Equal(t, Pass, r.Outcome, r.Reason)
	require.Less(t, r.Took, 5*time.Second)
}

func TestMissingHookIsNotExercised(t *testing.T) {
	c := Case{Name: "x", Hooks: []Hook{Restart}, Run: func(*Env) { panic("not reached") }}

	r := judged(t, ofNothing, c)
	require.Equal(t, NotExercised, r.Outcome)
	require.Contains(t, r.Reason, "restart")

	require.Equal(t, Fail, judged(t, ofNothing, c, RequireHooks()).Outcome)
}

func TestUndeclaredAbilityIsRefused(t *testing.T) {
	for _, c := range All() {
		if c.Needs != "" {
			r := judged(t, ofNothing, c)
			require.Equal(t, Refused, r.Outcome, "%s: %s", c.Name, r.Reason)
		}
	}
}

func TestWaivers(t *testing.T) {
	h := ofNothing
	h.Waivers = map[string]string{"fails": "known", "passes": "known", "lacks": "known"}

	failing := judged(t, h, Case{Name: "fails", Run: func(e *Env) { e.Errorf("no") }})
	require.Equal(t, Waived, failing.Outcome)
	require.Equal(t, "known", failing.Reason)

	passing := judged(t, h, Case{Name: "passes", Run: func(*Env) {}})
	require.Equal(t, Fail, passing.Outcome, "a stale waiver fails")

	report := Run(t.Context(), h, Match("transport/health"))
	require.Equal(t, 3, report.Count(Fail), "waivers for cases that do not exist fail")
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))

	report := Run(ctx, ofNothing, Match("transport"))

	require.Equal(t, len(report.Results), report.Count(Fail))
}

func TestOptions(t *testing.T) {
	plain := Run(t.Context(), ofNothing, Match("transport/health,transport/capabilities/k*"))
	require.GreaterOrEqual(t, len(plain.Results), 2)
	require.True(t, plain.OK())

	calls := 0
	all := Run(t.Context(), ofNothing, Shuffle(7), Parallel(8), Repeat(2), Progress(func(done, total int, r Result) {
		calls++
		require.Equal(t, calls, done)
		require.Equal(t, len(All()), total)
	}))
	require.Equal(t, uint64(7), all.Seed)
	require.Len(t, all.Results, len(All()))
	require.Equal(t, len(All()), calls)
	require.NotEqual(t, All()[0].Name, all.Results[0].Case.Name, "shuffled")
	require.Zero(t, all.Count(Fail), "%v", failures(all))
}

func TestFlakesAreCounted(t *testing.T) {
	runs := 0
	flaky := Case{Name: "x", Run: func(e *Env) {
		if runs++; runs == 2 {
			e.Errorf("this once")
		}
	}}
	r := judged(t, ofNothing, flaky)
	for range 3 {
		r = r.and(judged(t, ofNothing, flaky))
	}

	require.Equal(t, Fail, r.Outcome, "a failure stays one")
	require.Equal(t, "this once", r.Reason)
	require.Equal(t, []int{4, 1}, []int{r.Runs, r.Failed})
	require.True(t, r.Flaked())
	require.Equal(t, "flaky: 1 of 4 runs failed", r.Flakes())
	require.False(t, judged(t, ofNothing, Case{Name: "x", Run: func(e *Env) { e.FailNow() }}).Flaked(), "what always fails is no flake")
}

func TestSoakGoesOnUntilItsTimeIsOver(t *testing.T) {
	report := Run(t.Context(), ofNothing, Match("transport/health,transport/capabilities"), Soak(100*time.Millisecond))

	require.True(t, report.OK())
	require.NotZero(t, report.Seed)
	require.Greater(t, report.Rounds, 1)
	require.GreaterOrEqual(t, report.Took, 100*time.Millisecond)
	for _, r := range report.Results {
		require.GreaterOrEqual(t, r.Runs, report.Rounds-1, r.Case.Name)
	}
}

func failures(r Report) (names []string) {
	for _, result := range r.Results {
		if result.Outcome == Fail {
			names = append(names, result.Case.Name+": "+result.Reason)
		}
	}
	return names
}

func TestPatterns(t *testing.T) {
	for pattern, want := range map[string]bool{
		"cache": true, "cache/lock": true, "cache/lock/": true, "cache/*/steal*": true, "cache/lock/steal-is-refused": true,
		"lock": false, "cache/loc": false, "cache/lock/steal": false, "cache/lock/steal-is-refused/x": false, "[": false,
	} {
		require.Equal(t, want, MatchName(pattern, "cache/lock/steal-is-refused"), pattern)
	}
}

func TestTableIsSound(t *testing.T) {
	names, promised := map[string]bool{}, map[Clause]int{}
	for _, chapter := range Contract() {
		for _, clause := range chapter.Clauses {
			require.NotContains(t, promised, clause, "a clause is listed twice")
			promised[clause] = 0
		}
	}
	for _, c := range All() {
		require.False(t, names[c.Name], "two cases are called %s", c.Name)
		names[c.Name] = true
		require.NotNil(t, c.Run, c.Name)
		require.Contains(t, promised, c.Clause, "%s stands for a clause that Contract does not list", c.Name)
		require.Regexp(t, `^(transport|cache|queue|pubsub|rpc)(/[a-z0-9-]+){2}$`, c.Name)
		promised[c.Clause]++
	}
	for clause, cases := range promised {
		require.NotZero(t, cases, "no case stands for the clause: %s", clause)
	}
	require.False(t, strings.Contains(string(All()[0].Clause), "\n"))
}
