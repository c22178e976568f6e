package conformance

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Test runs the suite, each case as a subtest of its name. It is the front end for go test.
func Test(t *testing.T, h Harness, options ...Option) {
	t.Helper()
	s := newSuite(h, options)
	for _, name := range s.strayWaivers() {
		t.Errorf("waiver %q: there is no such case", name)
	}
	for _, c := range s.cases {
		t.Run(c.Name, func(t *testing.T) {
			report(t, s.judge(t.Context(), c, t))
		})
	}
}

// report tells go test how a case ended. What was not exercised or is waived shows as skipped, which is the one word
// that go test has for it; what was refused was checked.
func report(t *testing.T, r Result) {
	t.Helper()
	switch r.Outcome {
	case Fail:
		t.Errorf("%s\n%s", r.Case.Clause, r.Reason)
	case NotExercised, Waived:
		t.Skipf("%s: %s", r.Outcome, r.Reason)
	case Refused:
		t.Logf("%s: %s", r.Outcome, r.Reason)
	}
}

// Run runs the suite and reports. It is the front end for everything but go test, and always in real time, unless it is
// given a bubble. When ctx ends the cases that are left fail.
func Run(ctx context.Context, h Harness, options ...Option) Report {
	s := newSuite(h, options)
	report := Report{Started: time.Now(), Seed: s.seed, Results: make([]Result, len(s.cases))}
	progress := s.countdown()
	free, alone := s.split()

	var group sync.WaitGroup
	queue := make(chan int)
	for range max(1, s.parallel) {
		group.Go(func() {
			for i := range queue {
				report.Results[i] = s.judge(ctx, s.cases[i], s.bubble)
				progress(report.Results[i])
			}
		})
	}
	for _, i := range free {
		queue <- i
	}
	close(queue)
	group.Wait()
	for _, i := range alone {
		report.Results[i] = s.judge(ctx, s.cases[i], s.bubble)
		progress(report.Results[i])
	}

	for _, name := range s.strayWaivers() {
		report.Results = append(report.Results, Result{
			Case: Case{Name: name}, Outcome: Fail, Reason: "there is a waiver for this case, and no such case",
		})
	}
	report.Took = time.Since(report.Started)
	return report
}

// Option changes how the suite runs.
type Option func(*suite)

// Match runs only the cases whose name has the pattern: parts between slashes are matched as path.Match does, and a
// pattern shorter than the name matches all that is below it. "cache/lock" and "cache/*/guard*" are patterns. More than
// one may be given, separated by commas or by repeating the option.
func Match(pattern string) Option {
	return func(s *suite) { s.patterns = append(s.patterns, strings.Split(pattern, ",")...) }
}

// Repeat runs every case n times; the first that fails decides.
func Repeat(n int) Option { return func(s *suite) { s.repeat = n } }

// Shuffle runs the cases in another order, which the seed decides. 0 draws a seed; the report has it.
func Shuffle(seed uint64) Option {
	return func(s *suite) {
		s.seed = seed
		for s.seed == 0 {
			s.seed = rand.Uint64()
		}
	}
}

// Parallel lets [Run] run n cases at once, except those that need hooks: these run alone, at the end. [Test] runs one
// at a time.
func Parallel(n int) Option { return func(s *suite) { s.parallel = n } }

// Slow stretches all timing by a factor, for a slow machine or a distant store.
func Slow(factor float64) Option { return func(s *suite) { s.slow = factor } }

// RequireHooks makes a case fail when the harness lacks the hook that it needs.
func RequireHooks() Option { return func(s *suite) { s.requireHooks = true } }

// Progress has f called after every case of [Run], one call at a time.
func Progress(f func(done, total int, r Result)) Option { return func(s *suite) { s.progress = f } }

// InBubble makes [Run] heed [Harness].Virtual, with bubbles of the test t. It is for tests that expect failures.
func InBubble(t *testing.T) Option { return func(s *suite) { s.bubble = t } }

// suite is one run over the table.
type suite struct {
	harness Harness
	cases   []Case

	patterns     []string
	repeat       int
	seed         uint64
	parallel     int
	slow         float64
	requireHooks bool
	progress     func(done, total int, r Result)
	bubble       *testing.T
}

func newSuite(h Harness, options []Option) *suite {
	s := &suite{harness: h, slow: 1, repeat: 1}
	for _, option := range options {
		option(s)
	}
	s.cases = slices.DeleteFunc(All(), func(c Case) bool { return !s.wanted(c.Name) })
	if s.seed != 0 {
		rand.New(rand.NewPCG(s.seed, 0)).Shuffle(len(s.cases), func(i, j int) {
			s.cases[i], s.cases[j] = s.cases[j], s.cases[i]
		})
	}
	return s
}

func (s *suite) wanted(name string) bool {
	return len(s.patterns) == 0 || slices.ContainsFunc(s.patterns, func(pattern string) bool { return MatchName(pattern, name) })
}

// MatchName reports whether [Match] with the one pattern selects the case: part by part, as far as the pattern goes.
func MatchName(pattern, name string) bool {
	wants, has := strings.Split(strings.Trim(pattern, "/"), "/"), strings.Split(name, "/")
	if len(wants) > len(has) {
		return false
	}
	for i, want := range wants {
		if ok, err := path.Match(want, has[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// split tells which cases may run side by side and which must run alone, by their place in the table.
func (s *suite) split() (free, alone []int) {
	for i, c := range s.cases {
		if len(c.Hooks) > 0 {
			alone = append(alone, i)
		} else {
			free = append(free, i)
		}
	}
	return free, alone
}

func (s *suite) countdown() func(Result) {
	var mu sync.Mutex
	done := 0
	return func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		done++
		if s.progress != nil {
			s.progress(done, len(s.cases), r)
		}
	}
}

// judge attempts a case as often as wanted, in bubbles of the test if the harness asks for them, and then looks at the
// waivers.
func (s *suite) judge(ctx context.Context, c Case, bubble *testing.T) Result {
	a := attempt{Case: c, harness: s.harness, timing: s.harness.Timing.scaled(s.slow)}
	if s.harness.Virtual {
		a.bubble = bubble
	}
	var r Result
	var took time.Duration
	for range max(1, s.repeat) {
		r = a.run(ctx)
		took += r.Took
		if r.Outcome == Fail {
			break
		}
	}
	r.Took = took
	if r.Outcome == NotExercised && s.requireHooks {
		r.Outcome, r.Reason = Fail, r.Reason+"; every hook is required"
	}
	return s.waive(r)
}

func (s *suite) waive(r Result) Result {
	reason, waived := s.harness.Waivers[r.Case.Name]
	switch {
	case !waived || r.Outcome == NotExercised:
	case r.Outcome == Fail:
		r.Outcome, r.Reason = Waived, reason
	default:
		r.Outcome, r.Reason = Fail, fmt.Sprintf("it is waived (%s) and does not fail any more; remove the waiver", reason)
	}
	return r
}

// strayWaivers are those that name no case of the table.
func (s *suite) strayWaivers() []string {
	known := map[string]bool{}
	for _, c := range All() {
		known[c.Name] = true
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.harness.Waivers)), func(name string) bool { return known[name] })
}
