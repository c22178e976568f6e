package saboteurs_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/conformance/saboteurs"
	"github.com/gobackplane/backplane/transports"
	"github.com/gobackplane/backplane/transports/memory"
)

// honest is the memory transport.
func honest(virtual bool) conformance.Harness {
	return conformance.Harness{
		New:     func(conformance.T) conformance.Cluster { return &cluster{} },
		Virtual: virtual,
		// No verdict here may come from a slow machine.
		Timing: conformance.Timing{Case: 5 * time.Minute, Wait: time.Minute, Prompt: 10 * time.Second},
	}
}

type cluster struct{ store memory.Store }

func (c *cluster) Open(t conformance.T, namespace string) transports.Transport {
	node, err := c.store.Open(namespace)
	require.NoError(t, err)
	return node
}

var matrix = flag.Bool("matrix", false, "run every case on every saboteur, which takes minutes")

// huge is a case that takes the race detector as long as a hundred others.
const huge = "rpc/stack/a-payload-of-64-mib"

// others are cases that the saboteur must not make fail, one in so many. The saboteurs take turns at them.
func others(s saboteurs.Saboteur, turn, oneIn int) []string {
	var names []string
	for i, c := range conformance.All() {
		if *matrix && c.Name != s.Case || (i+turn)%oneIn == 0 && c.Name != huge && !s.MayFail(c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}

func only(names ...string) conformance.Option { return conformance.Match(strings.Join(names, ",")) }

func TestEverySaboteurIsCaught(t *testing.T) {
	cases := map[string]bool{}
	for _, c := range conformance.All() {
		cases[c.Name] = true
	}
	names := map[string]bool{}
	all := saboteurs.All()
	rows := make([]string, len(all))
	if *matrix {
		slog.SetDefault(slog.New(slog.DiscardHandler)) // of what saboteurs do to caches and workers
		t.Cleanup(func() {
			fmt.Println("| saboteur | its case | result | other cases that pass | that follow |\n|---|---|---|---|---|\n" + strings.Join(rows, "\n"))
		})
	}
	for i, s := range all {
		require.False(t, names[s.Name], "two saboteurs are called %s", s.Name)
		names[s.Name] = true
		require.True(t, cases[s.Case], "%s names a case that does not exist: %s", s.Name, s.Case)

		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			report := conformance.Run(t.Context(), s.Harness(honest(true)), conformance.InBubble(t), only(append(others(s, i, 20), s.Case)...))

			own, pass, follow := conformance.Outcome("not run"), 0, 0
			for _, r := range report.Results {
				switch {
				case r.Case.Name == s.Case:
					own = r.Outcome
				case r.Outcome != conformance.Fail:
					pass++
				case s.MayFail(r.Case.Name):
					follow++
				default:
					t.Errorf("it made another case fail: %s\n%s", r.Case.Name, r.Reason)
				}
			}
			rows[i] = fmt.Sprintf("| %s | %s | %s | %d | %d |", s.Name, s.Case, own, pass, follow)
			if own != conformance.Fail {
				t.Errorf("it survived %s: %s", s.Case, own)
			}
		})
	}
}

const asChild = "BACKPLANE_SABOTEURS_CHILD"

// TestFrontEnd is what TestFrontEndsAgree runs in a process of its own, where the cases may fail.
func TestFrontEnd(t *testing.T) {
	if os.Getenv(asChild) == "" {
		return
	}
	for i, s := range saboteurs.All() {
		t.Run(s.Name, func(t *testing.T) {
			conformance.Test(t, s.Harness(honest(true)), only(append(others(s, i, 160), s.Case)...), conformance.HistoryDir(t.TempDir()))
		})
	}
}

// TestFrontEndsAgree runs the same cases on every saboteur through go test, in virtual time, and through Run, in real time.
func TestFrontEndsAgree(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.CommandContext(t.Context(), self, "-test.run=^TestFrontEnd$", "-test.v")
	child.Env = append(os.Environ(), asChild+"=1")
	all := saboteurs.All()
	results := make([][]conformance.Result, len(all))
	var group sync.WaitGroup
	var output []byte
	group.Go(func() { output, _ = child.CombinedOutput() }) // it fails, on purpose
	turns := make(chan struct{}, 24)                        // most of the time they wait for lifetimes to end
	for i, s := range all {
		group.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			results[i] = inRealTime(t.Context(), s, others(s, i, 160))
		})
	}
	group.Wait()
	words := map[string]conformance.Outcome{"PASS": conformance.Pass, "FAIL": conformance.Fail, "SKIP": conformance.NotExercised}
	tested := map[string]conformance.Outcome{}
	for _, match := range regexp.MustCompile(`(?m)^ +--- (PASS|FAIL|SKIP): TestFrontEnd/(\S+) `).FindAllStringSubmatch(string(output), -1) {
		tested[match[2]] = words[match[1]]
	}

	for i, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			for _, r := range results[i] {
				got, found := tested[s.Name+"/"+r.Case.Name]
				require.True(t, found, "the front end for go test did not run %s\n%.2000s", r.Case.Name, output)
				if r.Outcome == conformance.Refused {
					r.Outcome = conformance.Pass // go test has no word for it
				}
				require.Equal(t, r.Outcome, got, "%s: %s", r.Case.Name, r.Reason)
			}
		})
	}
}

// inRealTime runs cases on a saboteur, and then the case that must catch it: what never comes need not be waited for as long
// as what may be late. Where the clock on the wall decides, a busy machine may let a saboteur pass now and then, so that
// case is tried more than once; what must not fail is not.
func inRealTime(ctx context.Context, s saboteurs.Saboteur, others []string) (results []conformance.Result) {
	harness := s.Harness(honest(false))
	harness.Timing.Case = time.Minute
	if s.Name == "hangs" { // everywhere
		harness.Timing.Case, others = 5*time.Second, nil
	}
	if len(others) > 0 {
		results = conformance.Run(ctx, harness, only(others...)).Results
	}
	harness.Timing.Wait = 5 * time.Second
	own := func() conformance.Result { return conformance.Run(ctx, harness, only(s.Case)).Results[0] }
	r := own()
	for tries := 1; r.Outcome == conformance.Pass && tries < 10; tries++ {
		r = own()
	}
	return append(results, r)
}
