// Package fault is the vocabulary of failure that every layer of Backplane shares: a small set of codes, and an error
// that carries one together with what was being done, to what, on which transport and node.
//
//	if errors.Is(err, fault.Locked) { … }      // by code
//	if fault.CodeOf(err) == fault.Unavailable { … }
//	var f *fault.Error; errors.As(err, &f)     // all of it
//
// A fault raised by a handler on another node arrives with its code and Remote set. Logic that reacts to the state of
// the cluster (retry, no receiver, node gone) looks at local faults only; see [LocalCode].
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Error is a failure with its circumstances. Only Code is required.
type Error struct {
	Code      Code
	Op        string // what was done: "cache: set", "queue: claim"
	Subject   string // to what: a key, subject, queue, task ID, method or address
	Transport string // by which transport: "redis"
	Node      string // the node where the fault arose; empty for this one
	Remote    bool   // raised by a handler on another node
	Retryable bool   // the same call may succeed later, and repeating it does no harm
	Message   string // what was wrong, the limit, and the remedy
	Err       error  // the cause
}

// Error reads like `cache: set "user:42": value is 2.1 MiB, nats allows 1 MiB (max_payload)`.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
	}
	if e.Subject != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%.200q", e.Subject)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	switch {
	case e.Message != "" && e.Err != nil && !strings.Contains(e.Message, e.Err.Error()):
		b.WriteString(e.Message + ": " + e.Err.Error())
	case e.Message != "":
		b.WriteString(e.Message)
	case e.Err != nil:
		b.WriteString(e.Code.String() + ": " + e.Err.Error())
	default:
		b.WriteString(e.Code.String())
	}
	if e.Remote && e.Node != "" {
		b.WriteString(" (on node " + e.Node + ")")
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is this error's Code, or the context error of the same meaning.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == Canceled
	case context.DeadlineExceeded:
		return e.Code == DeadlineExceeded
	}
	code, ok := target.(Code)
	return ok && code == e.Code
}

// New makes an Error of a code with a formatted message; %w in the format sets the cause.
func New(code Code, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: wrapped.Error(), Err: errors.Unwrap(wrapped)}
}

// In returns err as an *Error that says the operation and subject at which it was met. Fields already set are kept, so
// the innermost, most precise circumstances win. A context error gets its code; any other foreign error is Internal.
// In(nil, …) is nil.
func In(err error, op, subject string) error {
	if err == nil {
		return nil
	}
	var at Error
	var known *Error
	if errors.As(err, &known) && err == error(known) {
		at = *known
	} else {
		at = Error{Code: CodeOf(err), Err: err}
	}
	if at.Op == "" {
		at.Op = op
	}
	if at.Subject == "" {
		at.Subject = subject
	}
	return &at
}

// CodeOf is the code of the first *Error or Code in err's chain; Canceled or DeadlineExceeded for a context error; OK
// for nil; and Internal for any other error.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var known *Error
	if errors.As(err, &known) {
		return known.Code
	}
	var code Code
	if errors.As(err, &code) {
		return code
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	}
	return Internal
}

// LocalCode is CodeOf for faults that arose on this node, and OK for those raised by a remote handler: what a remote
// handler returns says nothing about this node's links.
func LocalCode(err error) Code {
	if IsRemote(err) {
		return OK
	}
	return CodeOf(err)
}

// IsRemote reports whether err was raised by a handler on another node.
func IsRemote(err error) bool {
	var known *Error
	return errors.As(err, &known) && known.Remote
}

// IsRetryable reports whether repeating the call may help and does no harm.
func IsRetryable(err error) bool {
	var known *Error
	return errors.As(err, &known) && known.Retryable
}

// FromContext is the fault for a context that has ended: Canceled or DeadlineExceeded, with its cause. It is nil while
// ctx is live.
func FromContext(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	code := Canceled
	if errors.Is(err, context.DeadlineExceeded) {
		code = DeadlineExceeded
	}
	return &Error{Code: code, Err: context.Cause(ctx)}
}
