package rpc

import (
	"context"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
)

// resolve chooses the nodes that a call goes to. What the membership already knows is used at once; only an answer that
// a node still to be heard of could change waits until the membership is complete.
func (p *Peer) resolve(ctx context.Context, r Request) ([]Member, error) {
	if r.Target.scope == scopeAll {
		if err := p.Ready(ctx); err != nil {
			return nil, err
		}
	}
	if found, err := p.choose(r); err != nil || len(found) > 0 {
		return found, err
	}
	if err := p.Ready(ctx); err != nil {
		return nil, err
	}
	if found, err := p.choose(r); err != nil || len(found) > 0 {
		return found, err
	}
	return nil, p.nobody(r)
}

// choose picks from the members known now; none is not yet an error.
func (p *Peer) choose(r Request) ([]Member, error) {
	now := p.members.roster()
	switch r.Target.scope {
	case scopeAll:
		nodes := now.serving[r.Method]
		all := make([]Member, len(nodes))
		for i, n := range nodes {
			all[i] = n.Member
		}
		return all, nil
	case scopeNode:
		return p.chooseNode(now, r)
	case scopeNamed:
		return p.nextOf(now.named(r.Target.name, r.Method)), nil
	}
	return p.nextOf(now.serving[r.Method]), nil
}

// nextOf takes nodes in turn.
func (p *Peer) nextOf(nodes []*node) []Member {
	if len(nodes) == 0 {
		return nil
	}
	return []Member{nodes[p.turn.Add(1)%uint64(len(nodes))].Member}
}

func (p *Peer) chooseNode(now *roster, r Request) ([]Member, error) {
	incarnation := r.Target.name
	if n := now.members[incarnation]; n != nil {
		return []Member{n.Member}, nil
	}
	started, err := envelope.Started(incarnation)
	if err != nil {
		return nil, err
	}
	unknown := Member{Incarnation: incarnation, Started: started}
	if p.members.isFormer(incarnation) {
		return nil, goneFault(unknown, "left or died")
	}
	if p.backend.Capabilities.NoReceiver {
		return []Member{unknown}, nil // the transport will tell, in one round trip
	}
	return nil, nil
}

// nobody says why a complete membership has no node for a call.
func (p *Peer) nobody(r Request) error {
	now := p.members.roster()
	switch {
	case r.Target.scope == scopeNode:
		return &fault.Error{Code: fault.NoReceiver, Retryable: true, Message: "no member has the incarnation " + r.Target.name}
	case r.Target.scope == scopeNamed && !now.hasName(r.Target.name):
		return &fault.Error{Code: fault.NoReceiver, Retryable: true, Message: "no member has the name " + r.Target.name}
	case r.Target.scope == scopeNamed:
		return fault.New(fault.Unimplemented, "no node named %s serves it", r.Target.name)
	}
	return fault.New(fault.Unimplemented, "none of the %d members serves it: register it with rpc.Handle", len(now.members))
}
