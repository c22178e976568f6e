package nats

import (
	"context"
	"sync"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// grip is one claim that is to be settled or extended, and what is known of its task.
type grip struct {
	index int // in the call
	ref   queue.Ref
	queue string // token
	id    string // token
	token claimToken
	mark  uint64 // of the settlement

	at     position
	known  bool // p and record are of the message at this position
	p      progress
	record []byte

	err error // the answer
}

// position is where a claim's lease is: in the held message that the claim or the last heartbeat wrote; or, once it has
// ended and as long as no claim has taken the task back, in the ready message that the server made of it.
type position struct {
	n       string
	seq     uint64
	isReady bool
}

// moved remembers where heartbeats of this node have moved leases to. Where it has forgotten, the store is asked.
type moved struct {
	mu sync.Mutex
	to map[string]position // by n of the claim
}

func (m *moved) init() { m.to = map[string]position{} }

func (m *moved) get(t claimToken) position {
	m.mu.Lock()
	defer m.mu.Unlock()
	if to, found := m.to[t.n]; found {
		return to
	}
	return position{n: t.n, seq: t.seq}
}

func (m *moved) put(n string, to position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.to) >= mostRemembered {
		clear(m.to)
	}
	m.to[n] = to
}

func (m *moved) forget(n string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.to, n)
}

// hold begins a grip. False: no claim has such a token; the store has to say so all the same, because without it nothing
// can be said.
func (d *queueDriver) hold(i int, ref queue.Ref) (*grip, bool) {
	h := &grip{index: i, ref: ref, queue: taskToken(ref.Queue), id: taskToken(ref.ID)}
	var ok bool
	if h.token, ok = readClaimToken(h.queue, h.id, ref.Token); !ok {
		return h, false
	}
	h.at = d.moved.get(h.token)
	return h, true
}

func (d *queueDriver) leaseLost(op string, ref queue.Ref) error {
	return d.core.fault(fault.New(fault.LeaseLost, "the claim has ended: the task was settled, or its lease was lost; nothing was changed"), op, ref.ID)
}

// learn reads the messages at the grips' positions. It gives those that are there, and those that are not.
func (d *queueDriver) learn(ctx context.Context, all []*grip) (there, gone []*grip, err error) {
	var open []*grip
	var asked []wanted
	for _, h := range all {
		if h.known {
			there = append(there, h)
			continue
		}
		open, asked = append(open, h), append(asked, wanted{Seq: h.at.seq})
	}
	found, err := d.read(ctx, d.names.stream, asked...)
	if err != nil {
		return nil, nil, err
	}
	for i, h := range open {
		if h.understand(found[i]) {
			there = append(there, h)
		} else {
			gone = append(gone, h)
		}
	}
	return there, gone, nil
}

// understand takes what a message says of the task. False: it is not there, or not of this claim.
func (h *grip) understand(m kept) bool {
	if m.seq == 0 {
		return false
	}
	p, record, err := readTaskRecord(m.data)
	if err != nil || p.claim != h.token.n || p.claim == "" {
		return false
	}
	h.known, h.p, h.record = true, p, record
	return true
}

// find looks for claims that are not where they were thought to be. Those that still stand have their position then, and
// are given; the others have their answer.
//
// A server stores a message first and then purges what the message replaces. One that is killed between the two has not
// answered, so the change is made again and comes here, where the old lease is taken away: it would count as active, and
// become a ready task when it ends.
func (d *queueDriver) find(ctx context.Context, op string, all []*grip) (standing []*grip, err error) {
	asked := make([]wanted, 0, 2*len(all))
	for _, h := range all {
		asked = append(asked, wanted{Last: d.names.heldOf(h.queue, h.id)}, wanted{Last: d.names.readyOf(h.queue, h.id)})
	}
	found, err := d.read(ctx, d.names.stream, asked...)
	if err != nil {
		return nil, err
	}
	var replaced []uint64
	for i, h := range all {
		held, ready := found[2*i], found[2*i+1]
		m := held
		if held.seq == 0 {
			m = ready
		}
		h.known = false
		place, ok := d.names.parse(m.subject)
		if ok && h.understand(m) && (place.isRaw || place.kind == heldLease) {
			if m.seq != h.at.seq {
				replaced = append(replaced, h.at.seq)
			}
			h.at = position{n: place.n, seq: m.seq, isReady: place.isRaw}
			standing = append(standing, h)
			continue
		}
		p, _, err := readTaskRecord(m.data)
		if m.seq > 0 && err == nil && h.mark != 0 && p.settled == h.mark {
			h.err = nil // this very settlement was made before, and its answer was lost
			replaced = append(replaced, h.at.seq)
			continue
		}
		h.err = d.leaseLost(op, h.ref)
	}
	return standing, d.remove(ctx, replaced...)
}

// from sets what a write needs to take a task from where the claim holds it.
func (d *queueDriver) from(h *grip, w *write) {
	w.of = d.names.heldOf(h.queue, h.id)
	if h.at.isReady {
		return // it has no held message, and must have none
	}
	w.expected, w.purges = h.at.seq, d.names.held(h.queue, heldLease, h.id, h.at.n)
}

// leftover is the ready message that a move from there leaves behind; 0 for none.
func (h *grip) leftover() uint64 {
	if h.at.isReady {
		return h.at.seq
	}
	return 0
}
