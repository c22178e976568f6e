package envelope

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// FirstContact is how far a frame's time may be from ours when its sender's lane is not known yet.
const FirstContact = 30 * time.Second

// Opened is a frame that was verified.
type Opened struct {
	Sender      string // the node's name
	Incarnation string
	Lane        uint16
	Seq         uint64
	Kind        byte
	Payload     []byte // part of the frame's bytes
	Fresh       bool   // it was sealed within FirstContact of our clock
}

// Opener opens frames: it verifies who sent them, that they were meant for this address, and that none comes twice. It
// is safe for concurrent use.
type Opener struct {
	ring *Ring

	mu      sync.Mutex
	senders *senders
}

// NewOpener makes an opener that remembers up to maxSenders incarnations (0: 4,096), about 200 bytes for each and its
// lanes. It never forgets one that was heard within a minute; when all were, a new one is refused.
func NewOpener(ring *Ring, maxSenders int) *Opener {
	return &Opener{ring: ring, senders: newSenders(maxSenders)}
}

// Open verifies a frame that came in at an address. The frame's bytes belong to the opener from then on: a secret
// payload is decrypted in place. It answers
//
//   - Corrupt for what is no frame,
//   - Unsupported for a frame of a newer version,
//   - Unauthenticated for one without a valid signature, for another address, or from an unknown lane with a time more
//     than FirstContact from ours or older than a namesake that we know,
//   - Duplicate for one that was seen, or is too old to tell, or of an incarnation that was retired,
//   - Exhausted when there are more live senders or lanes than it can remember.
func (o *Opener) Open(frame []byte, address string) (Opened, error) {
	f, err := parse(frame)
	if err != nil {
		return Opened{}, err
	}
	if string(f.address) != address {
		return Opened{}, errAddress
	}
	if err := o.ring.verify(&f, o.cipher); err != nil {
		return Opened{}, err
	}
	return o.admit(&f)
}

// Retire says that an incarnation will send nothing more: whatever still comes in its name is a repeat.
func (o *Opener) Retire(incarnation string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.senders.retire(incarnation)
}

// parsed is a frame taken apart, with nothing verified.
type parsed struct {
	frame                               []byte
	flags                               byte
	id                                  keyID
	sealed                              int64 // Unix milliseconds
	seq                                 uint64
	lane                                uint16
	kind                                byte
	name, incarnation, address, payload []byte
	header                              int // where the payload begins
}

func parse(frame []byte) (parsed, error) {
	if len(frame) == 0 {
		return parsed{}, errShort
	}
	if v := frame[0]; v > Version {
		return parsed{}, fault.New(fault.Unsupported, "the frame has version %d, this node reads up to %d: a newer node sent it, upgrade this one", v, Version)
	} else if v < Version {
		return parsed{}, errShort
	}
	if len(frame) < fixedSize {
		return parsed{}, errShort
	}
	f := parsed{
		frame:  frame,
		flags:  frame[1],
		id:     keyID(frame[2:6]),
		sealed: int64(binary.BigEndian.Uint64(frame[6:])),
		seq:    binary.BigEndian.Uint64(frame[14:]),
		lane:   binary.BigEndian.Uint16(frame[22:]),
		kind:   frame[24],
	}
	trailer := 0
	switch f.flags {
	case 0:
	case flagSigned:
		trailer = macSize
	case flagSecret:
		trailer = tagSize
	default:
		return parsed{}, errShort
	}
	name, incarnation, address := int(frame[25]), int(frame[26]), int(binary.BigEndian.Uint16(frame[27:]))
	f.header = fixedSize + name + incarnation + address
	if len(frame) < f.header+trailer {
		return parsed{}, errShort
	}
	rest := frame[fixedSize:f.header]
	f.name, f.incarnation, f.address = rest[:name], rest[name:name+incarnation], rest[name+incarnation:]
	f.payload = frame[f.header : len(frame)-trailer]
	if _, ok := startMillis(f.incarnation); !ok {
		return parsed{}, errShort
	}
	return f, nil
}

