package rpc

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
)

const (
	maxAssembling = flowWindow / maxChunk // at once, so that each has room for a chunk in the window
	maxWaiting    = 1024                  // that wait for their turn
)

// assemblies is the payloads that come in chunks. Three things are bounded: the memory of all of them and of one
// sender's, the bytes on their way here, and how long one may make no progress. What does not fit waits for its turn, in
// order.
type assemblies struct {
	largest        int // of one payload with its head
	most, mostEach int // bytes of memory: of all, of one sender
	window, chunk  int

	mu       sync.Mutex
	known    map[assemblyKey]*assembly
	active   []*assembly // in order of their begin
	waiting  []*assembly
	memory   int
	bySender map[string]int
	onTheWay int // allowed to come, and not yet here
}

type assemblyKey struct {
	sender   string
	transfer uint64
}

type assembly struct {
	key      assemblyKey
	opening  opening
	buffer   []byte
	credit   int
	began    time.Time
	progress time.Time
	lost     bool // a chunk did not come
}

// due is a frame that an assembly owes to its sender.
type due struct {
	to     string
	credit *position
	abort  *abortion
}

// begin takes a new payload in, or says why not.
func (a *assemblies) begin(sender string, o opening) []due {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := assemblyKey{sender, o.transfer}
	switch {
	case a.known[key] != nil:
		return nil
	case o.total > uint64(a.largest):
		return []due{refusal(key, o, fault.TooLarge, fmt.Sprintf("the payload has %d bytes, the receiver allows %d (rpc.Limits.Payload)", o.total, a.largest))}
	case len(a.waiting) >= maxWaiting:
		return []due{refusal(key, o, fault.Exhausted, fmt.Sprintf("%d large payloads wait for their turn at the receiver", maxWaiting))}
	}
	now := time.Now()
	one := &assembly{key: key, opening: o, began: now, progress: now}
	if a.known == nil {
		a.known, a.bySender = map[assemblyKey]*assembly{}, map[string]int{}
	}
	a.known[key] = one
	a.waiting = append(a.waiting, one)
	return a.advance()
}

// add takes a chunk. Once the payload is complete it is answered, and no longer known here.
func (a *assemblies) add(sender string, p position, data []byte) (*assembly, []due) {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.known[assemblyKey{sender, p.transfer}]
	if one == nil {
		return nil, nil
	}
	if p.offset != uint64(len(one.buffer)) || len(one.buffer)+len(data) > one.credit {
		a.drop(one)
		one.lost = true
		return one, append(a.advance(), refusal(one.key, one.opening, fault.Unavailable, "a piece of the payload was lost on the way"))
	}
	one.buffer = append(one.buffer, data...)
	one.progress = time.Now()
	a.onTheWay -= len(data)
	if len(one.buffer) == int(one.opening.total) {
		a.drop(one)
	}
	return one, a.advance()
}

func (one *assembly) complete() bool { return !one.lost && len(one.buffer) == int(one.opening.total) }

// expects reports whether the request of that number is on its way from a sender.
func (a *assemblies) expects(sender string, call uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, one := range a.known {
		if key.sender == sender && one.opening.kind == kindRequest && one.opening.call == call {
			return true
		}
	}
	return false
}

// abort forgets what its sender gave up.
func (a *assemblies) abort(sender string, transfer uint64) (*assembly, []due) {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.known[assemblyKey{sender, transfer}]
	if one == nil {
		return nil, nil
	}
	a.drop(one)
	return one, a.advance()
}

// gone forgets what a node was sending.
func (a *assemblies) gone(sender string) []due {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, one := range a.known {
		if key.sender == sender {
			a.drop(one)
		}
	}
	return a.advance()
}

// refresh gives up what makes no progress, and says again how far the others may go: a credit may have been lost, and
// one that waits for its turn must know that we live.
func (a *assemblies) refresh() (stalled []*assembly, owed []due) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for _, one := range slices.Clone(a.active) {
		if now.Sub(one.progress) > stalledAfter {
			a.drop(one)
			stalled = append(stalled, one)
			owed = append(owed, refusal(one.key, one.opening, fault.Unavailable, "a piece of the payload was lost on the way, or the sender stopped"))
		}
	}
	owed = append(owed, a.advance()...)
	for _, one := range a.known {
		owed = append(owed, one.credited())
	}
	return stalled, owed
}

func (one *assembly) credited() due {
	return due{to: one.key.sender, credit: &position{one.key.transfer, uint64(one.credit)}}
}

func refusal(key assemblyKey, o opening, code fault.Code, message string) due {
	return due{to: key.sender, abort: &abortion{
		transfer: key.transfer, byReceiver: true, ofRequest: o.kind == kindRequest, call: o.call, code: code, message: message,
	}}
}

// drop forgets one; mu is held, as in what follows.
func (a *assemblies) drop(one *assembly) {
	delete(a.known, one.key)
	is := func(other *assembly) bool { return other == one }
	if i := slices.IndexFunc(a.waiting, is); i >= 0 {
		a.waiting = slices.Delete(a.waiting, i, i+1)
		return
	}
	a.active = slices.DeleteFunc(a.active, is)
	total := int(one.opening.total)
	a.memory -= total
	if a.bySender[one.key.sender] -= total; a.bySender[one.key.sender] == 0 {
		delete(a.bySender, one.key.sender)
	}
	a.onTheWay -= one.credit - len(one.buffer)
}

// advance begins what now fits, and lets those that have begun go on.
func (a *assemblies) advance() []due {
	a.admit()
	if len(a.active) == 0 {
		return nil
	}
	var owed []due
	share := max(a.window/len(a.active), a.chunk)
	for _, one := range a.active {
		total := int(one.opening.total)
		want := min(total, len(one.buffer)+share)
		more := min(want-one.credit, a.window-a.onTheWay)
		if more <= 0 || more < share/2 && one.credit+more < total && one.credit > len(one.buffer) {
			continue // not worth a frame yet: it can still send
		}
		one.credit += more
		a.onTheWay += more
		owed = append(owed, one.credited())
	}
	return owed
}

// admit begins waiting ones in order. One whose sender uses its share already is passed over; one for which there is no
// memory at all is not, or large ones would never come to their turn.
func (a *assemblies) admit() {
	for i := 0; i < len(a.waiting) && len(a.active) < maxAssembling; {
		one := a.waiting[i]
		total := int(one.opening.total)
		if a.bySender[one.key.sender]+total > a.mostEach {
			i++
			continue
		}
		if a.memory+total > a.most {
			return
		}
		a.waiting = slices.Delete(a.waiting, i, i+1)
		one.buffer = make([]byte, 0, total)
		one.progress = time.Now()
		a.memory += total
		a.bySender[one.key.sender] += total
		a.active = append(a.active, one)
	}
}

// owe sends what assemblies owe.
func (p *Peer) owe(owed []due) {
	for _, d := range owed {
		if d.abort != nil {
			p.writer.post(outgoing{to: Inbox(d.to), kind: kindAbort, head: d.abort.body()})
		} else {
			p.writer.post(outgoing{to: Inbox(d.to), kind: kindCredit, head: d.credit.body()})
		}
	}
}

// lost tells the caller that the answer, of which a part had come, will not be completed.
func (p *Peer) lost(one *assembly, why string) {
	if one.opening.kind != kindResponse {
		return
	}
	if c := p.calls.find(one.opening.call); c != nil {
		c.fill(one.key.sender, nil, &fault.Error{Code: fault.Unavailable, Message: why})
	}
}
