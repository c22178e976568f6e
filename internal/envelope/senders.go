package envelope

import (
	"crypto/cipher"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	defaultSenders = 4096
	maxLanes       = 256

	// remembered is how long a silent sender is kept at least. Within FirstContact its last frames could be replayed as a
	// first contact if it were forgotten; twice that leaves room for a clock that is behind.
	remembered = 2 * FirstContact
)

// senders is what is known of the incarnations that were heard. Its memory is bounded, and being forgotten never opens a
// door: only those are forgotten whose frames are too old to be a first contact.
type senders struct {
	max      int
	known    *simplelru.LRU[string, *sender]
	youngest map[string]int64 // by name: the latest start among the known
}

type sender struct {
	name, incarnation string
	started           int64 // Unix milliseconds
	heard             time.Time
	moved             time.Time // to the end of those to be forgotten
	retired           bool
	lanes             map[uint16]*lane
}

type lane struct {
	window
	key  keyID
	aead cipher.AEAD // of key; nil until a secret frame came
}

func newSenders(most int) *senders {
	if most <= 0 {
		most = defaultSenders
	}
	s := &senders{max: most, youngest: map[string]int64{}}
	s.known, _ = simplelru.NewLRU[string, *sender](most, nil) // fails only for a size below 1
	return s
}

// note counts as a use, so it is for frames that were let through only: neither a stranger nor a repeat may keep anyone
// from being forgotten.
func (s *senders) note(from *sender, now time.Time) {
	from.heard = now
	if now.Sub(from.moved) > time.Second { // the order is needed to a minute
		from.moved = now
		s.known.Get(from.incarnation)
	}
}

func (s *senders) peek(incarnation []byte) *sender {
	known, _ := s.known.Peek(string(incarnation))
	return known
}

func (s *senders) retire(incarnation string) {
	if known, ok := s.known.Peek(incarnation); ok {
		known.retired = true
	}
}

// lane finds the sender and lane of a verified frame. When either is new, the frame is a first contact: its time must be
// near ours (checked), or it may be an old one that is being replayed.
func (s *senders) lane(f *parsed, now time.Time, checked bool) (*sender, *lane, error) {
	from := s.peek(f.incarnation)
	if from != nil {
		if from.name != string(f.name) {
			return nil, nil, errRenamed
		}
		if l := from.lanes[f.lane]; l != nil {
			return from, l, nil
		}
	}
	if checked && f.isStale(now) {
		return nil, nil, errStale
	}
	if from == nil {
		var err error
		if from, err = s.add(f, now, checked); err != nil {
			return nil, nil, err
		}
	}
	if len(from.lanes) >= maxLanes {
		return nil, nil, errLanes
	}
	l := &lane{}
	from.lanes[f.lane] = l
	return from, l, nil
}

// add remembers a new incarnation.
//
// Names may repeat, so a younger namesake alone is no reason to refuse: both may live. But what was sealed before the
// younger one began is either a replay of its former life or at most one heartbeat old: the next frame of an elder that
// lives will pass.
func (s *senders) add(f *parsed, now time.Time, checked bool) (*sender, error) {
	started, _ := startMillis(f.incarnation)
	youngest, namesake := s.youngest[string(f.name)]
	if checked && namesake && started < youngest && f.sealed < youngest {
		return nil, errElder
	}
	if s.known.Len() >= s.max {
		_, oldest, _ := s.known.GetOldest()
		if now.Sub(oldest.heard) < remembered {
			return nil, errSenders
		}
		s.known.RemoveOldest()
		if s.youngest[oldest.name] == oldest.started {
			delete(s.youngest, oldest.name)
		}
	}
	added := &sender{
		name:        string(f.name),
		incarnation: string(f.incarnation),
		started:     started,
		heard:       now,
		lanes:       map[uint16]*lane{},
	}
	s.known.Add(added.incarnation, added)
	s.youngest[added.name] = max(started, youngest)
	return added, nil
}
