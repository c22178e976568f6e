package rpc

import (
	"sync"
	"time"
)

// ticksPerHeartbeat is how often silences are looked at, in each heartbeat.
const ticksPerHeartbeat = 5

// pulse is what this node knows of its own life: when it last heard itself, and how far it has met the others.
type pulse struct {
	heartbeat, deadAfter time.Duration
	changed              chan struct{} // has room for one: announce soon

	mu       sync.Mutex
	gap      int64            // when answers may last have been lost, on the membership's clock; 0: none since the last tick
	doubted  map[string]int64 // when a node, by incarnation, may last have lost requests; as gap
	echo     int64            // when this node last heard itself, on the membership's clock
	joined   int64            // when it heard itself first; 0: not yet
	expected int              // members that one who is complete knows; 0: none has answered
	complete bool
}

func (p *pulse) init(o Options) {
	p.heartbeat, p.deadAfter = o.Heartbeat, o.DeadAfter
	p.changed = make(chan struct{}, 1)
}

func (p *pulse) begin(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.echo = now
}

// heard notes that this node heard itself, and answers after which silence.
func (p *pulse) heard(now int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	silence := time.Duration(now - p.echo)
	p.echo = now
	if p.joined == 0 {
		p.joined = max(now, 1)
	}
	return silence
}

// missed notes that answers may have been lost.
func (p *pulse) missed(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gap = now
}

// doubts notes that another node may have lost requests.
func (p *pulse) doubts(incarnation string, now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doubted == nil {
		p.doubted = map[string]int64{}
	}
	p.doubted[incarnation] = now
}

// gaps are the losses noted since it was last called.
func (p *pulse) gaps() (ours int64, theirs map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ours, theirs = p.gap, p.doubted
	p.gap, p.doubted = 0, nil
	return ours, theirs
}

// restore notes losses again that gaps has told of, for the next to ask.
func (p *pulse) restore(ours int64, theirs map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gap = max(p.gap, ours)
	if p.doubted == nil {
		p.doubted = map[string]int64{}
	}
	for incarnation, at := range theirs {
		p.doubted[incarnation] = max(p.doubted[incarnation], at)
	}
}

func (p *pulse) silence(now int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(now - p.echo)
}

// hasJoined reports whether this node ever heard itself.
func (p *pulse) hasJoined() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.joined != 0
}

// answered notes an answer to our join. Only one whose own membership is complete can tell how many we should know.
func (p *pulse) answered(a announcement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.answer && a.ready {
		p.expected = max(p.expected, int(min(a.known, 1<<20)))
	}
}

// completes reports, once, that the membership is complete.
func (p *pulse) completes(now int64, known int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.complete || p.joined == 0 {
		return false
	}
	p.complete = p.expected > 0 && known >= p.expected || now-p.joined >= int64(p.heartbeat)
	return p.complete
}

func (p *pulse) isComplete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.complete
}

// watchPulse sends heartbeats and notices silences, its own too.
func (p *Peer) watchPulse() {
	tick := p.options.Heartbeat / ticksPerHeartbeat
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := p.members.clock()
	for n := 0; ; {
		select {
		case <-p.closing:
			return
		case <-p.pulse.changed:
			p.writer.post(p.announcing(Broadcast, false))
			continue
		case <-ticker.C:
		}
		n++
		now := p.members.clock()
		if time.Duration(now-last) > tick+p.options.Heartbeat {
			// We were late, stopped perhaps: what the others said meanwhile may not have been read yet.
			p.members.spare(p.options.DeadAfter, 2*p.options.Heartbeat)
		}
		last = now
		p.bury()
		p.probe()
		p.judge(now)
		p.completeMembership()
		if n%ticksPerHeartbeat == 0 { // of ticks alone: announcements must not keep it from its turn
			p.beat()
		}
	}
}

