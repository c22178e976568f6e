package memory

import (
	"cmp"
	"strings"
)

// mortal is a map whose items end by themselves: nobody sees one after its end, and each write sweeps away some that
// have ended, so that they do not pile up.
type mortal[T any] struct {
	items map[string]*item[T]
	ends  ordered[*item[T]] // those that have an end, earliest first

	// gone is called with an item that was swept or found to have ended, after it was taken out. It may be nil.
	gone func(*item[T])
}

type item[T any] struct {
	name  string
	ends  instant // exclusive: at this instant it is gone
	value T
}

func newMortal[T any]() mortal[T] {
	return mortal[T]{
		items: map[string]*item[T]{},
		ends: ordered[*item[T]]{compare: func(a, b *item[T]) int {
			return cmp.Or(cmp.Compare(a.ends, b.ends), strings.Compare(a.name, b.name))
		}},
	}
}

// get is the live item of a name, or nil.
func (m *mortal[T]) get(name string, now instant) *item[T] {
	found := m.items[name]
	if found != nil && found.ends <= now {
		m.end(found)
		return nil
	}
	return found
}

// put adds an item, or gives the present one this value and end.
func (m *mortal[T]) put(name string, value T, ends instant) *item[T] {
	found := m.items[name]
	if found == nil {
		found = &item[T]{name: name, ends: never}
		m.items[name] = found
	}
	found.value = value
	m.move(found, ends)
	return found
}

// move gives an item another end.
func (m *mortal[T]) move(i *item[T], ends instant) {
	if i.ends == ends {
		return
	}
	if i.ends != never {
		m.ends.remove(i)
	}
	i.ends = ends
	if ends != never {
		m.ends.insert(i)
	}
}

// remove takes an item out.
func (m *mortal[T]) remove(i *item[T]) {
	delete(m.items, i.name)
	if i.ends != never {
		m.ends.remove(i)
	}
}

func (m *mortal[T]) end(i *item[T]) {
	m.remove(i)
	if m.gone != nil {
		m.gone(i)
	}
}

// sweep takes out at most n items that have ended.
func (m *mortal[T]) sweep(now instant, n int) {
	for range n {
		first, found := m.ends.first()
		if !found || first.ends > now {
			return
		}
		m.end(first)
	}
}

// swept is how many ended items a write of n elements takes out of the way: more than it can add.
func swept(n int) int { return 2*n + 16 }

// catalog is a mortal map whose names can be listed by prefix.
type catalog[T any] struct {
	mortal[T]
	names ordered[string]
}

func newCatalog[T any]() *catalog[T] {
	c := &catalog[T]{mortal: newMortal[T](), names: ordered[string]{compare: strings.Compare}}
	c.gone = func(i *item[T]) { c.names.remove(i.name) }
	return c
}

func (c *catalog[T]) put(name string, value T, ends instant) *item[T] {
	if c.items[name] == nil {
		c.names.insert(name)
	}
	return c.mortal.put(name, value, ends)
}

func (c *catalog[T]) remove(i *item[T]) {
	c.mortal.remove(i)
	c.names.remove(i.name)
}

// page calls each with live items whose name begins with the prefix, from the cursor on, looking at no more than limit.
// It answers the cursor of the next page, or "" when there is none. A cursor is the last name that was looked at.
func (c *catalog[T]) page(prefix, cursor string, limit int, now instant, each func(*item[T])) (next string) {
	seen, last := 0, ""
	for name := range c.names.from(max(prefix, cursor)) {
		if name <= cursor && cursor != "" {
			continue
		}
		if !strings.HasPrefix(name, prefix) {
			return ""
		}
		if seen == limit {
			return last
		}
		if found := c.items[name]; found.ends > now {
			each(found)
		}
		seen, last = seen+1, name
	}
	return ""
}
