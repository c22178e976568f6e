package subject

import "strings"

// Trie finds the values whose filters match a subject, at a cost that grows with the subject's tokens and the matches,
// not with the number of filters. The zero Trie is empty and ready. It is not safe for concurrent use.
type Trie[V comparable] struct {
	root node[V]
	size int
}

type node[V comparable] struct {
	next   map[string]*node[V]
	values []V
}

// Add puts v under a filter. The same pair may be added several times and is then found as often.
func (t *Trie[V]) Add(filter string, v V) {
	n := &t.root
	for token := range strings.SplitSeq(filter, ".") {
		if n.next == nil {
			n.next = map[string]*node[V]{}
		}
		child := n.next[token]
		if child == nil {
			child = &node[V]{}
			n.next[token] = child
		}
		n = child
	}
	n.values = append(n.values, v)
	t.size++
}

// Remove takes one v from under a filter, and reports whether it was there.
func (t *Trie[V]) Remove(filter string, v V) bool {
	if !remove(&t.root, filter, v) {
		return false
	}
	t.size--
	return true
}

func remove[V comparable](n *node[V], filter string, v V) bool {
	token, rest, more := strings.Cut(filter, ".")
	child := n.next[token]
	if child == nil {
		return false
	}
	if more {
		if !remove(child, rest, v) {
			return false
		}
	} else if !child.drop(v) {
		return false
	}
	if len(child.next) == 0 && len(child.values) == 0 {
		delete(n.next, token)
	}
	return true
}

func (n *node[V]) drop(v V) bool {
	for i, have := range n.values {
		if have == v {
			// A copy, because a match may still be reading the old slice.
			n.values = append(append([]V(nil), n.values[:i]...), n.values[i+1:]...)
			return true
		}
	}
	return false
}

// Len is the number of pairs.
func (t *Trie[V]) Len() int { return t.size }

// Match appends to found the values whose filters match a subject.
func (t *Trie[V]) Match(s string, found []V) []V {
	if !IsReserved(s) {
		return match(&t.root, s, found)
	}
	token, rest, more := strings.Cut(s, ".")
	child := t.root.next[token]
	switch {
	case child == nil:
		return found
	case more:
		return match(child, rest, found)
	}
	return append(found, child.values...)
}

func match[V comparable](n *node[V], s string, found []V) []V {
	token, rest, more := strings.Cut(s, ".")
	if tail := n.next[">"]; tail != nil {
		found = append(found, tail.values...)
	}
	for _, key := range [2]string{token, "*"} {
		child := n.next[key]
		switch {
		case child == nil:
		case more:
			found = match(child, rest, found)
		default:
			found = append(found, child.values...)
		}
	}
	return found
}
