package cache

import (
	"github.com/gobackplane/backplane/fault"
)

// What errors.Is finds in the errors of this package. They are codes of package fault, which has the others too.
const (
	ErrNotFound  = fault.NotFound  // there is no such entry, or its absence is cached
	ErrConflict  = fault.Conflict  // a condition did not hold, or a fence is older than the last given
	ErrLocked    = fault.Locked    // another holder has the lock
	ErrLeaseLost = fault.LeaseLost // the lock was lost: it is, or may be, another's
	ErrClosed    = fault.Closed    // used after Close
)

// fault makes an error with its circumstances.
func (c *Cache) fault(code fault.Code, op, subject, format string, args ...any) error {
	f := fault.New(code, format, args...)
	f.Op, f.Subject, f.Transport = op, subject, c.options.Transport
	return f
}

// at gives an error from below its circumstances, where it does not bring its own. at(nil, …) is nil.
func (c *Cache) at(err error, op, subject string) error {
	if err == nil {
		return nil
	}
	f, ok := fault.In(err, op, subject).(*fault.Error)
	if ok && f.Transport == "" {
		f.Transport = c.options.Transport
	}
	return f
}

func (c *Cache) closedFault(op, subject string) error {
	return c.fault(fault.Closed, op, subject, "the cache is closed")
}

func (c *Cache) notFound(op, subject string) error {
	return &fault.Error{Code: fault.NotFound, Op: op, Subject: subject, Transport: c.options.Transport, Message: "there is no such entry"}
}

// unsupported refuses what the transport does not offer; nil when it is offered and the Cache is open.
func (c *Cache) offered(is bool, op, subject, what string) error {
	if c.closed.Load() {
		return c.closedFault(op, subject)
	}
	if !is {
		return c.fault(fault.Unsupported, op, subject, "this transport offers no %s; choose one that does", what)
	}
	return nil
}
