package conformance

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

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

// Soak runs the cases again and again, each time in another order, until the time is over; every case at least once. A
// case that fails is run again all the same, so that the report tells how often it does. It is for [Run].
func Soak(d time.Duration) Option { return func(s *suite) { s.soak = d } }

// Parallel lets n cases run at once. Those that need hooks run alone, unless the harness is [Harness].Isolated. [Test]
// leaves the number to go test's -parallel.
func Parallel(n int) Option { return func(s *suite) { s.parallel = n } }

// Slow stretches all timing by a factor, for a slow machine or a distant store.
func Slow(factor float64) Option { return func(s *suite) { s.slow = factor } }

// RequireHooks makes a case fail when the harness lacks the hook that it needs.
func RequireHooks() Option { return func(s *suite) { s.requireHooks = true } }

// HistoryDir has the histories that no order explains drawn, each on a page in the folder, which is made when it is
// needed. The failure and the report name the page. Without it [Test] draws into the test's artifacts (go test
// -artifacts) or a temporary folder, and [Run] draws nothing.
func HistoryDir(dir string) Option {
	return func(s *suite) {
		s.drawings = func() (string, error) { return dir, os.MkdirAll(dir, 0o755) }
	}
}

// Progress has f called after every case of [Run], one call at a time.
func Progress(f func(done, total int, r Result)) Option { return func(s *suite) { s.progress = f } }

// InBubble makes [Run] heed [Harness].Virtual, with bubbles of the test t. It is for tests that expect failures.
func InBubble(t *testing.T) Option { return func(s *suite) { s.bubble = t } }
