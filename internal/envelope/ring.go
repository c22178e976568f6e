package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"strings"
	"sync"

	"github.com/gobackplane/backplane/fault"
)

// KeySize is the length of a cluster key in bytes, before base64.
const KeySize = 32

// NewKey draws a cluster key, in base64.
func NewKey() string {
	var secret [KeySize]byte
	rand.Read(secret[:]) // never fails: since Go 1.24 it ends the program instead
	return base64.StdEncoding.EncodeToString(secret[:])
}

// Ring is a cluster's keys, newest first: frames are sealed with the first and opened with any, so that a key is
// rotated by adding the new one last on every node, then moving it first, then dropping the old one. A nil *Ring is a
// cluster without keys.
type Ring struct{ keys []*key }

// ParseRing reads keys as [NewKey] writes them. No keys make a nil ring. Errors never show a key.
func ParseRing(keys []string) (*Ring, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ring := &Ring{}
	for i, text := range keys {
		secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return nil, fault.New(fault.Invalid, "cluster key %d of %d is not base64; make one with `backplane key`", i+1, len(keys))
		}
		if len(secret) != KeySize {
			return nil, fault.New(fault.Invalid, "cluster key %d of %d has %d bytes, %d are needed; make one with `backplane key`",
				i+1, len(keys), len(secret), KeySize)
		}
		k := newKey(secret)
		if ring.find(k.id) != nil {
			return nil, fault.New(fault.Invalid, "cluster key %d of %d is there twice", i+1, len(keys))
		}
		ring.keys = append(ring.keys, k)
	}
	return ring, nil
}

// For makes the ring of one purpose, whose frames no other purpose takes for its own. A nil ring stays nil.
func (r *Ring) For(purpose string) *Ring {
	if r == nil {
		return nil
	}
	own := &Ring{}
	for _, k := range r.keys {
		secret, err := hkdf.Key(sha256.New, k.secret, nil, "backplane purpose "+purpose, KeySize)
		if err != nil {
			panic("envelope: hkdf: " + err.Error()) // only for a length over 255 hashes
		}
		own.keys = append(own.keys, newKey(secret))
	}
	return own
}

// String names the ring without telling its secrets; so do the other ways to print it.
func (r *Ring) String() string {
	if r == nil {
		return "no keys"
	}
	return "key ring (secret)"
}

// GoString is String.
func (r *Ring) GoString() string { return r.String() }

func (r *Ring) find(id keyID) *key {
	for _, k := range r.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// keyID tells the keys of a ring apart; it says nothing of the key.
type keyID [4]byte

type key struct {
	id     keyID
	secret []byte
	macs   sync.Pool // of *mac: making an HMAC allocates, resetting one does not
}

type mac struct {
	hash.Hash
	sum [macSize]byte
}

func newKey(secret []byte) *key {
	k := &key{secret: secret}
	k.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, secret)} }
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("backplane key id")) // no frame begins so: its first byte is a version
	copy(k.id[:], h.Sum(nil))
	return k
}

// sign appends the HMAC of frame[start:].
func (k *key) sign(frame []byte, start int) []byte {
	m := k.macs.Get().(*mac)
	m.Reset()
	m.Write(frame[start:])
	frame = m.Sum(frame)
	k.macs.Put(m)
	return frame
}

// verify reports, in constant time, whether sum is the HMAC of body.
func (k *key) verify(body, sum []byte) bool {
	m := k.macs.Get().(*mac)
	m.Reset()
	m.Write(body)
	ok := subtle.ConstantTimeCompare(m.Sum(m.sum[:0]), sum) == 1
	k.macs.Put(m)
	return ok
}

// aead is the cipher of one sender's lane.
func (k *key) aead(incarnation string, lane uint16) cipher.AEAD {
	info := string(binary.BigEndian.AppendUint16([]byte("backplane lane "), lane))
	derived, err := hkdf.Key(sha256.New, k.secret, []byte(incarnation), info, KeySize)
	if err != nil {
		panic("envelope: hkdf: " + err.Error()) // only for a length over 255 hashes
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic("envelope: aes: " + err.Error()) // only for a key of another length
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("envelope: gcm: " + err.Error()) // only for another block size
	}
	return gcm
}
