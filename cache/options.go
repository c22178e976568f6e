package cache

import (
	"math/rand/v2"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Option changes one operation. The options are [TTL], [Jitter], the conditions ([IfAbsent], [IfPresent],
// [IfRevision]), [WithExpiry], and the guards ([Under], [RespectLock], [WaitForLock], a [Guard]). One that says nothing
// about an operation, such as a TTL for a Get, makes it Invalid.
type Option interface {
	set(*settings) optionKind
}

type optionKind uint8

const (
	lifetimeOption optionKind = 1 << iota
	conditionOption
	expiryOption
	guardOption
)

func (k optionKind) String() string {
	switch k {
	case lifetimeOption:
		return "a lifetime (TTL, Jitter)"
	case conditionOption:
		return "a condition (IfAbsent, IfPresent, IfRevision)"
	case expiryOption:
		return "WithExpiry"
	}
	return "a guard (Under, RespectLock, WaitForLock, Guard)"
}

// settings are what the options of one operation come to.
type settings struct {
	ttl       time.Duration
	jitter    float64
	condition Condition
	expiry    bool
	guard     Guard
	lock      *Lock // of Under
	respect   bool
	wait      time.Duration
}

// TTL is a lifetime: of the entry that is written, of the counter or list that is created, or of a lock's lease.
// Without it, or at 0, an entry has no end and a lock [Options].LockTTL.
type TTL time.Duration

func (d TTL) set(s *settings) optionKind {
	s.ttl = time.Duration(d)
	return lifetimeOption
}

// Jitter shortens the lifetime that TTL gives by a random part of up to this fraction, so that entries written together
// do not end together: with 0.1, an hour becomes 54 to 60 minutes. It must be at least 0 and less than 1.
type Jitter float64

func (j Jitter) set(s *settings) optionKind {
	s.jitter = float64(j)
	return lifetimeOption
}

func (c Condition) set(s *settings) optionKind {
	s.condition = c
	return conditionOption
}

func (g Guard) set(s *settings) optionKind {
	s.guard = g
	return guardOption
}

type withExpiry struct{}

func (withExpiry) set(s *settings) optionKind {
	s.expiry = true
	return expiryOption
}

// WithExpiry asks a read for Entry.Expires, which costs some transports a second command.
func WithExpiry() Option { return withExpiry{} }

type under struct{ lock *Lock }

func (u under) set(s *settings) optionKind {
	s.lock = u.lock
	return guardOption
}

// Under guards an operation by a lock that the caller holds, and which must have the key's own name: the store refuses
// it, with Locked or Conflict, when the lock has meanwhile been given to another. When this process knows by itself that
// the lock is lost, it is LeaseLost and nothing is sent.
func Under(lock *Lock) Option { return under{lock} }

type respectLock struct{ wait time.Duration }

func (r respectLock) set(s *settings) optionKind {
	s.respect, s.wait = true, r.wait
	return guardOption
}

// RespectLock fails an operation with Locked while anybody holds the lock that has the key's name. Without it, or
// another guard, an operation does not look at locks.
func RespectLock() Option { return respectLock{} }

// WaitForLock is RespectLock that first waits, up to d, for the lock to be free. Together with another guard it waits
// for those whom that guard yields to.
func WaitForLock(d time.Duration) Option { return respectLock{wait: d} }

// settle reads the options of an operation upon a key (or several, then key is empty) that allows those kinds.
func (c *Cache) settle(op, key string, allowed optionKind, options []Option) (settings, error) {
	if len(options) == 0 {
		return settings{}, nil
	}
	return c.settleAll(op, key, allowed, options)
}

func (c *Cache) settleAll(op, key string, allowed optionKind, options []Option) (settings, error) {
	var s settings
	for _, option := range options {
		if option == nil {
			return s, c.fault(fault.Invalid, op, key, "an option is nil; leave it out")
		}
		if kind := option.set(&s); kind&allowed == 0 {
			return s, c.fault(fault.Invalid, op, key, "%v does not apply here; leave it out", kind)
		} else if u, is := option.(under); is && u.lock == nil {
			return s, c.fault(fault.Invalid, op, key, "the lock given to Under is nil; give the one that Lock returned")
		}
	}
	if s.jitter != 0 {
		if err := c.checkFraction(op, key, s.jitter); err != nil {
			return s, err
		}
		s.ttl = shortened(s.ttl, s.jitter*rand.Float64(), c.backend.Capabilities.MinTTL)
	}
	if s.lock != nil {
		if err := s.lock.check(c, op, key); err != nil {
			return s, err
		}
		s.guard = s.lock.Guard()
	}
	if s.respect && s.guard == (Guard{}) {
		s.guard.Holder = c.reader
	}
	return s, nil
}

func (c *Cache) checkFraction(op, key string, fraction float64) error {
	if fraction >= 0 && fraction < 1 { // refuses NaN, too
		return nil
	}
	return c.fault(fault.Invalid, op, key, "a jitter of %v; it must be at least 0 and less than 1", fraction)
}

// shortened takes a fraction from a lifetime, but leaves the least that a store takes (unless it was less before).
func shortened(d time.Duration, fraction float64, least time.Duration) time.Duration {
	return max(d-time.Duration(float64(d)*fraction), min(d, least))
}
