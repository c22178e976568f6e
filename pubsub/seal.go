package pubsub

import (
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
	"github.com/gobackplane/backplane/internal/wire"
)

// Protection is how messages are protected on the way.
type Protection uint8

// The protections. With each, sealed messages are opened, signed and secret ones alike.
const (
	// Plain sends messages as they are, and takes such from others.
	Plain Protection = iota
	// Signed sends messages that everybody can read and nobody can change, and refuses those without a signature.
	Signed
	// Secret is Signed, and encrypts payloads and headers too.
	Secret
)

// Seal is what messages are sealed and opened with: the cluster's keys, and how. See [Options].Seal.
type Seal struct {
	ring       *envelope.Ring
	protection Protection
}

// NewSeal makes a seal of the cluster's keys: 32 bytes in base64 each, newest first. The first seals, all open, so that
// a key is rotated by adding the new one last on every node, then moving it first, then dropping the old one.
func NewSeal(keys []string, p Protection) (*Seal, error) {
	ring, err := envelope.ParseRing(keys)
	if err != nil {
		return nil, fault.In(err, "pubsub: seal", "")
	}
	if ring == nil && p != Plain {
		return nil, &fault.Error{Code: fault.Invalid, Op: "pubsub: seal", Message: "signing needs a key; make one with \"backplane key\""}
	}
	// For a purpose of its own: a frame of RPC, whose addresses look like subjects, must not pass for a message.
	return &Seal{ring: ring.For("pubsub"), protection: p}, nil
}

// A sealed message has one header, which tells it from a plain one, and as payload a frame of the envelope for the
// message's subject. In that is the message as wire has it, headers included. The numbers stand outside too, where
// drivers need them (a group is won by sender and number), and must be those inside.
const (
	sealHeader  = "Backplane-Sealed"
	sealVersion = "1"
	sealKind    = 1
)

var sealHeaders = map[string]string{sealHeader: sealVersion} // shared by all that are sent: drivers change nothing

// sealer seals and opens a PubSub's messages.
type sealer struct {
	lane     *envelope.Lane // nil: messages are sent as they are
	overhead int            // of a frame, without its subject
	verifier *envelope.Verifier
}

// newSealer makes a PubSub's own sealer: in a life of its own, because no two may seal in the same.
func newSealer(s *Seal) *sealer {
	if s == nil {
		s = &Seal{}
	}
	made := &sealer{verifier: envelope.NewVerifier(s.ring)}
	if s.protection == Plain {
		return made
	}
	life, protection := envelope.NewIncarnation(time.Now()), envelope.Signed
	if s.protection == Secret {
		protection = envelope.Secret
	}
	frames, err := envelope.NewSealer(s.ring, "", life, protection)
	if err != nil {
		panic("pubsub: " + err.Error()) // only for a life that is none, or without a key
	}
	made.lane = frames.Lane(1)
	made.overhead = envelope.Overhead("", life, "") + len(sealHeader) + len(sealVersion)
	return made
}

// signs reports whether messages are sealed here, and others' must be.
func (s *sealer) signs() bool { return s.lane != nil }

// size is at least what a message weighs when it is sealed for a sender.
func (s *sealer) size(m *Message, sender string) int {
	return s.overhead + len(m.Subject) + wire.MessageSize(&wire.Message{Payload: m.Payload, Headers: m.Headers, Sender: sender})
}

// seal puts a numbered message under seal.
func (s *sealer) seal(m *Message) {
	inner := wire.Message{Payload: m.Payload, Headers: m.Headers, Sender: m.Sender, Seq: m.Seq, SubjectSeq: m.SubjectSeq}
	size := wire.MessageSize(&inner)
	body := wire.AppendMessage(make([]byte, 0, size), &inner)
	m.Payload = s.lane.Seal(make([]byte, 0, size+s.overhead+len(m.Subject)), sealKind, m.Subject, body)
	m.Headers = sealHeaders
}

// open takes a message out of its seal. Fresh says that it was sealed just now, by our clock; a plain message always
// counts as fresh. What open refuses must not be believed in anything, its numbers included.
func (s *sealer) open(m *Message) (fresh bool, err error) {
	version, sealed := m.Headers[sealHeader]
	switch {
	case !sealed && s.signs():
		return false, errUnsealed
	case !sealed:
		return true, nil
	case version != sealVersion:
		return false, errNewer
	}
	frame, err := s.verifier.Verify(m.Payload, m.Subject)
	if err != nil {
		return false, err
	}
	if frame.Kind != sealKind {
		return false, errNewer
	}
	inner, err := wire.ReadMessage(string(frame.Payload))
	if err != nil {
		return false, err
	}
	if inner.Sender != m.Sender || inner.Seq != m.Seq || inner.SubjectSeq != m.SubjectSeq {
		return false, errRenumbered
	}
	m.Payload, m.Headers = inner.Payload, inner.Headers
	return frame.Fresh, nil
}

// The refusals that need no detail are made once: refusing a flood must not cost memory.
var (
	errUnsealed   = fault.New(fault.Unauthenticated, "the message is not signed: a node without cluster.sign_pubsub sent it, or a stranger")
	errNewer      = fault.New(fault.Unsupported, "the message has a newer seal than this node reads: upgrade it")
	errRenumbered = fault.New(fault.Unauthenticated, "the message's numbers are not those that were sealed: it was changed on the way, or replayed")
	errOld        = fault.New(fault.Unauthenticated, "the message was sealed more than %s from our time, and nothing tells it from a repeat: set the clocks, or it was replayed", envelope.FirstContact)
)
