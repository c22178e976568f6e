package rpc

import (
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
)

// deliver is what the driver calls with the frames of an address. It never waits: requests go to goroutines of their
// own, answers to channels that have room, and what has to be sent is posted.
func (p *Peer) deliver(address Address) func([]Frame) {
	return func(frames []Frame) {
		for _, f := range frames {
			if f.Gap {
				p.bridge(address)
				continue
			}
			opened, err := p.opener.Open(f.Payload, string(address))
			if err == nil && !p.take(opened, address == Broadcast) {
				err = fault.New(fault.Corrupt, "the frame of kind %d from node %s cannot be read: is that node newer?", opened.Kind, opened.Sender)
			}
			if err != nil {
				p.refused(err)
			}
		}
	}
}

// take acts on a frame. It reports whether the frame made sense.
func (p *Peer) take(f envelope.Opened, broadcast bool) bool {
	if f.Incarnation == p.self {
		if broadcast {
			p.hearSelf()
		}
		return true
	}
	from := p.members.hear(f.Incarnation)
	switch kind(f.Kind) {
	case kindResponse:
		r, ok := decodeResponse(f.Payload)
		if ok {
			p.complete(f.Incarnation, r)
		}
		return ok
	case kindRequest:
		r, ok := decodeRequest(f.Payload)
		if ok {
			p.receive(inbound{request: r, from: member(from, f), arrived: time.Now(), broadcast: broadcast})
		}
		return ok
	case kindCancel, kindProbe:
		return p.takeNumber(f)
	case kindJoin, kindAnnounce, kindHeartbeat, kindLeave, kindAsk:
		return p.takeNews(f, from)
	case kindBegin, kindChunk, kindCredit, kindAbort:
		return p.takePiece(f, from)
	}
	return false
}

// member is who sent a frame, as far as it is known.
func member(known *node, f envelope.Opened) Member {
	if known != nil {
		return known.Member
	}
	started, _ := envelope.Started(f.Incarnation) // the opener has read it
	return Member{Name: f.Sender, Incarnation: f.Incarnation, Started: started}
}

func (p *Peer) takeNumber(f envelope.Opened) bool {
	id, ok := decodeNumber(f.Payload)
	key := runKey{f.Incarnation, id}
	switch {
	case !ok:
	case kind(f.Kind) == kindCancel:
		p.running.cancel(key)
	case p.draining.Load(): // whoever waits is about to hear that we leave, which says more
	case !p.running.has(key) && !p.assemblies.expects(f.Incarnation, id):
		p.refuse(inbound{request: request{id: id}, from: member(nil, f)}, fault.Unavailable,
			"the link was lost during the call: the node never had the request, or its answer was lost")
	}
	return ok
}

// takeNews acts on what a node says of itself.
func (p *Peer) takeNews(f envelope.Opened, from *node) bool {
	inbox := Inbox(f.Incarnation)
	switch kind(f.Kind) {
	case kindHeartbeat:
		revision, ok := decodeNumber(f.Payload)
		if ok && (from == nil || from.revision < revision) {
			p.writer.post(outgoing{to: inbox, kind: kindAsk})
		}
		return ok
	case kindLeave:
		p.leaves(f.Incarnation)
		return true
	case kindAsk:
		p.writer.post(p.announcing(inbox, true))
		return true
	}
	a, ok := decodeAnnouncement(f.Payload)
	if !ok {
		return false
	}
	p.members.learn(f.Sender, f.Incarnation, a)
	switch {
	case kind(f.Kind) == kindJoin:
		p.writer.post(p.announcing(inbox, true))
	case !a.answer:
		p.pulse.doubts(f.Incarnation, p.members.clock()) // after a gap, or because something changed
	}
	p.pulse.answered(a)
	p.completeMembership()
	return true
}

