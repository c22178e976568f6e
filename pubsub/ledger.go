package pubsub

import "github.com/hashicorp/golang-lru/v2/simplelru"

// ledger is what a stream knows of each sender on each subject: the last numbers heard. From them it tells what comes
// twice, and what is missing. Bounded: of a pair that was forgotten the next message counts as the first.
type ledger struct {
	last   *simplelru.LRU[heard, *numbers]
	holes  bool                           // every message of a sender on a subject comes here: not so for a member of a group
	floors *simplelru.LRU[string, uint64] // by sender: the last number among the pairs that were forgotten; nil: not wanted

	latest heard    // the pair of the message before, which often is that of the next too
	first  *numbers // its numbers, the first in the LRU
}

type heard struct{ sender, subject string }

type numbers struct{ seq, subjectSeq uint64 }

// newLedger makes a ledger. A strict one can tell of sealed messages whether they may be repeats.
func newLedger(capacity int, holes, strict bool) *ledger {
	l := &ledger{holes: holes}
	var forget func(heard, *numbers)
	if strict {
		l.floors, _ = simplelru.NewLRU[string, uint64](capacity, nil)
		forget = func(pair heard, n *numbers) { l.floors.Add(pair.sender, max(n.seq, l.floor(pair.sender))) }
	}
	last, err := simplelru.NewLRU(capacity, forget)
	if err != nil {
		panic("pubsub: " + err.Error()) // only for a capacity that New has excluded
	}
	l.last = last
	return l
}

func (l *ledger) floor(sender string) uint64 {
	n, _ := l.floors.Peek(sender)
	return n
}

// believes reports whether a sealed message is no repeat that enter would take for new: one of a pair that is not known,
// or no longer, or in a group, where others of the pair went to other members. Such a message must be fresh, and younger
// than what was forgotten of its sender.
func (l *ledger) believes(m *Message, fresh bool) bool {
	switch {
	case l.floors == nil:
		return true
	case l.last.Contains(heard{m.Sender, m.Subject}):
		return fresh || l.holes
	}
	return fresh && m.Seq > l.floor(m.Sender)
}

// enter notes a message. It is new, or a repeat of one that came already, or came too late to keep the order. missing
// says how many of its sender are lost before it, or Unknown.
func (l *ledger) enter(m *Message) (fresh bool, missing int) {
	if m.Sender == "" || m.Seq == 0 {
		return true, 0 // it was published past a PubSub, and has no numbers
	}
	noted, known := l.find(heard{m.Sender, m.Subject})
	if known && m.Seq <= noted.seq {
		return false, 0
	}
	before := *noted
	*noted = numbers{m.Seq, m.SubjectSeq}
	switch {
	case !known || !l.holes || m.SubjectSeq == before.subjectSeq+1:
		return true, 0
	case m.SubjectSeq > before.subjectSeq:
		return true, int(min(m.SubjectSeq-before.subjectSeq-1, 1<<31-1))
	case m.SubjectSeq == 1:
		return true, 0 // the sender had forgotten the subject, and began again
	default:
		return true, Unknown // and the first after that was lost
	}
}

// find gives the numbers of a pair, to be changed. Those of one that is not known are zero.
func (l *ledger) find(pair heard) (noted *numbers, known bool) {
	if l.first != nil && l.latest == pair {
		return l.first, true
	}
	noted, known = l.last.Get(pair)
	if !known {
		noted = &numbers{}
		l.last.Add(pair, noted)
	}
	l.latest, l.first = pair, noted
	return noted, known
}
