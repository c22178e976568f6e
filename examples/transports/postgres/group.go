package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/gobackplane/backplane/pubsub"
)

// elections let one of all nodes with members in a group have each message. Every such node receives it, and inserts the
// group and the message's identity into the table election, with a ticket: who finds its own ticket there has won, also
// when an earlier answer was lost. The winner gives the message to one of its members that match, in turn.
//
// One goroutine, while there is something to do, votes on all that has arrived in one statement. So elections are held and
// won in the order of arrival, which keeps each sender's messages in order for every member.
//
// An election is remembered for 30 s. A node that asked later could win what another has long handled, so it does not ask
// for what it received more than half of that ago: its members are told of a gap.
type elections struct {
	bus    *bus
	ticket []byte // this node's

	complaints sparing

	mu      sync.Mutex
	queue   []ballot
	bytes   int
	turns   map[string]uint64 // by group
	running bool
	stopped chan struct{} // closed when running ends
	round   chan struct{} // closed when what is being voted on has been handed out; nil while there is nothing
}

const (
	electionMemory = 30 * time.Second
	electionRound  = 512 // messages of one statement
	maxBallots     = 8192
	maxBallotBytes = 64 << 20
)

// ballot is a message to be voted on, or a gap in its place, with this node's members that it concerns.
type ballot struct {
	group   string
	members []*subscription
	letter  letter
	at      time.Time
	key     []byte
}

func newElections(b *bus) *elections {
	return &elections{bus: b, ticket: random(12), turns: map[string]uint64{}}
}

// post queues a ballot. What does not fit becomes a gap: how much of it this node would have won is not known.
func (e *elections) post(b ballot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bus.t.life.Err() != nil {
		return
	}
	if b.letter.gap == nil && (len(e.queue) >= maxBallots || len(e.queue) > 0 && e.bytes+b.letter.size() > maxBallotBytes) {
		if last := e.queue[len(e.queue)-1]; last.letter.gap != nil && last.group == b.group && slices.Equal(last.members, b.members) {
			return
		}
		b.letter = letter{gap: &pubsub.Gap{Cause: pubsub.Overflow, Lost: pubsub.Unknown}}
	}
	e.queue = append(e.queue, b)
	e.bytes += b.letter.size()
	if !e.running {
		e.running = true
		e.stopped = make(chan struct{})
		go e.run()
	}
}

// run holds elections until the queue is empty.
func (e *elections) run() {
	for {
		ballots := e.begin()
		if ballots == nil {
			return
		}
		e.vote(ballots)
		e.handOut(ballots)
	}
}

// begin takes the next round from the queue, without what no member is left for: another node shall have it.
func (e *elections) begin() []ballot {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 || e.bus.t.life.Err() != nil {
		e.queue, e.bytes, e.running = nil, 0, false
		close(e.stopped)
		return nil
	}
	n := min(len(e.queue), electionRound)
	ballots := make([]ballot, 0, n)
	for _, b := range e.queue[:n] {
		e.bytes -= b.letter.size()
		if slices.ContainsFunc(b.members, func(s *subscription) bool { return !s.leaving }) {
			ballots = append(ballots, b)
		}
	}
	e.queue = e.queue[n:]
	e.round = make(chan struct{})
	return ballots
}

// election identifies a message within a group, in all nodes alike. The length keeps the group's name and what follows apart.
func (b *ballot) election() []byte {
	key := binary.AppendUvarint(nil, uint64(len(b.group)))
	key = append(key, b.group...)
	return append(key, b.letter.frame.id[:]...)
}

// vote asks for all messages of a round, until there is an answer or they are too old to be asked for. What was not won
// loses its letter.
func (e *elections) vote(ballots []ballot) {
	won := make([]bool, len(ballots))
	for {
		var order []int
		deadline := time.Time{}
		for i := range ballots {
			b := &ballots[i]
			if b.letter.frame == nil {
				continue
			}
			end := b.at.Add(electionMemory / 2)
			if time.Now().After(end) {
				b.letter = letter{gap: reconnected()}
				continue
			}
			if deadline.IsZero() || end.Before(deadline) {
				deadline = end
			}
			b.key = b.election()
			order = append(order, i)
		}
		if len(order) == 0 {
			return
		}
		slices.SortFunc(order, func(x, y int) int { return bytes.Compare(ballots[x].key, ballots[y].key) })
		ctx, cancel := context.WithDeadline(e.bus.t.life, deadline)
		var n int
		err := e.bus.t.store.rows(ctx, "SELECT * FROM vote($1, $2, $3)",
			[]any{e.bus.t.ns, pick(order, func(i int) []byte { return ballots[i].key }), e.ticket}, []any{&n}, func() error {
				won[order[n-1]] = true
				return nil
			})
		cancel()
		if err == nil {
			break
		}
		if e.bus.t.life.Err() != nil {
			clear(ballots)
			return
		}
		if before, due := e.complaints.due(); due {
			e.bus.t.log.Warn("postgres: an election for a group failed; asking again", "messages", len(order), "error", e.bus.t.fault(err, "", ""), "more", before)
		}
		pause(e.bus.t.life, 50*time.Millisecond)
	}
	for i := range ballots {
		if ballots[i].letter.frame != nil && !won[i] {
			ballots[i].letter = letter{}
		}
	}
}

// handOut gives what was won to members, and gaps to those they concern.
func (e *elections) handOut(ballots []ballot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range ballots {
		switch {
		case b.letter.frame != nil:
			e.choose(&b).box.post(b.letter)
		case b.letter.gap != nil:
			for _, s := range b.members {
				gap := *b.letter.gap
				s.box.post(letter{gap: &gap})
			}
		}
	}
	close(e.round)
	e.round = nil
}

// choose is the member whose turn it is. One without room, or about to leave, has its turn only if there is no other: when
// all have begun to leave since the round began, the last of them still waits for it.
func (e *elections) choose(b *ballot) *subscription {
	if len(e.turns) > 10_000 {
		clear(e.turns)
	}
	e.turns[b.group]++
	turn := e.turns[b.group]
	n := uint64(len(b.members))
	for i := range n {
		if s := b.members[(turn+i)%n]; !s.leaving && s.box.hasRoom(b.letter) {
			return s
		}
	}
	for i := range n {
		if s := b.members[(turn+i)%n]; !s.leaving {
			return s
		}
	}
	return b.members[turn%n]
}

// leave lets a member go after what this node is winning at the moment has been handed out: it may be for this member alone.
func (e *elections) leave(s *subscription) {
	inside := withinDeliver()
	e.mu.Lock()
	s.leaving = true
	round := e.round
	e.mu.Unlock()
	if inside || e.bus.t.life.Err() != nil {
		return
	}
	if round != nil {
		timer := time.NewTimer(leavePatience)
		defer timer.Stop()
		select {
		case <-round:
		case <-timer.C: // without a link nothing will be won
		case <-e.bus.t.life.Done():
		}
	}
	s.box.finish()
}

// leavePatience is how long a member that goes waits for what this node may win for it.
const leavePatience = time.Second

// close waits for the round under way, after the transport's life has ended.
func (e *elections) close() {
	e.mu.Lock()
	running, stopped := e.running, e.stopped
	e.mu.Unlock()
	if running {
		<-stopped
	}
}
