package conformance

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets that be what hangs in a case: it is left behind on purpose, with the bubble around it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/gobackplane/backplane/conformance.(*recorder).step.func1"),
		goleak.IgnoreAnyFunction("github.com/gobackplane/backplane/conformance.(*recorder).step"),
		goleak.IgnoreAnyFunction("testing/synctest.Test.func1"),
	)
}
