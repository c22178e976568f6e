package rpc

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/gobackplane/backplane/internal/envelope"
)

// maxFormer is how many nodes that are gone are remembered, to tell "gone" from "never heard of".
const maxFormer = 4096

// node is what is known of a member. All but heard is fixed: a new announcement makes another node.
type node struct {
	Member
	revision uint64
	heard    *atomic.Int64 // when last, on the clock of membership; shared by the revisions of a node
}

// membership is who is in the cluster, as this node knows it. It sends nothing and waits for nothing.
type membership struct {
	began  time.Time // origin of its clock, which is monotonic
	self   string
	now    atomic.Pointer[roster]
	events fanout

	mu      sync.Mutex
	members map[string]*node
	former  *simplelru.LRU[string, string] // incarnation to name
	left    map[string]bool                // the former that said goodbye and cannot come back
	leaving []string                       // that said it since the last tick
}

func newMembership(self Member) *membership {
	m := &membership{began: time.Now(), self: self.Incarnation, members: map[string]*node{}, left: map[string]bool{}}
	m.former, _ = simplelru.NewLRU(maxFormer, func(incarnation, _ string) { delete(m.left, incarnation) })
	m.members[self.Incarnation] = &node{Member: self, revision: 1, heard: new(atomic.Int64)}
	m.publish()
	return m
}

func (m *membership) roster() *roster { return m.now.Load() }

// clock is the time since began.
func (m *membership) clock() int64 { return int64(time.Since(m.began)) }

// publish makes the change visible; mu is held.
func (m *membership) publish() { m.now.Store(newRoster(m.members)) }

// learn takes in what a node says of itself. It reports whether that was news.
func (m *membership) learn(name, incarnation string, a announcement) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.members[incarnation]
	if m.left[incarnation] || known != nil && known.revision >= a.revision {
		return false
	}
	started, err := envelope.Started(incarnation)
	if err != nil {
		return false
	}
	slices.Sort(a.methods)
	learnt := &node{
		Member:   Member{Name: name, Incarnation: incarnation, Started: started, Metadata: a.metadata, Methods: slices.Compact(a.methods)},
		revision: a.revision,
		heard:    new(atomic.Int64),
	}
	event := Joined
	if known != nil {
		learnt.heard = known.heard
		event = Updated
	} else {
		learnt.heard.Store(m.clock())
	}
	m.former.Remove(incarnation)
	m.members[incarnation] = learnt
	m.publish()
	m.events.send(Event{Kind: event, Member: learnt.Member})
	return true
}

// describe changes what this node says of itself, and answers the announcement's new revision.
func (m *membership) describe(change func(*Member)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.members[m.self]
	changed := &node{Member: old.Member, revision: old.revision + 1, heard: old.heard}
	change(&changed.Member)
	m.members[m.self] = changed
	m.publish()
	m.events.send(Event{Kind: Updated, Member: changed.Member})
}

// hear notes a sign of life, and answers the node; nil if it is no member.
func (m *membership) hear(incarnation string) *node {
	n := m.roster().members[incarnation]
	if n != nil {
		n.heard.Store(m.clock())
	}
	return n
}

// remove takes a node out: it left, or died. It reports whether it was a member.
func (m *membership) remove(incarnation string, why EventKind) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if why == Left {
		m.left[incarnation] = true
		if !m.former.Contains(incarnation) {
			m.former.Add(incarnation, "")
		}
	}
	n := m.members[incarnation]
	if n == nil || incarnation == m.self {
		return false
	}
	delete(m.members, incarnation)
	m.former.Add(incarnation, n.Name)
	m.publish()
	m.events.send(Event{Kind: why, Member: n.Member})
	return true
}

// silent lists the other members that were not heard for a time.
func (m *membership) silent(bound time.Duration) []string {
	deadline := m.clock() - int64(bound)
	var all []string
	for incarnation, n := range m.roster().members {
		if incarnation != m.self && n.heard.Load() < deadline {
			all = append(all, incarnation)
		}
	}
	return all
}

// spare gives every member at least until then before it is silent for bound: it was we who did not listen.
func (m *membership) spare(bound, until time.Duration) {
	at := m.clock() - int64(bound) + int64(until)
	for _, n := range m.roster().members {
		n.heard.Store(max(n.heard.Load(), at))
	}
}

// isFormer reports whether a node is known to be gone.
func (m *membership) isFormer(incarnation string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.former.Contains(incarnation)
}

func (m *membership) nameOfFormer(incarnation string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.former.Peek(incarnation)
}

// list is the members, this node among them, by incarnation.
func (r *roster) list() []Member {
	all := make([]Member, 0, len(r.members))
	for _, n := range r.sorted() {
		all = append(all, n.Member)
	}
	return all
}

// announcement is what this node says of itself.
func (m *membership) announcement() announcement {
	r := m.roster()
	self := r.members[m.self]
	return announcement{revision: self.revision, known: uint64(len(r.members)), metadata: self.Metadata, methods: self.Methods}
}
