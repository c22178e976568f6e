package redis

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/internal/wire"
	"github.com/gobackplane/backplane/pubsub"
)

// elections let one of all nodes with members in a group have each message. Redis knows no groups: every such node
// receives the message, and asks
//
//	SET bp:NS:pg:(group, sender, sequence) TICKET PX electionMemory NX GET
//
// The first to ask gets nil and has won; the others read the winner's ticket. A node that reads its own has won too: an
// earlier answer was lost. A group is its name, so members with other filters take part in the same election. The winner
// gives the message to one of its members, in turn.
//
// One goroutine, while there is something to do, asks for all that has arrived in one pipeline. So elections are held and
// won in the order of arrival, which keeps each sender's messages in order for every member.
//
// An election is remembered for electionMemory. A node that asks later could win what another has long handled, so it
// does not ask for what it received more than half of that ago: its members are told of a gap.
type elections struct {
	bus  *bus
	keys string

	mu      sync.Mutex
	shares  map[shareKey]*share
	queue   []ballot
	bytes   int
	origin  string // this node's, in tickets
	tickets uint64
	running bool
	stopped chan struct{} // closed when running ends
	round   chan struct{} // closed when the messages being voted on have been handed out; nil while there are none
}

const (
	electionMemory = 30 * time.Second
	electionRound  = 1024 // messages of one pipeline
	maxBallots     = 8192
	maxBallotBytes = 64 << 20
)

// share is the members of a group on this node that have the same filter.
type share struct {
	key     shareKey
	arrival uint64          // the last message taken; the reader's
	members []*subscription // in turn
	turn    int
	full    bool // a gap for what did not fit is at the end of the queue
}

type shareKey struct{ group, filter string }

// ballot is a message to be voted on, or a gap in its place.
type ballot struct {
	share   *share
	subject string
	frame   string
	at      time.Time
	gap     *pubsub.Gap
	member  *subscription // whose gap; nil: all members'

	ticket  string
	key     string
	message *pubsub.Message // decoded, and not lost so far
	vote    *redis.StringCmd
}

func newElections(b *bus) *elections {
	return &elections{
		bus:    b,
		keys:   "bp:" + b.t.ns + ":pg:",
		shares: map[shareKey]*share{},
		origin: hex.EncodeToString(b.origin[:]) + "-",
	}
}

// listener makes what the reader calls for a member. A message reaches each member on this node, under the same number:
// it is taken once for all that share a filter.
func (e *elections) listener(s *subscription) func(subject, frame string, gap bool) {
	key := shareKey{s.filter.Group, s.filter.Subject}
	return func(subject, frame string, gap bool) {
		if gap {
			e.post(key, ballot{gap: reconnected(), member: s})
		} else {
			e.post(key, ballot{subject: subject, frame: frame, at: time.Now()})
		}
	}
}

func (e *elections) join(s *subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := shareKey{s.filter.Group, s.filter.Subject}
	sh := e.shares[key]
	if sh == nil {
		sh = &share{key: key}
		e.shares[key] = sh
	}
	sh.members = append(slices.Clip(sh.members), s)
}

