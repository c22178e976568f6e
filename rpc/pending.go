package rpc

import (
	"slices"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Reply is what became of a call on one node.
type Reply struct {
	Member  Member
	Value   []byte
	Err     error         // nil: Value is the answer
	Latency time.Duration // from when the call began
	Of      int           // how many nodes were called
}

// pending is the calls that wait for answers.
type pending struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]*call
}

// call is one of them: a slot for each node that should answer, which is filled once.
type call struct {
	id      uint64
	began   time.Time
	replies chan Reply // has room for every slot, so that whoever fills one never waits

	members []Member

	mu    sync.Mutex
	slots []slot // by member
}

// slot is where a node's answer goes.
type slot struct {
	filled bool
	way    Address // where its request went; empty: it is not on its way yet
}

// begin opens a call to nodes.
func (p *pending) begin(members []Member) *call {
	c := &call{began: time.Now(), replies: make(chan Reply, len(members)), members: members, slots: make([]slot, len(members))}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = map[uint64]*call{}
	}
	p.last++
	c.id = p.last
	p.open[c.id] = c
	return c
}

// end closes it: answers that still come are late.
func (p *pending) end(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c.id)
}

func (p *pending) find(id uint64) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[id]
}

func (p *pending) all() []*call {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*call, 0, len(p.open))
	for _, c := range p.open {
		all = append(all, c)
	}
	return all
}

// gone fills every slot that waits for a node.
func (p *pending) gone(incarnation string, err error) {
	for _, c := range p.all() {
		c.fill(incarnation, nil, err)
	}
}

// fail fills every slot that waits for a node other than this one.
func (p *pending) fail(self string, err error) {
	for _, c := range p.all() {
		for _, m := range c.missing() {
			if m.Incarnation != self {
				c.fill(m.Incarnation, nil, err)
			}
		}
	}
}

// fill completes a node's slot. It reports whether the slot was there and open.
func (c *call) fill(incarnation string, value []byte, err error) bool {
	i := slices.IndexFunc(c.members, func(m Member) bool { return m.Incarnation == incarnation })
	if i < 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slots[i].filled {
		return false
	}
	c.slots[i].filled = true
	c.replies <- Reply{Member: c.members[i], Value: value, Err: err, Latency: time.Since(c.began), Of: len(c.members)}
	return true
}

// missing lists the nodes whose slots are open.
func (c *call) missing() []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Member
	for i, m := range c.members {
		if !c.slots[i].filled {
			all = append(all, m)
		}
	}
	return all
}

// went notes that the request for a member is on its way, ahead of all that is sent from now on; when it was broadcast,
// for every member.
func (c *call) went(way Address, to Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range c.members {
		if way == Broadcast || m.Incarnation == to.Incarnation {
			c.slots[i].way = way
		}
	}
}

// unsure are the ways to the members whose slots are open and of which that is true, each once.
func (c *call) unsure(of func(Member) bool) []Address {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ways []Address
	for i, m := range c.members {
		if !c.slots[i].filled && of(m) && !slices.Contains(ways, c.slots[i].way) {
			ways = append(ways, c.slots[i].way)
		}
	}
	return ways
}

func goneFault(m Member, why string) error {
	return &fault.Error{Code: fault.NodeGone, Node: m.Name, Retryable: true,
		Message: "node " + describe(m) + " " + why}
}

// describe names a member for people: "web-1 (0mh2k…)".
func describe(m Member) string {
	if m.Name == "" {
		return m.Incarnation
	}
	return m.Name + " (" + m.Incarnation + ")"
}
