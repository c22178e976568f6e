package cache

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// element is one argument of a driver's call.
type element interface{ subject() string }

// result is one answer of a driver's call.
type result[R any] interface {
	*R
	failure() *error
}

func (r Read) subject() string      { return r.Key }
func (w Write) subject() string     { return w.Key }
func (r Removal) subject() string   { return r.Key }
func (l Lifetime) subject() string  { return l.Key }
func (i Increment) subject() string { return i.Key }
func (p Push) subject() string      { return p.List }
func (p Pop) subject() string       { return p.List }
func (r Range) subject() string     { return r.List }

func (g *Got) failure() *error     { return &g.Err }
func (w *Written) failure() *error { return &w.Err }
func (r *Removed) failure() *error { return &r.Err }
func (t *Touched) failure() *error { return &t.Err }
func (s *Sum) failure() *error     { return &s.Err }
func (l *Length) failure() *error  { return &l.Err }
func (p *Popped) failure() *error  { return &p.Err }

// call is one kind of driver call: how it is sent, and what may be done when it fails.
type call[E element, R any] struct {
	op         string
	send       func(*Backend, context.Context, []E) ([]R, error)
	repeatable func(E) bool // sending it twice does no harm; nil: it may
}

// A failed call that may be repeated is, this often and so much later, doubled each time.
const (
	repeats     = 2
	repeatDelay = 40 * time.Millisecond
)

// Waiting for a lock asks again with growing delays up to the longest that the design allows.
const (
	firstAsk   = 5 * time.Millisecond
	longestAsk = 250 * time.Millisecond
)

// jittered is d shortened at random by up to a quarter, so that those who wait do not ask together.
func jittered(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// one sends a single element. It is the hot path: when all is well, it costs the slice.
func one[E element, R any, P result[R]](ctx context.Context, c *Cache, q call[E, R], e E, wait time.Duration) (R, error) {
	if c.closed.Load() || c.backend.Driver == nil {
		var none R
		return none, c.offered(c.backend.Driver != nil, q.op, e.subject(), "cache")
	}
	elements := []E{e}
	results, err := exchange[E, R, P](ctx, c, q, elements)
	if err == nil && *P(&results[0]).failure() == nil {
		return results[0], nil
	}
	results, _ = again[E, R, P](ctx, c, q, elements, results, err, wait)
	return results[0], c.at(*P(&results[0]).failure(), q.op, e.subject())
}

// many sends elements in as many calls as the transport's largest batch makes necessary. Each result has its own error;
// the error beside them concerned a whole call, and is found in the results of its elements, and of those that were not
// sent any more because of it.
func many[E element, R any, P result[R]](ctx context.Context, c *Cache, q call[E, R], elements []E, wait time.Duration) ([]R, error) {
	if err := c.offered(c.backend.Driver != nil, q.op, "", "cache"); err != nil {
		return nil, err
	}
	largest := c.batchSize()
	all := make([]R, 0, len(elements))
	var failure error
	for len(all) < len(elements) && failure == nil {
		some := elements[len(all):min(len(all)+largest, len(elements))]
		results, err := exchange[E, R, P](ctx, c, q, some)
		results, failure = again[E, R, P](ctx, c, q, some, results, err, wait)
		all = append(all, results...)
	}
	if failure != nil {
		all = append(all, failed[R, P](len(elements)-len(all), failure)...)
	}
	for i := range all {
		at := P(&all[i]).failure()
		*at = c.at(*at, q.op, elements[i].subject())
	}
	return all, c.at(failure, q.op, "")
}

func (c *Cache) batchSize() int {
	if n := c.backend.Capabilities.MaxBatch; n > 0 {
		return n
	}
	return 1000 // what every transport takes
}

// exchange makes one driver call, and does not trust its answer to have the right length.
func exchange[E element, R any, P result[R]](ctx context.Context, c *Cache, q call[E, R], elements []E) ([]R, error) {
	results, err := q.send(c.backend, ctx, elements)
	if err == nil && len(results) != len(elements) {
		err = c.fault(fault.Internal, q.op, "", "the transport gave %d answers to %d elements", len(results), len(elements))
	}
	return results, err
}

// again repeats what of a call may be repeated: reads and harmless writes for which the store was unavailable, a few
// times; and, while the caller wants to wait, what met a lock. It answers a result for each element, and the error of
// the last call when that failed as a whole.
func again[E element, R any, P result[R]](ctx context.Context, c *Cache, q call[E, R], elements []E, results []R, err error, wait time.Duration) ([]R, error) {
	if err != nil {
		results = failed[R, P](len(elements), err)
	}
	var deadline time.Time
	if wait > 0 {
		deadline = time.Now().Add(wait)
	}
	tries, delay := 0, time.Duration(0)
	for {
		var pending []int
		unavailable := false
		for i := range results {
			failure := *P(&results[i]).failure()
			switch fault.CodeOf(failure) {
			case fault.Unavailable:
				if tries < repeats && fault.IsRetryable(failure) && q.repeatable != nil && q.repeatable(elements[i]) {
					pending, unavailable = append(pending, i), true
				}
			case fault.Locked:
				if wait > 0 && time.Now().Before(deadline) {
					pending = append(pending, i)
				}
			}
		}
		if len(pending) == 0 {
			return results, err
		}
		if unavailable {
			tries++
			delay = repeatDelay << tries
		} else {
			delay = min(max(firstAsk, 2*delay), longestAsk, max(time.Until(deadline), time.Millisecond))
		}
		if failure := c.pause(ctx, jittered(delay)); failure != nil {
			for _, i := range pending {
				*P(&results[i]).failure() = failure
			}
			return results, err
		}
		err = repeat[E, R, P](ctx, c, q, elements, results, pending)
	}
}

// repeat sends the pending elements once more, and puts their results in place.
func repeat[E element, R any, P result[R]](ctx context.Context, c *Cache, q call[E, R], elements []E, results []R, pending []int) error {
	some := make([]E, len(pending))
	for k, i := range pending {
		some[k] = elements[i]
	}
	newer, err := exchange[E, R, P](ctx, c, q, some)
	if err != nil {
		newer = failed[R, P](len(some), err)
	}
	for k, i := range pending {
		results[i] = newer[k]
	}
	return err
}

func failed[R any, P result[R]](n int, err error) []R {
	results := make([]R, n)
	for i := range results {
		*P(&results[i]).failure() = err
	}
	return results
}