// isStale reports whether the frame's time is too far from ours for a first contact.
func (f *parsed) isStale(now time.Time) bool {
	age := now.Sub(time.UnixMilli(f.sealed))
	return age > FirstContact || age < -FirstContact
}

// verify checks the signature, or decrypts the payload with the cipher of the frame's lane.
func (r *Ring) verify(f *parsed, cipherOf func(*key, *parsed) cipher.AEAD) error {
	if r == nil {
		if f.flags != 0 {
			return errKeyless
		}
		return nil
	}
	if f.flags == 0 {
		return errUnsigned
	}
	k := r.find(f.id)
	if k == nil {
		return errUnknownKey
	}
	if f.flags == flagSigned {
		end := len(f.frame) - macSize
		if !k.verify(f.frame[:end], f.frame[end:]) {
			return errForged
		}
		return nil
	}
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], f.seq)
	sealed := f.frame[f.header:]
	payload, err := cipherOf(k, f).Open(sealed[:0], nonce[:], sealed, f.frame[:f.header])
	if err != nil {
		return errForged
	}
	f.payload = payload
	return nil
}

// cipher is the known lane's, or a new one: nothing is remembered of a lane before one of its frames was verified.
func (o *Opener) cipher(k *key, f *parsed) cipher.AEAD {
	o.mu.Lock()
	var known cipher.AEAD
	if s := o.senders.peek(f.incarnation); s != nil {
		if l := s.lanes[f.lane]; l != nil && l.key == k.id {
			known = l.aead
		}
	}
	o.mu.Unlock()
	if known != nil {
		return known
	}
	return k.aead(string(f.incarnation), f.lane)
}

// admit lets a verified frame through once, and only if it is new.
func (o *Opener) admit(f *parsed) (Opened, error) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	s, l, err := o.senders.lane(f, now, o.ring != nil)
	if err != nil {
		return Opened{}, err
	}
	// What was sent before we listened to the lane is a first contact too, and no more to be believed.
	if o.ring != nil && f.seq < l.first && f.isStale(now) {
		return Opened{}, errStale
	}
	if s.retired || !l.accept(f.seq) {
		return Opened{}, errRepeated
	}
	o.senders.note(s, now)
	if f.flags == flagSecret && l.key != f.id {
		l.key, l.aead = f.id, o.ring.find(f.id).aead(s.incarnation, f.lane)
	}
	return Opened{Sender: s.name, Incarnation: s.incarnation, Lane: f.lane, Seq: f.seq, Kind: f.kind, Payload: f.payload, Fresh: !f.isStale(now)}, nil
}

// The refusals that need no detail are made once: refusing a flood must not cost memory.
var (
	errShort      = fault.New(fault.Corrupt, "the bytes are no frame: cut, or of another protocol")
	errAddress    = fault.New(fault.Unauthenticated, "the frame was sealed for another address")
	errKeyless    = fault.New(fault.Unauthenticated, "the frame is signed, and this node has no key: set cluster.keys here")
	errUnsigned   = fault.New(fault.Unauthenticated, "the frame is not signed: a node without cluster.keys sent it, or a stranger")
	errUnknownKey = fault.New(fault.Unauthenticated, "the frame is signed with a key that this node does not have: compare cluster.keys")
	errForged     = fault.New(fault.Unauthenticated, "the signature is wrong: the frame was forged or damaged")
	errRenamed    = fault.New(fault.Unauthenticated, "the incarnation is known under another name")
	errStale      = fault.New(fault.Unauthenticated, "the frame's time is more than %s from ours, and its sender is unknown: set the clocks, or it was replayed", FirstContact)
	errElder      = fault.New(fault.Unauthenticated, "the frame was sealed before a younger node of that name began, and its sender is unknown")
	errRepeated   = fault.New(fault.Duplicate, "the frame was seen before, or is older than %d others", WindowSize)
	errSenders    = fault.New(fault.Exhausted, "more senders were heard within a minute than this node can remember")
	errLanes      = fault.New(fault.Exhausted, "the sender uses more than %d lanes", maxLanes)
)
