package conformance_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/gobackplane/backplane/conformance"
	"github.com/gobackplane/backplane/transports"
	_ "github.com/gobackplane/backplane/transports/memory"
)

// A program can put any transport that it has compiled in through the suite, or through a part of it.
func ExampleRun() {
	harness := conformance.Of(transports.Settings{URL: "memory:"})
	report := conformance.Run(context.Background(), harness, conformance.Match("cache/lock/release-*"))

	fmt.Println(report.OK(), report.Count(conformance.Pass))
	// Output: true 5
}

// Each concern has a level, or else the reason why it has none: here only some of its cases were run.
func ExampleReport_Grades() {
	harness := conformance.Of(transports.Settings{URL: "memory:"})
	report := conformance.Run(context.Background(), harness, conformance.Match("cache/lock/release-*"))

	for _, grade := range report.Grades() {
		fmt.Println(grade.Concern, grade.Standing)
	}
	// Output:
	// lock partial
}

// A report can be a page, for people, beside what build servers and programs read.
func ExampleReport_WriteHTML() {
	harness := conformance.Of(transports.Settings{URL: "memory:"})
	report := conformance.Run(context.Background(), harness, conformance.Match("cache/history"))
	report.Transport = "memory"

	var page strings.Builder
	if err := report.WriteHTML(&page); err != nil {
		fmt.Println(err)
	}
	fmt.Println(strings.Contains(page.String(), "Every promise that was checked is kept."))
	// Output: true
}

// The order in which a transport is best written; Next and TestNext follow it.
func ExampleSteps() {
	for _, step := range conformance.Steps()[:4] {
		fmt.Printf("%s: %s\n", step.Name, step.Title)
	}
	// Output:
	// open: Open, Health, Close, and what it says of itself
	// entries: Get and Set: what was set is got, by every node
	// delete: Delete, and revisions that never repeat
	// conditions: If: conditions, in one atomic step with the write
}
