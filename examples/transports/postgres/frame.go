package postgres

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/gobackplane/backplane/pubsub"
)

// A message travels as a frame: a version, its identity, subject, sender, numbers, headers, and the payload to the end. In
// a notification, which is text of less than 8,000 bytes, the frame stands in base64 behind "m ". One that does not fit is
// kept as a parcel, and the notification is "p " with the same frame as far as the subject, and then the whole one's length.
const (
	frameVersion = 1
	// longestFrame leaves room: base64 makes four bytes of three.
	longestFrame = 5900
)

// messageID tells messages apart that have no sender. It also keeps two notifications of one transaction from being equal,
// of which PostgreSQL would send one.
type messageID [16]byte

// frame is a message as it travels. subject and id are read at once, the rest by message.
type frame struct {
	id      messageID
	subject string
	body    []byte // what follows; not to be changed
}

func appendFrame(b []byte, id messageID, m *pubsub.Message) []byte {
	b = append(b, frameVersion)
	b = append(b, id[:]...)
	b = appendText(b, m.Subject)
	b = appendText(b, m.Sender)
	b = binary.AppendUvarint(b, m.Seq)
	b = binary.AppendUvarint(b, m.SubjectSeq)
	b = appendHeaders(b, m.Headers)
	return append(b, m.Payload...)
}

func readFrame(b []byte) (frame, error) {
	r := reader{left: b}
	if version := r.byte(); version != frameVersion && !r.bad {
		return frame{}, fmt.Errorf("a message has version %d, this program knows %d; update it", version, frameVersion)
	}
	var f frame
	copy(f.id[:], r.take(len(f.id)))
	f.subject = r.text()
	if r.bad || checkSubject(f.subject, maxSubject, false) != nil {
		return frame{}, fmt.Errorf("a message of %d bytes cannot be decoded", len(b))
	}
	f.body = r.left
	return f, nil
}

// message decodes a copy that shares nothing with others.
func (f *frame) message() (*pubsub.Message, bool) {
	r := reader{left: f.body}
	m := &pubsub.Message{Subject: f.subject, Sender: r.text(), Seq: r.uvarint(), SubjectSeq: r.uvarint(), Headers: r.headers()}
	if r.bad {
		return nil, false
	}
	m.Payload = slices.Clone(r.left)
	return m, true
}

// note makes the notification of a frame, and tells whether the frame must be kept as a parcel.
func note(whole []byte, id messageID, subject string) (text string, parcel bool) {
	if len(whole) <= longestFrame {
		return "m " + base64.StdEncoding.EncodeToString(whole), false
	}
	label := appendText(append([]byte{frameVersion}, id[:]...), subject)
	label = binary.AppendUvarint(label, uint64(len(whole)))
	return "p " + base64.StdEncoding.EncodeToString(label), true
}

// length is that of the whole frame, of which this is the label.
func (f *frame) length() int {
	r := reader{left: f.body}
	return int(min(r.uvarint(), 2*maxMessage))
}

// readNote takes a notification apart. Of a parcel the frame has only its identity and subject, and its length.
func readNote(text string) (f frame, parcel bool, err error) {
	kind, encoded, _ := strings.Cut(text, " ")
	if kind != "m" && kind != "p" {
		return frame{}, false, fmt.Errorf("a notification of a kind that this program does not know; update it")
	}
	whole, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return frame{}, false, err
	}
	f, err = readFrame(whole)
	return f, kind == "p", err
}