// beat says that this node lives, and what large payloads are waiting for.
func (p *Peer) beat() {
	if p.pulse.hasJoined() {
		p.writer.post(outgoing{to: Broadcast, kind: kindHeartbeat, head: number(p.members.announcement().revision)})
	} else {
		p.writer.post(p.joining())
	}
	stalled, owed := p.assemblies.refresh()
	p.owe(owed)
	for _, one := range stalled {
		p.lost(one, "a piece of the answer was lost on the way, or the node stopped sending it")
	}
}

// judge looks at silences. Who does not hear himself cannot judge others.
func (p *Peer) judge(now int64) {
	silence := p.pulse.silence(now)
	if silence >= p.options.DeadAfter {
		p.fence(silence)
		return
	}
	if silence > 2*p.options.Heartbeat {
		return
	}
	for _, incarnation := range p.members.silent(p.options.DeadAfter) {
		if p.members.remove(incarnation, Dead) {
			p.gone(incarnation, "died: it was not heard for "+p.options.DeadAfter.String())
		}
	}
}

// fence takes this node for dead: the others do by now.
func (p *Peer) fence(silence time.Duration) {
	if p.fenced.Swap(true) {
		return
	}
	p.logger.Error("rpc: this node does not hear its own heartbeat and takes itself for dead", "silence", silence)
	p.members.events.send(Event{Kind: Fenced, Member: p.Self()})
	p.calls.fail(p.self, errFenced)
}

// hearSelf notes a broadcast of this node that came back.
func (p *Peer) hearSelf() {
	silence := p.pulse.heard(p.members.clock())
	if silence > 2*p.options.Heartbeat {
		p.members.spare(p.options.DeadAfter, 2*p.options.Heartbeat)
	}
	if p.fenced.Load() {
		p.members.spare(p.options.DeadAfter, p.options.DeadAfter)
		p.fenced.Store(false)
		p.logger.Info("rpc: this node hears itself again", "silence", silence)
		p.members.events.send(Event{Kind: Returned, Member: p.Self()})
		p.announceSoon()
	}
	p.completeMembership()
}

// completeMembership tells those who wait for it, when it is.
func (p *Peer) completeMembership() {
	if p.pulse.completes(p.members.clock(), len(p.members.roster().members)) {
		close(p.ready)
	}
}

// announceSoon has the newest announcement broadcast; many changes at once may make one.
func (p *Peer) announceSoon() {
	select {
	case p.pulse.changed <- struct{}{}:
	default:
	}
}

func (p *Peer) announcing(to Address, answer bool) outgoing {
	a := p.members.announcement()
	a.answer, a.ready = answer, p.pulse.isComplete()
	return outgoing{to: to, kind: kindAnnounce, head: a.body()}
}

func (p *Peer) joining() outgoing {
	a := p.members.announcement()
	return outgoing{to: Broadcast, kind: kindJoin, head: a.body()}
}

// leaves notes a goodbye. The node is no member from now on, but its slots stay open until the next tick: an answer that
// it sent before may come a moment later, by another path.
func (p *Peer) leaves(incarnation string) {
	p.members.remove(incarnation, Left)
	p.members.mu.Lock()
	defer p.members.mu.Unlock()
	p.members.leaving = append(p.members.leaving, incarnation)
}

// bury ends what waits for those who left before the last tick.
func (p *Peer) bury() {
	p.members.mu.Lock()
	leaving := p.members.leaving
	p.members.leaving = nil
	p.members.mu.Unlock()
	for _, incarnation := range leaving {
		p.opener.Retire(incarnation)
		p.gone(incarnation, "left")
	}
}

// gone ends everything that waits for a node, or runs for it.
func (p *Peer) gone(incarnation, why string) {
	at := Member{Incarnation: incarnation}
	if name, ok := p.members.nameOfFormer(incarnation); ok {
		at.Name = name
	}
	err := goneFault(at, why)
	p.calls.gone(incarnation, err)
	p.transfers.gone(incarnation, err)
	p.owe(p.assemblies.gone(incarnation))
	p.running.gone(incarnation)
}
