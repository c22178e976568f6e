package conformance

import (
	"flag"
	"os"
	"sync"
	"testing"
)

// Test runs the suite, each case as a subtest of its name. It is the front end for go test. With [Parallel] the cases that
// may run side by side are parallel subtests, as many at once as go test's -parallel allows.
func Test(t *testing.T, h Harness, options ...Option) {
	t.Helper()
	s := newSuite(h, append([]Option{drawForTest(t)}, options...))
	for _, name := range s.strayWaivers() {
		t.Errorf("waiver %q: there is no such case", name)
	}
	if s.soak > 0 {
		t.Fatal("conformance.Soak is for Run; go test has -count")
	}
	order := make([]int, len(s.cases))
	for i := range order {
		order[i] = i
	}
	free, alone := s.split(order)
	run := func(i int, aside bool) {
		c := s.cases[i]
		t.Run(c.Name, func(t *testing.T) {
			if aside {
				t.Parallel()
			}
			report(t, s.judge(t.Context(), c, t))
		})
	}
	for _, i := range alone {
		run(i, false)
	}
	for _, i := range free {
		run(i, s.parallel > 1 && !s.harness.Virtual)
	}
}

// report tells go test how a case ended. What was not exercised or is waived shows as skipped, which is the one word
// that go test has for it; what was refused was checked.
func report(t *testing.T, r Result) {
	t.Helper()
	switch r.Outcome {
	case Fail:
		t.Errorf("%s\n%s\n%s", r.Case.Clause, r.Reason, r.trail())
	case NotExercised, Waived:
		t.Skipf("%s: %s", r.Outcome, r.Reason)
	case Refused:
		t.Logf("%s: %s", r.Outcome, r.Reason)
	}
}

// drawForTest draws into the artifacts of the test where go test keeps them, and otherwise into a folder that outlives it.
func drawForTest(t *testing.T) Option {
	return func(s *suite) {
		s.drawings = sync.OnceValues(func() (string, error) {
			if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "true" {
				return t.ArtifactDir(), nil
			}
			return os.MkdirTemp("", "conformance-")
		})
	}
}
