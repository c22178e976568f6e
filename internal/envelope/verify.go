package envelope

import (
	"crypto/cipher"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxCiphers is how many lanes' ciphers a verifier keeps; each has about 1 KiB.
const maxCiphers = 1024

// Verifier opens frames as an [Opener] does, but remembers none: a frame may be opened any number of times. It is for
// frames that rightly come to several receivers of one process, each of which sees to repeats by numbers that are in
// the payload. It is safe for concurrent use.
type Verifier struct {
	ring *Ring

	mu      sync.Mutex
	ciphers *simplelru.LRU[laneKey, cipher.AEAD] // of secret lanes of which a frame was verified
}

type laneKey struct {
	id          keyID
	incarnation string
	lane        uint16
}

// NewVerifier makes a verifier. A nil ring verifies that a frame is not signed, and where it was to go.
func NewVerifier(ring *Ring) *Verifier {
	ciphers, _ := simplelru.NewLRU[laneKey, cipher.AEAD](maxCiphers, nil) // fails only for a size below 1
	return &Verifier{ring: ring, ciphers: ciphers}
}

// Verify answers as [Opener.Open] does, except that it knows no repeats and no strangers: whether a frame that may be a
// sender's first is to be believed, Opened.Fresh says.
func (v *Verifier) Verify(frame []byte, address string) (Opened, error) {
	f, err := parse(frame)
	if err != nil {
		return Opened{}, err
	}
	if string(f.address) != address {
		return Opened{}, errAddress
	}
	var lane laneKey
	var aead cipher.AEAD
	err = v.ring.verify(&f, func(k *key, f *parsed) cipher.AEAD {
		lane = laneKey{k.id, string(f.incarnation), f.lane}
		v.mu.Lock()
		defer v.mu.Unlock()
		known, ok := v.ciphers.Get(lane)
		if !ok {
			known = k.aead(lane.incarnation, lane.lane)
		}
		aead = known
		return known
	})
	if err != nil {
		return Opened{}, err
	}
	if aead != nil { // only now: a stranger must not push out those that are in use
		v.mu.Lock()
		v.ciphers.Add(lane, aead)
		v.mu.Unlock()
	}
	return Opened{Sender: string(f.name), Incarnation: string(f.incarnation), Lane: f.lane, Seq: f.seq, Kind: f.kind,
		Payload: f.payload, Fresh: !f.isStale(time.Now())}, nil
}
