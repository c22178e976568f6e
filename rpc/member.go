package rpc

import (
	"maps"
	"slices"
	"time"
)

// Member is a node as the others know it. Names may repeat: only the incarnation tells one life of one node from every
// other.
type Member struct {
	Name        string
	Incarnation string            // a subject token of 22 letters and digits; sorts by start
	Started     time.Time         // by the node's own clock
	Metadata    map[string]string // as given in Options or SetMetadata; not to be changed
	Methods     []string          // what it serves, sorted; not to be changed
}

// Serves reports whether the member serves a method.
func (m Member) Serves(method string) bool {
	_, found := slices.BinarySearch(m.Methods, method)
	return found
}

// roster is the membership at one moment. It is never changed: a change makes another.
type roster struct {
	members map[string]*node   // by incarnation, this node among them
	serving map[string][]*node // by method, sorted by incarnation
}

func newRoster(members map[string]*node) *roster {
	r := &roster{members: maps.Clone(members), serving: map[string][]*node{}}
	all := r.sorted()
	for _, n := range all {
		for _, method := range n.Methods {
			r.serving[method] = append(r.serving[method], n)
		}
	}
	r.serving[statsMethod] = all // built in
	return r
}

func (r *roster) sorted() []*node {
	all := make([]*node, 0, len(r.members))
	for _, incarnation := range slices.Sorted(maps.Keys(r.members)) {
		all = append(all, r.members[incarnation])
	}
	return all
}

// named lists the nodes of a name that serve a method.
func (r *roster) named(name, method string) []*node {
	var all []*node
	for _, n := range r.serving[method] {
		if n.Name == name {
			all = append(all, n)
		}
	}
	return all
}

// hasName reports whether any node has the name.
func (r *roster) hasName(name string) bool {
	for _, n := range r.members {
		if n.Name == name {
			return true
		}
	}
	return false
}
