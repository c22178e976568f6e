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
	soak         time.Duration
	progress     func(done, total int, r Result)
	bubble       *testing.T
	drawings     func() (string, error) // see attempt
}

func newSuite(h Harness, options []Option) *suite {
	s := &suite{harness: h, slow: 1, repeat: 1, drawings: func() (string, error) { return "", nil }}
	for _, option := range options {
		option(s)
	}
	if s.soak > 0 && s.seed == 0 {
		Shuffle(0)(s)
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
func (s *suite) split(order []int) (free, alone []int) {
	for _, i := range order {
		if len(s.cases[i].Hooks) > 0 && !s.harness.Isolated {
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
	a := attempt{Case: c, harness: s.harness, timing: s.harness.Timing.scaled(s.slow), drawings: s.drawings}
	if s.harness.Virtual {
		a.bubble = bubble
	}
	r := a.run(ctx)
	for n := 1; n < s.repeat && r.Outcome != Fail; n++ {
		r = r.and(a.run(ctx))
	}
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
