package nats

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
)

// stored is the last message of a subject. The zero value is none.
type stored struct {
	sequence uint64
	data     []byte // empty: what was there was deleted

	at   string // when the server stored it, as it was told
	when time.Time
}

// storedAt is when the server stored it.
func (m *stored) storedAt() (time.Time, error) {
	if m.when.IsZero() {
		at, err := time.Parse(time.RFC3339Nano, m.at)
		if err != nil {
			return at, fault.New(fault.Internal, "the server tells the time of a message as %q", m.at)
		}
		m.when = at
	}
	return m.when, nil
}

// readLast asks for the last message of a subject. With one server there is no other that could lag behind, and any may
// answer.
func (s *store) readLast(subject string) *request {
	if s.leader.Load() {
		// The subject needs no quoting: see kv_key.go.
		return &request{repeats: true, subject: s.api + "STREAM.MSG.GET." + s.stream, data: []byte(`{"last_by_subj":"` + subject + `"}`)}
	}
	return &request{repeats: true, subject: s.api + "DIRECT.GET." + s.stream + "." + subject}
}

// readStored reads the answer to readLast.
func readStored(r *request) (stored, error) {
	if r.err != nil {
		return stored{}, r.err
	}
	m := r.answer
	if sequence := header(m, jetstream.SequenceHeader); sequence != "" {
		n, err := strconv.ParseUint(sequence, 10, 64)
		if err != nil {
			return stored{}, unexpected(m)
		}
		return stored{sequence: n, data: m.Data, at: header(m, jetstream.TimeStampHeaer)}, nil
	}
	if status := header(m, "Status"); status != "" {
		if status == "404" {
			return stored{}, nil
		}
		return stored{}, unexpected(m)
	}
	return foundByLeader(m)
}

func foundByLeader(m *nats.Msg) (stored, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64    `json:"seq"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return stored{}, unexpected(m)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return stored{}, nil
	case answer.Error != nil:
		return stored{}, answer.Error
	case answer.Message == nil:
		return stored{}, unexpected(m)
	}
	return stored{sequence: answer.Message.Sequence, data: answer.Message.Data, when: answer.Message.Time}, nil
}

// header is a header's value. The server writes its own always alike, so no form has to be found for the name.
func header(m *nats.Msg, name string) string {
	if values := m.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// tellsError says whether an answer of the JetStream API tells of an error, which it does near its beginning.
func tellsError(data []byte) bool {
	const beginning = 256
	return bytes.Contains(data[:min(len(data), beginning)], []byte(`"error"`))
}

// unexpected is the error for an answer that no server is known to give.
func unexpected(m *nats.Msg) error {
	return fault.New(fault.Internal, "the server answered %.200q with the status %q %q, where another answer was expected",
		m.Data, header(m, "Status"), header(m, "Description"))
}

// jetstream has no names for these.
const (
	pendingHeader      = "Nats-Num-Pending"
	sizeHeader         = "Nats-Msg-Size"
	lastConsumerHeader = "Nats-Last-Consumer"
)
