// Package wire is how values of the contracts look as bytes, on transports that carry only bytes.
package wire

import (
	"encoding/binary"
	"strings"
	"unsafe"

	"github.com/gobackplane/backplane/fault"
)

// A message is a frame of:
//
//	version   1 byte    messageVersion
//	fields    1 byte    which of the following are there
//	sender    string    with it: seq, subject seq    uvarint, uvarint
//	id        16 bytes
//	headers   uvarint   their number, then key, value   string, string
//	payload   the rest
//
// A string is its length as uvarint and its bytes. The subject is not in it: the transport knows it from its channel.
const messageVersion = 1

const (
	hasSender = 1 << iota
	hasID
	hasHeaders
	hasPayload  // not nil
	knownFields = 1<<iota - 1
)

// Message is what a frame carries of a pub/sub message, and an ID for one that has no sender's number.
type Message struct {
	Payload    []byte
	Headers    map[string]string
	Sender     string
	Seq        uint64
	SubjectSeq uint64
	ID         MessageID
}

// MessageID identifies a message. Zero is none.
type MessageID [16]byte

// AppendMessage appends the frame of a message to dst.
func AppendMessage(dst []byte, m *Message) []byte {
	fields := byte(0)
	numbered := m.Sender != "" || m.Seq != 0 || m.SubjectSeq != 0
	if numbered {
		fields |= hasSender
	}
	if m.ID != (MessageID{}) {
		fields |= hasID
	}
	if m.Headers != nil {
		fields |= hasHeaders
	}
	if m.Payload != nil {
		fields |= hasPayload
	}
	dst = append(dst, messageVersion, fields)
	if numbered {
		dst = appendString(dst, m.Sender)
		dst = binary.AppendUvarint(dst, m.Seq)
		dst = binary.AppendUvarint(dst, m.SubjectSeq)
	}
	if fields&hasID != 0 {
		dst = append(dst, m.ID[:]...)
	}
	if m.Headers != nil {
		dst = binary.AppendUvarint(dst, uint64(len(m.Headers)))
		for key, value := range m.Headers {
			dst = appendString(appendString(dst, key), value)
		}
	}
	return append(dst, m.Payload...)
}

// MessageSize is at least the length of a message's frame.
func MessageSize(m *Message) int {
	const fixed = 2 + 4*binary.MaxVarintLen64 + len(MessageID{})
	size := fixed + len(m.Sender) + len(m.Payload)
	for key, value := range m.Headers {
		size += 2*binary.MaxVarintLen32 + len(key) + len(value)
	}
	return size
}

// ReadMessage reads a frame. The message shares no memory that can be written with it, nor with another reading of it.
// What it cannot read is Corrupt.
func ReadMessage(frame string) (Message, error) {
	var m reading
	if err := m.read(frame); err != nil {
		return Message{}, err
	}
	if m.hasPayload {
		m.Payload = []byte(m.rest)
	}
	return m.Message, nil
}

// reading is a message whose payload is still to be taken from the rest of its frame.
type reading struct {
	Message
	hasPayload bool
	rest       string
}

func (m *reading) read(frame string) error {
	if len(frame) < 2 {
		return fault.New(fault.Corrupt, "a message of %d bytes is no frame of ours; is something else publishing on this channel?", len(frame))
	}
	if frame[0] != messageVersion {
		return fault.New(fault.Corrupt, "the message's format has version %d, this node reads %d; upgrade it, or find out who publishes on this channel", frame[0], messageVersion)
	}
	fields := frame[1]
	if fields&^byte(knownFields) != 0 {
		return fault.New(fault.Corrupt, "the message has fields %#x, this node knows %#x; upgrade it", fields, knownFields)
	}
	r := reader{rest: frame[2:]}
	if fields&hasSender != 0 {
		m.Sender, m.Seq, m.SubjectSeq = r.string(), r.uvarint(), r.uvarint()
	}
	if fields&hasID != 0 {
		copy(m.ID[:], r.take(uint64(len(m.ID))))
	}
	if fields&hasHeaders != 0 {
		m.Headers = r.headers()
	}
	if r.short {
		return fault.New(fault.Corrupt, "the message ends too early, after %d bytes", len(frame))
	}
	m.hasPayload, m.rest = fields&hasPayload != 0, r.rest
	if !m.hasPayload && r.rest != "" {
		return fault.New(fault.Corrupt, "the message has %d bytes too many", len(r.rest))
	}
	return nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// reader takes a frame apart. After a failure it gives zero values.
type reader struct {
	rest  string
	short bool
}

func (r *reader) take(n uint64) string {
	if n > uint64(len(r.rest)) {
		r.rest, r.short = "", true
		return ""
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) uvarint() uint64 {
	var value uint64
	for i := range min(len(r.rest), binary.MaxVarintLen64) {
		next := r.rest[i]
		if i == binary.MaxVarintLen64-1 && next > 1 {
			break
		}
		value |= uint64(next&0x7f) << (7 * i)
		if next < 0x80 {
			r.rest = r.rest[i+1:]
			return value
		}
	}
	r.rest, r.short = "", true
	return 0
}

func (r *reader) string() string { return r.take(r.uvarint()) }

// headers reads a map. Its announced size is believed only as far as bytes are left for it: a header takes two at least.
func (r *reader) headers() map[string]string {
	n := r.uvarint()
	if n > uint64(len(r.rest)/2) {
		r.rest, r.short = "", true
		return nil
	}
	headers := make(map[string]string, n)
	for range n {
		key := r.string()
		headers[key] = r.string()
	}
	return headers
}

// OpenMessage is ReadMessage for a frame that the caller gives away: the payload is a part of it, and everything else a
// copy. A sender equal to known is known itself, which spares a copy of what rarely changes from one frame to the next.
func OpenMessage(frame []byte, known string) (Message, error) {
	var m reading
	if err := m.read(unsafe.String(unsafe.SliceData(frame), len(frame))); err != nil {
		return Message{}, err
	}
	// What was read shares the frame's memory, which its new owner may write to, and keeps all of it alive.
	if m.Sender == known {
		m.Sender = known
	} else {
		m.Sender = strings.Clone(m.Sender)
	}
	if len(m.Headers) > 0 {
		own := make(map[string]string, len(m.Headers))
		for key, value := range m.Headers {
			own[strings.Clone(key)] = strings.Clone(value)
		}
		m.Headers = own
	}
	if m.hasPayload {
		start := len(frame) - len(m.rest)
		m.Payload = frame[start:len(frame):len(frame)]
	}
	return m.Message, nil
}