// takePiece acts on a frame of a payload that comes, or goes, in chunks.
func (p *Peer) takePiece(f envelope.Opened, from *node) bool {
	switch kind(f.Kind) {
	case kindBegin:
		o, ok := decodeOpening(f.Payload)
		if ok {
			p.takeBegin(f.Incarnation, o)
		}
		return ok
	case kindCredit:
		at, _, ok := decodePosition(f.Payload)
		if ok {
			p.transfers.credited(f.Incarnation, at)
		}
		return ok
	case kindAbort:
		a, ok := decodeAbortion(f.Payload)
		if ok {
			p.takeAbort(f.Incarnation, a)
		}
		return ok
	}
	at, data, ok := decodePosition(f.Payload)
	if !ok {
		return false
	}
	one, owed := p.assemblies.add(f.Incarnation, at, data)
	p.owe(owed)
	switch {
	case one == nil:
		return true
	case one.complete():
		return p.takeWhole(one, member(from, f))
	case one.lost:
		p.lost(one, "a piece of the answer was lost on the way")
	}
	return true
}

func (p *Peer) takeBegin(from string, o opening) {
	if o.kind == kindResponse && p.calls.find(o.call) == nil {
		p.counters.late.Add(1)
		p.owe([]due{refusal(assemblyKey{from, o.transfer}, o, fault.Canceled, "nobody waits for the answer any more")})
		return
	}
	owed := p.assemblies.begin(from, o)
	p.owe(owed)
	if o.kind != kindResponse {
		return
	}
	for _, d := range owed {
		if c := p.calls.find(o.call); c != nil && d.abort != nil {
			c.fill(from, nil, d.abort.fault()) // we refuse the answer, so it will not come
		}
	}
}

func (p *Peer) takeAbort(from string, a abortion) {
	if a.byReceiver {
		p.transfers.aborted(from, a)
		if c := p.calls.find(a.call); c != nil && a.ofRequest {
			c.fill(from, nil, a.fault()) // the transfer may be over already, as far as we could tell
		}
		return
	}
	one, owed := p.assemblies.abort(from, a.transfer)
	p.owe(owed)
	why := "the node gave up sending the answer: " + a.message
	if one != nil {
		p.lost(one, why)
	} else if c := p.calls.find(a.call); c != nil && !a.ofRequest {
		c.fill(from, nil, &fault.Error{Code: fault.Unavailable, Message: why}) // its beginning was lost on the way
	}
}

// takeWhole acts on a payload whose chunks are all there. Its time runs since the first.
func (p *Peer) takeWhole(one *assembly, from Member) bool {
	if one.opening.kind == kindResponse {
		r, ok := decodeResponse(one.buffer)
		if ok {
			p.complete(from.Incarnation, r)
		}
		return ok
	}
	r, ok := decodeRequest(one.buffer)
	if ok {
		p.receive(inbound{request: r, from: from, arrived: one.began})
	}
	return ok
}

// bridge acts on a gap: frames may be missing. What they said of members comes again with the next heartbeats. Answers do
// not, so at the next tick the nodes are asked about the calls that wait; nor do requests, so the announcement makes those
// who wait for this node ask it.
func (p *Peer) bridge(address Address) {
	p.counters.gaps.Add(1)
	p.announceSoon()
	if address != Broadcast {
		p.pulse.missed(p.members.clock())
	}
}

// probe asks whether the nodes are still at the calls that began before the last gap, ours or theirs: one that is not has
// answered, or never had the request, and the caller must not wait for its deadline to learn that. The question goes the
// way of the request, so that it does not overtake it; where that has not set out yet, the next tick asks.
func (p *Peer) probe() {
	ours, theirs := p.pulse.gaps()
	if ours == 0 && len(theirs) == 0 {
		return
	}
	early := false
	for _, c := range p.calls.all() {
		began := int64(c.began.Sub(p.members.began))
		for _, way := range c.unsure(func(m Member) bool {
			return m.Incarnation != p.self && began <= max(ours, theirs[m.Incarnation])
		}) {
			if way == "" {
				early = true
				continue
			}
			p.writer.post(outgoing{to: way, kind: kindProbe, head: number(c.id)})
		}
	}
	if early {
		p.pulse.restore(ours, theirs)
	}
}
