package conformance_test

import (
	"context"
	"fmt"

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
