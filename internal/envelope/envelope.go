// Package envelope is what frames between nodes travel in: who sent it, in which life, on which lane, as its how-manieth
// frame, of what kind and to which address, signed with the cluster's key.
//
//	ring, err := envelope.ParseRing(keys)                              // nil ring: insecure, still framed and numbered
//	sealer, err := envelope.NewSealer(ring, "web-1", incarnation, envelope.Signed)
//	frame := sealer.Lane(1).Seal(nil, kind, address, payload)
//	opened, err := envelope.NewOpener(ring, 0).Open(frame, address)
//
// A signed frame ends with an HMAC-SHA256 over all that stands before it. A secret one is AES-256-GCM over the payload
// with everything before it as additional data, under a key derived (HKDF-SHA256) from the ring key, the sender's
// incarnation and the lane, with the sequence as nonce: no nonce is ever used twice, and none has to be drawn.
//
// The layout, integers big-endian:
//
//	 0      version: 1
//	 1      flags: 1 signed, 2 secret; neither: insecure
//	 2: 6   key ID; zero when insecure
//	 6:14   when it was sealed, Unix milliseconds by the sender's clock
//	14:22   sequence on the lane, from 1
//	22:24   lane
//	24      kind, for the layer above
//	25      length of the sender's name
//	26      length of its incarnation
//	27:29   length of the address
//	29:     name, incarnation, address, payload
//	end     signed: 32 bytes HMAC; secret: 16 bytes GCM tag
package envelope

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Version is the newest layout that this code writes and reads.
const Version = 1

const (
	flagSigned = 1 << 0
	flagSecret = 1 << 1

	fixedSize = 29
	macSize   = 32
	tagSize   = 16

	// MaxName is the longest name of a node, MaxAddress the longest address, in bytes.
	MaxName    = 128
	MaxAddress = 1024
)

// Protection is how a sealer protects frames when it has a key.
type Protection uint8

// The protections.
const (
	Signed Protection = iota // readable by whoever sees it, changeable by nobody
	Secret                   // neither readable nor changeable
)

// Overhead is how many bytes a frame is longer than its payload, at most, for a sender and an address.
func Overhead(name, incarnation, address string) int {
	return fixedSize + len(name) + len(incarnation) + len(address) + macSize
}

// Sealer seals the frames of one node incarnation. It is safe for concurrent use; see [Lane] for what is not.
type Sealer struct {
	ring              *Ring
	name, incarnation string
	protection        Protection

	mu    sync.Mutex
	lanes map[uint16]*Lane
}

// NewSealer makes the sealer of a node's life. The incarnation must be fresh (see [NewIncarnation]): one that was used
// before would repeat sequences. A nil ring seals without a key.
func NewSealer(ring *Ring, name, incarnation string, protection Protection) (*Sealer, error) {
	if len(name) > MaxName {
		return nil, fault.New(fault.Invalid, "the node's name has %d bytes, %d are allowed", len(name), MaxName)
	}
	if _, err := Started(incarnation); err != nil {
		return nil, err
	}
	if protection == Secret && ring == nil {
		return nil, fault.New(fault.Invalid, "secrecy needs a key: set cluster.keys")
	}
	return &Sealer{ring: ring, name: name, incarnation: incarnation, protection: protection, lanes: map[uint16]*Lane{}}, nil
}

// Lane is the sealer's lane of that number; asked twice it is the same one.
func (s *Sealer) Lane(number uint16) *Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	lane := s.lanes[number]
	if lane == nil {
		lane = &Lane{sealer: s, number: number}
		if s.protection == Secret {
			lane.aead = s.ring.keys[0].aead(s.incarnation, number)
		}
		s.lanes[number] = lane
	}
	return lane
}

// Lane is one ordered path of a sender: the receiver forgets what is more than [WindowSize] behind the newest, so frames
// must go out in about the order in which they were sealed. Whoever writes the connection is the one to call Seal.
type Lane struct {
	sealer *Sealer
	number uint16
	seq    atomic.Uint64 // atomic, so that even a misuse never repeats a nonce
	aead   cipher.AEAD
}

// Seal appends a frame to dst and returns it. The payload is what the parts make together. It allocates only to grow
// dst. The address may have up to MaxAddress bytes.
func (l *Lane) Seal(dst []byte, kind byte, address string, parts ...[]byte) []byte {
	s := l.sealer
	seq := l.seq.Add(1)
	start := len(dst)

	var flags byte
	var id keyID
	if s.ring != nil {
		id = s.ring.keys[0].id
		flags = flagSigned
		if l.aead != nil {
			flags = flagSecret
		}
	}
	dst = append(dst, Version, flags)
	dst = append(dst, id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(time.Now().UnixMilli()))
	dst = binary.BigEndian.AppendUint64(dst, seq)
	dst = binary.BigEndian.AppendUint16(dst, l.number)
	dst = append(dst, kind, byte(len(s.name)), byte(len(s.incarnation)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(address)))
	dst = append(dst, s.name...)
	dst = append(dst, s.incarnation...)
	dst = append(dst, address...)
	header := len(dst)
	for _, p := range parts {
		dst = append(dst, p...)
	}

	switch flags {
	case flagSigned:
		return s.ring.keys[0].sign(dst, start)
	case flagSecret:
		var nonce [12]byte
		binary.BigEndian.PutUint64(nonce[4:], seq)
		return l.aead.Seal(dst[:header], nonce[:], dst[header:], dst[start:header])
	}
	return dst
}
