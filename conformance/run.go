package conformance

import (
	"context"
	"sync"
	"time"
)

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
