package saboteurs

import (
	"context"
	"time"

	"github.com/gobackplane/backplane/cache"
)

// driver is a cache driver with single methods replaced; nil is the honest one.
type driver struct {
	cache.Driver
	get     func(context.Context, []cache.Read) ([]cache.Got, error)
	set     func(context.Context, []cache.Write) ([]cache.Written, error)
	remove  func(context.Context, []cache.Removal) ([]cache.Removed, error)
	touch   func(context.Context, []cache.Lifetime) ([]cache.Touched, error)
	add     func(context.Context, []cache.Increment) ([]cache.Sum, error)
	keys    func(context.Context, cache.Page) (cache.Keys, error)
	acquire func(context.Context, []cache.Claim) ([]cache.Lease, error)
	renew   func(context.Context, []cache.Lease) ([]cache.Lease, error)
	release func(context.Context, []cache.Lease) ([]error, error)
}

// replacing makes a saboteur's cache function from one that replaces methods, and is given the honest backend.
func replacing(f func(honest cache.Backend, d *driver)) func(*cache.Backend) {
	return func(b *cache.Backend) {
		d := &driver{Driver: b.Driver}
		f(*b, d)
		b.Driver = d
	}
}

func (d *driver) Get(ctx context.Context, reads []cache.Read) ([]cache.Got, error) {
	if d.get != nil {
		return d.get(ctx, reads)
	}
	return d.Driver.Get(ctx, reads)
}

func (d *driver) Set(ctx context.Context, writes []cache.Write) ([]cache.Written, error) {
	if d.set != nil {
		return d.set(ctx, writes)
	}
	return d.Driver.Set(ctx, writes)
}

func (d *driver) Delete(ctx context.Context, removals []cache.Removal) ([]cache.Removed, error) {
	if d.remove != nil {
		return d.remove(ctx, removals)
	}
	return d.Driver.Delete(ctx, removals)
}

func (d *driver) Touch(ctx context.Context, lifetimes []cache.Lifetime) ([]cache.Touched, error) {
	if d.touch != nil {
		return d.touch(ctx, lifetimes)
	}
	return d.Driver.Touch(ctx, lifetimes)
}

func (d *driver) Add(ctx context.Context, increments []cache.Increment) ([]cache.Sum, error) {
	if d.add != nil {
		return d.add(ctx, increments)
	}
	return d.Driver.Add(ctx, increments)
}

func (d *driver) Keys(ctx context.Context, page cache.Page) (cache.Keys, error) {
	if d.keys != nil {
		return d.keys(ctx, page)
	}
	return d.Driver.Keys(ctx, page)
}

func (d *driver) Acquire(ctx context.Context, claims []cache.Claim) ([]cache.Lease, error) {
	if d.acquire != nil {
		return d.acquire(ctx, claims)
	}
	return d.Driver.Acquire(ctx, claims)
}

func (d *driver) Renew(ctx context.Context, leases []cache.Lease) ([]cache.Lease, error) {
	if d.renew != nil {
		return d.renew(ctx, leases)
	}
	return d.Driver.Renew(ctx, leases)
}

func (d *driver) Release(ctx context.Context, leases []cache.Lease) ([]error, error) {
	if d.release != nil {
		return d.release(ctx, leases)
	}
	return d.Driver.Release(ctx, leases)
}

// altered is a copy of elements with each changed by f.
func altered[E any](elements []E, f func(*E)) []E {
	all := make([]E, len(elements))
	for i, element := range elements {
		f(&element)
		all[i] = element
	}
	return all
}

// gap is where somebody else gets in between two steps that should be one.
func gap() { time.Sleep(time.Millisecond) }
