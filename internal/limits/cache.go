package limits

import (
	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
)

// Cache checks what is given to a cache.Driver, cache.Lists, cache.Holders or cache.Watcher.
type Cache struct {
	Transport string // named in errors
	cache.Capabilities
}

const smallerValue = "store it in parts, or elsewhere with a reference here"

func (c Cache) at(op, subject string) at { return at{c.Transport, op, subject} }

// Batch checks the number of elements of one call.
func (c Cache) Batch(op string, n int) error { return c.at(op, "").batch(n, c.MaxBatch) }

// Key checks a key, lock name or list name, and the guard beside it.
func (c Cache) Key(op, key string, g cache.Guard) error {
	if key != "" && len(key) <= c.MaxKey && len(g.Holder) <= c.MaxKey {
		return nil
	}
	a := c.at(op, key)
	return first(a.name("key", key, c.MaxKey), a.length("guard's holder", g.Holder, c.MaxKey))
}

// Read checks one element of Driver.Get, or of Lists.Length under its own op.
func (c Cache) Read(op string, r cache.Read) error { return c.Key(op, r.Key, r.Guard) }

// Write checks one element of Driver.Set.
func (c Cache) Write(w cache.Write) error {
	const op = "cache: set"
	if err := c.Key(op, w.Key, w.Guard); err != nil {
		return err
	}
	a := c.at(op, w.Key)
	if err := a.size("value", len(w.Value), c.MaxValue, smallerValue); err != nil {
		return err
	}
	return a.lifetime("lifetime", w.TTL, c.MinTTL)
}

// Removal checks one element of Driver.Delete.
func (c Cache) Removal(r cache.Removal) error { return c.Key("cache: delete", r.Key, r.Guard) }

// Lifetime checks one element of Driver.Touch.
func (c Cache) Lifetime(l cache.Lifetime) error {
	const op = "cache: touch"
	if err := c.Key(op, l.Key, l.Guard); err != nil {
		return err
	}
	return c.at(op, l.Key).lifetime("lifetime", l.TTL, c.MinTTL)
}

// Increment checks one element of Driver.Add.
func (c Cache) Increment(i cache.Increment) error {
	const op = "cache: add"
	if err := c.Key(op, i.Key, i.Guard); err != nil {
		return err
	}
	return c.at(op, i.Key).lifetime("lifetime", i.TTL, c.MinTTL)
}

// Page checks a listing. A prefix may be empty, and longer than any key: then nothing begins with it.
func (c Cache) Page(op string, p cache.Page) error {
	return c.at(op, p.Prefix).atLeast("the page's limit", p.Limit, 0)
}

// Claim checks one element of Driver.Acquire.
func (c Cache) Claim(cl cache.Claim) error {
	a := c.at("cache: acquire", cl.Lock)
	return first(
		a.name("lock's name", cl.Lock, c.MaxKey),
		a.name("holder", cl.Holder, c.MaxKey),
		a.term("lease", cl.TTL, c.MinTTL),
		a.notNegative("the wait", cl.Wait),
	)
}

// Renewal checks one element of Driver.Renew.
func (c Cache) Renewal(l cache.Lease) error {
	const op = "cache: renew"
	if err := c.lease(op, l); err != nil {
		return err
	}
	return c.at(op, l.Lock).term("lease", l.TTL, c.MinTTL)
}

// Release checks one element of Driver.Release.
func (c Cache) Release(l cache.Lease) error { return c.lease("cache: release", l) }

func (c Cache) lease(op string, l cache.Lease) error {
	a := c.at(op, l.Lock)
	return first(a.name("lock's name", l.Lock, c.MaxKey), a.name("holder", l.Holder, c.MaxKey))
}

// Push checks one element of Lists.Push: each value has the limit of an entry's, and there are not more than a batch
// may have.
func (c Cache) Push(p cache.Push) error {
	const op = "cache: push"
	if err := c.Key(op, p.List, p.Guard); err != nil {
		return err
	}
	a := c.at(op, p.List)
	if len(p.Values) == 0 {
		return a.refuse(fault.Invalid, "there are no values to push; give at least one")
	}
	if err := a.batch(len(p.Values), c.MaxBatch); err != nil {
		return err
	}
	for _, value := range p.Values {
		if err := a.size("value", len(value), c.MaxValue, smallerValue); err != nil {
			return err
		}
	}
	return a.lifetime("lifetime", p.TTL, c.MinTTL)
}

// Pop checks one element of Lists.Pop.
func (c Cache) Pop(p cache.Pop) error {
	const op = "cache: pop"
	return first(c.Key(op, p.List, p.Guard), c.at(op, p.List).atLeast("Max", p.Max, 1))
}

// Range checks one element of Lists.Range.
func (c Cache) Range(r cache.Range) error {
	const op = "cache: range"
	a := c.at(op, r.List)
	return first(c.Key(op, r.List, r.Guard), a.atLeast("Start", r.Start, 0), a.atLeast("Max", r.Max, 1))
}

// Drop checks one element of Lists.Drop.
func (c Cache) Drop(r cache.Removal) error {
	const op = "cache: drop"
	if err := c.Key(op, r.Key, r.Guard); err != nil {
		return err
	}
	if !r.If.IsAlways() {
		return c.at(op, r.Key).refuse(fault.Invalid, "a list has no revision to compare; drop it with the condition Always")
	}
	return nil
}

// Watch checks a watch. A prefix may be empty: then it is all keys.
func (c Cache) Watch(prefix string, deliver func([]cache.Change)) error {
	a := c.at("cache: watch", prefix)
	if deliver == nil {
		return a.refuse(fault.Invalid, "the function to deliver to is nil; give one")
	}
	return a.length("prefix", prefix, c.MaxKey)
}
