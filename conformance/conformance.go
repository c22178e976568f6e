// Package conformance says what a transport must do, as a suite that any transport can be put through: from go test
// with [Test], from a program with [Run]. Both run the same table of cases, [All].
//
//	func TestConformance(t *testing.T) {
//		conformance.Test(t, conformance.Of(transports.Settings{URL: "mine://127.0.0.1:7000"}))
//	}
//
// A case is one promise of the contract and is named after it: cache/lock/release-by-non-holder-is-refused. It gets a
// namespace of its own, opens as many nodes on it as it likes, and ends in one of five ways:
//
//   - pass, or fail;
//   - refused: the transport does not declare the ability, and it was checked that it is refused properly;
//   - not exercised: the case needs a [Hook] that the harness does not offer; listed and counted, and a failure with
//     [RequireHooks];
//   - waived: it fails, and the harness says why that is known. A waiver that is no longer needed fails.
//
// What a transport declares in its capabilities is all that decides which of these it is: there is no second list to
// keep, and nothing is ever skipped.
//
// A [Report] is for people (text, Markdown, a page) and programs (JSON, JUnit). It has, for each failed case, what was
// expected and seen and the calls that led there, and for each concern a [Grade]: core, full or fault-tolerant.
//
// The suite itself is tested by transports that each break one promise: see the package saboteurs.
package conformance

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/transports"
)

// T is what a case sees of its test. A *testing.T is one, and so is what [Run] uses; testify's require and assert work
// on it. There is no Skip, on purpose: a promise that was not checked must never look like one that held.
//
// FailNow ends the case and nothing else. Like testing.T's it must be called on the case's own goroutine, and so must
// everything of require; Errorf and Logf may be called on any.
type T interface {
	Helper()
	Name() string
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	FailNow()
	Cleanup(func())
}

// Harness is what the suite needs to know of a transport under test. Only New is required.
type Harness struct {
	// New makes the cluster of one case: a store that its nodes share. It is called once for every case and may hand
	// out the same store each time, since every case has namespaces of its own.
	New func(T) Cluster

	// Virtual runs each case of [Test] in a testing/synctest bubble, so that time costs nothing. It is for transports
	// that live wholly in the process. [Run] heeds it with the option [InBubble] only.
	Virtual bool

	// Isolated says that New hands out a store that no other case has at that time, so that those with hooks may run side
	// by side too; see [Parallel].
	Isolated bool

	// Timing bounds waiting; the zero value suits a store on the same machine.
	Timing Timing

	// Waivers give, by name, the cases that are known to fail, each with the reason that is to be shown.
	Waivers map[string]string
}

// Cluster is the store of one case. It may offer hooks beside Open, by implementing [Restarter], [Partitioner],
// [Cutter], [Crasher], [Pauser] or [ClockAdvancer]; see [HookChooser] too.
type Cluster interface {
	// Open opens a node on the store, in the namespace. The suite closes it when the case ends. Nodes are numbered from
	// 0 in the order in which they are opened: the hooks name them so.
	Open(t T, namespace string) transports.Transport
}

// Restarter can stop the store and start it again with what it has kept.
type Restarter interface {
	// Restart returns when the store answers again.
	Restart(ctx context.Context) error
}

// Partitioner can make a link swallow packets while its connections stay open.
type Partitioner interface {
	// Partition takes the node off the store until heal is called, which may be called twice. New connections of the
	// node hang too.
	Partition(ctx context.Context, node int) (heal func(), err error)
}

// Cutter can close the connections that a node has to the store.
type Cutter interface {
	// Cut closes them. The node may connect again at once.
	Cut(ctx context.Context, node int) error
}

// Crasher can end a node without a goodbye.
type Crasher interface {
	// Crash ends it for good: nothing that it would still send reaches the store.
	Crash(ctx context.Context, node int) error
}

// Pauser can stop the store for a while, as SIGSTOP does.
type Pauser interface {
	// Pause stops the store until resume is called, which may be called twice.
	Pause(ctx context.Context) (resume func(), err error)
}

// ClockAdvancer can move the store's clock.
type ClockAdvancer interface {
	// AdvanceClock moves it forward, and returns when it has moved.
	AdvanceClock(d time.Duration)
}
