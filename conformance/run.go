package conformance

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Run runs the suite and reports. It is the front end for everything but go test, and always in real time, unless it is
// given a bubble. When ctx ends the cases that are left fail.
func Run(ctx context.Context, h Harness, options ...Option) Report {
	s := newSuite(h, options)
	report := Report{Started: time.Now(), Seed: s.seed, Results: make([]Result, len(s.cases)), Rounds: 1}
	order := make([]int, len(s.cases))
	for i := range order {
		order[i] = i
	}
	s.round(order, func(i int) Result {
		report.Results[i] = s.judge(ctx, s.cases[i], s.bubble)
		return report.Results[i]
	})
	for s.soaks(ctx, report.Started) {
		rand.New(rand.NewPCG(s.seed, uint64(report.Rounds))).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		report.Rounds++
		s.round(order, func(i int) Result {
			if s.soaks(ctx, report.Started) {
				report.Results[i] = report.Results[i].and(s.judge(ctx, s.cases[i], s.bubble))
			}
			return report.Results[i]
		})
	}

	for _, name := range s.strayWaivers() {
		report.Results = append(report.Results, Result{
			Case: Case{Name: name}, Outcome: Fail, Reason: "there is a waiver for this case, and no such case",
		})
	}
	report.Took = time.Since(report.Started)
	return report
}

// soaks reports whether there is time left to soak in.
func (s *suite) soaks(ctx context.Context, since time.Time) bool {
	return ctx.Err() == nil && len(s.cases) > 0 && time.Since(since) < s.soak
}

// round runs each case once, in the order given: first those that may run side by side, then the others.
func (s *suite) round(order []int, run func(i int) Result) {
	progress := s.countdown()
	free, alone := s.split(order)
	var group sync.WaitGroup
	queue := make(chan int)
	for range max(1, s.parallel) {
		group.Go(func() {
			for i := range queue {
				progress(run(i))
			}
		})
	}
	for _, i := range free {
		queue <- i
	}
	close(queue)
	group.Wait()
	for _, i := range alone {
		progress(run(i))
	}
}

// and is the result of a case after another run of it: a failure stays one.
func (r Result) and(next Result) Result {
	sum := next
	if r.Outcome == Fail && next.Outcome != Fail {
		sum = r
	}
	sum.Runs, sum.Failed = r.Runs+next.Runs, r.Failed+next.Failed
	sum.Took = r.Took + next.Took
	sum.Drawings = slices.Concat(r.Drawings, next.Drawings)
	return sum
}
