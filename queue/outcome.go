package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gobackplane/backplane/fault"
)

// Why a handler's context ended: see [context.Cause].
var (
	ErrShutdown  error = &fault.Error{Code: fault.Canceled, Op: opHandle, Message: "the worker is shutting down"}
	ErrCanceled  error = &fault.Error{Code: fault.Canceled, Op: opHandle, Message: "the task was cancelled on request"}
	ErrTimeout   error = &fault.Error{Code: fault.DeadlineExceeded, Op: opHandle, Message: "the task's timeout is over"}
	ErrDeadline  error = &fault.Error{Code: fault.DeadlineExceeded, Op: opHandle, Message: "the task's deadline exceeded"}
	ErrLeaseLost error = &fault.Error{Code: fault.LeaseLost, Op: opHandle, Message: "the task's lease is lost; another worker may run it"}
)

// errLeaseTaken is ErrLeaseLost as the store has told it, not this node's clock: then nothing is left to settle.
var errLeaseTaken error = &fault.Error{Code: fault.LeaseLost, Op: opHandle, Message: "the store has given the task's lease to another claim", Err: ErrLeaseLost}

// maxErrorText is what the store keeps of an error.
const maxErrorText = 4 << 10

// skipped ends a task's retries.
type skipped struct{ error }

func (s skipped) Unwrap() error { return s.error }

// Skip makes a handler's error final: the task is dead at once, whatever attempts it has left.
func Skip(err error) error {
	if err == nil {
		err = errors.New("skipped by its handler")
	}
	return skipped{err}
}

// delayed says itself when the task runs again.
type delayed struct {
	error
	delay time.Duration
}

func (d delayed) Unwrap() error { return d.error }

// RetryIn makes a handler's error one after which the task is tried again in d, in place of the back-off. The attempt
// counts, and after the last one the task is dead.
func RetryIn(err error, d time.Duration) error {
	if err == nil {
		err = errors.New("to be retried")
	}
	return delayed{err, max(d, 0)}
}

// snoozed puts a task off.
type snoozed struct{ delay time.Duration }

func (s snoozed) Error() string { return fmt.Sprintf("snoozed for %s", s.delay) }

// SnoozeFor is returned by a handler that cannot run the task yet: it runs again in d, and no attempt is counted.
func SnoozeFor(d time.Duration) error { return snoozed{max(d, 0)} }

// judge decides what becomes of a task, from what its handler returned and why its context had ended, if it had.
// false: nothing, because the claim is not ours any more.
func judge(d *Delivery, err, cause error, b Backoff, now time.Time) (Settlement, bool) {
	if err == nil {
		return Settlement{Outcome: Done, Result: d.result}, cause != errLeaseTaken
	}
	stopped := cause != nil && (errors.Is(err, context.Canceled) || errors.Is(err, cause))
	switch {
	case cause == errLeaseTaken, cause == ErrLeaseLost && stopped:
		return Settlement{}, false // the store counts the lost lease, and no attempt
	case cause == ErrCanceled:
		return Settlement{Outcome: Dead, Error: text("cancelled on request", err)}, true
	case cause == ErrShutdown && stopped:
		return Settlement{Outcome: Release}, true
	}
	return judgeFailure(&d.Task, err, b, now), true
}

// judgeFailure decides between another attempt and the end.
func judgeFailure(t *Task, err error, b Backoff, now time.Time) Settlement {
	var snooze snoozed
	var skip skipped
	var retry delayed
	switch {
	case errors.As(err, &snooze):
		return Settlement{Outcome: Snooze, Delay: snooze.delay}
	case errors.As(err, &skip):
		return Settlement{Outcome: Dead, Error: text("", err)}
	case t.Attempts+1 >= t.MaxAttempts:
		return Settlement{Outcome: Dead, Error: text(fmt.Sprintf("attempt %d of %d", t.Attempts+1, t.MaxAttempts), err)}
	}
	var delay time.Duration
	if errors.As(err, &retry) {
		delay = retry.delay
	} else {
		delay = max(b(t.Attempts+1, err), 0)
	}
	if !t.Deadline.IsZero() && now.Add(delay).After(t.Deadline) {
		return Settlement{Outcome: Dead, Error: text("deadline exceeded before another attempt", err)}
	}
	return Settlement{Outcome: Retry, Delay: delay, Error: text("", err)}
}

// text is an error as the store keeps it: valid UTF-8 and bounded.
func text(why string, err error) string {
	s := err.Error()
	if why != "" {
		s = why + ": " + s
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxErrorText {
		return s
	}
	cut := maxErrorText
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
