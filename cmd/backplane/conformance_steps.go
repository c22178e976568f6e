package main

import (
	"context"
	"errors"
	"io"

	"github.com/gobackplane/backplane/conformance"
)

// checkSteps refuses what --steps has no use for: it decides itself what is run, and writes for people.
func (f conformanceFlags) checkSteps() error {
	switch {
	case !f.steps:
		return nil
	case f.run != "":
		return errors.New("--steps and --run exclude each other; leave --steps out to run what you name")
	case f.soak > 0:
		return errors.New("--steps and --soak exclude each other; soak when all steps are done")
	case f.format != "text" || len(f.reports) > 0:
		return errors.New("--steps writes text for people; leave it out for a report in another format, or in a file")
	}
	return nil
}

// walk goes step by step as far as all is well.
func (f conformanceFlags) walk(ctx context.Context, h conformance.Harness, out, progress io.Writer) error {
	plan := conformance.Next(ctx, h, append(f.options(progress), showProgress(progress))...)
	if ctx.Err() != nil {
		return context.Cause(ctx) // what was cut short would look like failures
	}
	plan.Again = f.again()
	if err := plan.WriteText(out); err != nil {
		return err
	}
	if !plan.OK() {
		return errFailed
	}
	return nil
}