// leave takes a member out, after what this node is winning at the moment has been handed out: it may be for this
// member alone.
func (e *elections) leave(s *subscription) {
	inside := withinDeliver()
	e.mu.Lock()
	sh := e.shares[shareKey{s.filter.Group, s.filter.Subject}]
	round := e.round
	if sh != nil {
		s.leaving = true
	}
	e.mu.Unlock()
	if sh == nil {
		return
	}
	if round != nil && !inside {
		<-round
	}
	if !inside {
		s.box.finish()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.Index(sh.members, s); i >= 0 {
		sh.members = slices.Concat(sh.members[:i], sh.members[i+1:])
	}
	if len(sh.members) == 0 && e.shares[sh.key] == sh {
		delete(e.shares, sh.key)
	}
}

// post queues a ballot. What does not fit becomes a gap: how many of them this node would have won is not known.
func (e *elections) post(key shareKey, b ballot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sh := e.shares[key]
	if sh == nil || !e.standing(sh) || e.bus.t.life.Err() != nil {
		return
	}
	b.share = sh
	if b.gap == nil {
		if sh.arrival == e.bus.t.receiver.arrival {
			return
		}
		sh.arrival = e.bus.t.receiver.arrival
		if len(e.queue) >= maxBallots || len(e.queue) > 0 && e.bytes+len(b.frame) > maxBallotBytes {
			if sh.full {
				return
			}
			sh.full = true
			b = ballot{share: sh, gap: &pubsub.Gap{Cause: pubsub.Overflow, Lost: pubsub.Unknown}}
		} else {
			sh.full = false
		}
	}
	e.queue = append(e.queue, b)
	e.bytes += len(b.frame)
	if !e.running {
		e.running = true
		e.stopped = make(chan struct{})
		go e.run()
	}
}

// standing reports whether a share has a member that is not about to leave.
func (e *elections) standing(sh *share) bool {
	return slices.ContainsFunc(sh.members, func(s *subscription) bool { return !s.leaving })
}

// run holds elections until the queue is empty.
func (e *elections) run() {
	for {
		ballots := e.begin()
		if ballots == nil {
			return
		}
		e.prepare(ballots)
		e.vote(ballots)
		e.handOut(ballots)
	}
}

// begin takes the next round from the queue.
func (e *elections) begin() []ballot {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 || e.bus.t.life.Err() != nil {
		e.queue, e.bytes, e.running = nil, 0, false
		close(e.stopped)
		return nil
	}
	n := min(len(e.queue), electionRound)
	ballots := e.queue[:n:n]
	if e.queue = e.queue[n:]; len(e.queue) == 0 {
		e.queue = nil
	}
	for i := range ballots {
		b := &ballots[i]
		e.bytes -= len(b.frame)
		if !e.standing(b.share) {
			*b = ballot{} // another node shall have it
		} else if b.gap == nil {
			e.tickets++
			b.ticket = e.origin + strconv.FormatUint(e.tickets, 36)
		}
	}
	e.round = make(chan struct{})
	return ballots
}

// prepare decodes the messages of a round.
func (e *elections) prepare(ballots []ballot) {
	for i := range ballots {
		b := &ballots[i]
		if b.ticket == "" {
			continue
		}
		m, id, ok := e.bus.read(b.subject, b.frame)
		if !ok {
			*b = ballot{}
			continue
		}
		b.message, b.key = m, e.key(b.share.key.group, m, id)
	}
}

// key is what an election is remembered under. The lengths keep apart what colons in the names would join.
func (e *elections) key(group string, m *pubsub.Message, id wire.MessageID) string {
	who, number := m.Sender, strconv.FormatUint(m.Seq, 36)
	if id != (wire.MessageID{}) {
		who, number = string(id[:]), ""
	}
	return e.keys + strconv.Itoa(len(group)) + ":" + group + ":" + who + ":" + number
}

// vote asks for all messages of a round, until there is an answer or they are too old to be asked for.
func (e *elections) vote(ballots []ballot) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 20*time.Millisecond, time.Second
	for {
		until, cmds := e.ask(ballots)
		if len(cmds) == 0 {
			return
		}
		ctx, cancel := context.WithDeadline(e.bus.t.life, until)
		err := e.bus.t.lane.do(ctx, cmds...)
		cancel()
		if err == nil {
			e.count(ballots)
			return
		}
		e.bus.t.log.Warn("redis: election for a group failed; asking again", "messages", len(cmds), "error", err)
		select {
		case <-e.bus.t.life.Done():
			clear(ballots)
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// ask makes the commands for what is not too old, and gives the time when the first will be. Commands that failed are
// not sent again: the lane may still have them.
func (e *elections) ask(ballots []ballot) (until time.Time, cmds []redis.Cmder) {
	ctx := e.bus.t.life
	for i := range ballots {
		b := &ballots[i]
		if b.message == nil || b.expired() {
			continue
		}
		if end := b.at.Add(electionMemory / 2); until.IsZero() || end.Before(until) {
			until = end
		}
		b.vote = redis.NewStringCmd(ctx, "set", b.key, b.ticket, "px", electionMemory.Milliseconds(), "nx", "get")
		cmds = append(cmds, b.vote)
	}
	return until, cmds
}

// expired turns a message that is too old into a gap.
func (b *ballot) expired() bool {
	if time.Since(b.at) < electionMemory/2 {
		return false
	}
	b.message, b.vote, b.gap = nil, nil, reconnected()
	return true
}

// count reads the answers. Of one that came late it is not known when the server gave it.
func (e *elections) count(ballots []ballot) {
	for i := range ballots {
		b := &ballots[i]
		if b.message == nil || b.expired() {
			continue
		}
		switch winner, err := b.vote.Result(); {
		case errors.Is(err, redis.Nil), err == nil && winner == b.ticket:
		case err == nil:
			b.message = nil
		default:
			e.bus.t.log.Error("redis: election for a group refused", "group", b.share.key.group, "error", err)
			b.message, b.gap = nil, reconnected()
		}
	}
}

// handOut gives what was won to members, and gaps to those they concern.
func (e *elections) handOut(ballots []ballot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range ballots {
		switch {
		case b.message != nil:
			if s := b.share.next(b.message); s != nil {
				s.box.post(letter{message: b.message})
			}
		case b.gap != nil && b.member != nil:
			b.member.box.post(letter{gap: b.gap})
		case b.gap != nil:
			for _, s := range b.share.members {
				gap := *b.gap
				s.box.post(letter{gap: &gap})
			}
		}
	}
	close(e.round)
	e.round = nil
}

// next is the member whose turn it is to have a message. One without room for it, or about to leave, has its turn only if
// there is no other: when all have begun to leave since the round began, the last of them still waits for it.
func (sh *share) next(m *pubsub.Message) *subscription {
	for range sh.members {
		sh.turn++
		if s := sh.members[sh.turn%len(sh.members)]; !s.leaving && s.box.hasRoom(m) {
			return s
		}
	}
	for range sh.members {
		sh.turn++
		if s := sh.members[sh.turn%len(sh.members)]; s.box.takesIn() {
			return s
		}
	}
	return nil
}

// close waits for the round under way, after the transport's life has ended.
func (e *elections) close() {
	e.mu.Lock()
	running, stopped := e.running, e.stopped
	e.mu.Unlock()
	if running {
		<-stopped
	}
}
