package rpc

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// statsMethod is served by every node.
const statsMethod = "$stats"

// NodeStats is what a node has done since it started.
type NodeStats struct {
	Member   Member
	Methods  []MethodStats // sorted by name
	Counters Counters
}

// MethodStats is what a node has done for one method since it started.
type MethodStats struct {
	Method      string
	Requests    uint64        // that ran to their end
	Errors      uint64        // of Requests: that failed
	InFlight    int64         // that run now
	Concurrency int64         // how many may
	Exhausted   uint64        // that were refused because so many ran
	Expired     uint64        // that were dropped because their time was over before they began
	LastError   string        // empty: none failed
	TotalTime   time.Duration // of Requests
}

// Counters is what happened to a node's frames since it started.
type Counters struct {
	Refused      map[string]uint64 // frames that were not believed, by code: "unauthenticated", "duplicate", "corrupt", …
	Late         uint64            // answers that nobody waited for any more
	Dropped      uint64            // small frames for which there was no room to wait
	NotSent      uint64            // answers and small frames that the transport did not take
	CastsRefused uint64            // casts for a method that this node does not serve, or too many of one
	Gaps         uint64            // times that the link was lost and came back
}

// Stats asks every node what it has done, and answers with an error beside those who answered if some did not.
func (p *Peer) Stats(ctx context.Context) ([]NodeStats, error) {
	replies, err := p.Gather(ctx, All(), statsMethod, nil)
	var all []NodeStats
	for _, reply := range replies {
		if reply.Err != nil {
			continue
		}
		var s NodeStats
		if broken := json.Unmarshal(reply.Value, &s); broken != nil {
			if err == nil {
				err = fault.In(fault.New(fault.Corrupt, "the statistics of node %s cannot be read: %w", describe(reply.Member), broken), "rpc: stats", "")
			}
			continue
		}
		s.Member = reply.Member
		all = append(all, s)
	}
	return all, err
}

// Counters is what happened to this node's frames.
func (p *Peer) Counters() Counters {
	c := Counters{
		Refused:      map[string]uint64{},
		Late:         p.counters.late.Load(),
		Dropped:      p.writer.dropped.Load(),
		NotSent:      p.counters.notSent.Load(),
		CastsRefused: p.counters.castsRefused.Load(),
		Gaps:         p.counters.gaps.Load(),
	}
	for code := range p.counters.refused {
		if n := p.counters.refused[code].Load(); n > 0 {
			c.Refused[fault.Code(code).String()] = n
		}
	}
	return c
}

func (p *Peer) statsMethod() *method {
	return &method{name: statsMethod, limit: 64, handler: func(context.Context, *Incoming) ([]byte, error) {
		s := NodeStats{Counters: p.Counters()}
		methods := *p.methods.Load()
		for _, name := range announced(methods) {
			s.Methods = append(s.Methods, methods[name].stats())
		}
		return json.Marshal(s)
	}}
}

type counters struct {
	refused                           [32]atomic.Uint64 // by code
	late, notSent, castsRefused, gaps atomic.Uint64
}

// refused counts a frame that was not believed.
func (p *Peer) refused(err error) {
	code := fault.CodeOf(err)
	p.counters.refused[int(code)%len(p.counters.refused)].Add(1)
	if code == fault.Duplicate {
		return // transports may deliver twice; only a flood of them would tell, and that is counted
	}
	if others, ok := p.complaints.Allow(code); ok {
		p.logger.Warn("rpc: a frame was refused", "error", err, "more", others)
	}
}

// notSent counts a frame that the transport did not take and nobody waits for.
func (p *Peer) notSent(err error) {
	if code := fault.CodeOf(err); code == fault.NoReceiver {
		return // whoever asked for it is gone
	}
	p.counters.notSent.Add(1)
	if others, ok := p.complaints.Allow(fault.Unavailable); ok {
		p.logger.Warn("rpc: a frame could not be sent", "error", err, "more", others)
	}
}
