package cache

import (
	"context"
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

// one sends a single element. It is the hot path: when all is well, it costs the slice.
func one[E element, R any, P result[R]](ctx context.Context, c *Cache, q call[E, R], e E, wait time.Duration) (R, error) {
	if c.closed.Load() || c.backend.Driver == nil {
		var none R
		return none, c.offered(c.backend.Driver != nil, q.op, e.subject(), "cache")
	}
	elements := []E{e}
	results, err := exchange(ctx, c, q, elements)
	if err == nil && *P(&results[0]).failure() == nil {
		return results[0], nil
	}
	b := batch[E, R, P]{c: c, call: q, elements: elements, results: results, failure: err, wait: wait}
	b.again(ctx)
	return b.results[0], c.at(*P(&b.results[0]).failure(), q.op, e.subject())
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
		b := batch[E, R, P]{c: c, call: q, elements: elements[len(all):min(len(all)+largest, len(elements))], wait: wait}
		b.results, b.failure = exchange(ctx, c, q, b.elements)
		b.again(ctx)
		all = append(all, b.results...)
		failure = b.failure
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
func exchange[E element, R any](ctx context.Context, c *Cache, q call[E, R], elements []E) ([]R, error) {
	results, err := q.send(c.backend, ctx, elements)
	if err == nil && len(results) != len(elements) {
		err = c.fault(fault.Internal, q.op, "", "the transport gave %d answers to %d elements", len(results), len(elements))
	}
	return results, err
}

func failed[R any, P result[R]](n int, err error) []R {
	results := make([]R, n)
	for i := range results {
		*P(&results[i]).failure() = err
	}
	return results
}
