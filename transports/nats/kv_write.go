package nats

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/gobackplane/backplane/fault"
)

// put is one write of a subject.
type put struct {
	subject string
	data    []byte
	ttl     time.Duration // for the server to remove it; 0: never

	expects  bool   // only while the subject's last message is at a sequence
	sequence uint64 // 0: there is none

	guarded bool // only while the lock's last message is at a sequence
	lock    string
	fenced  uint64
}

// Of an atomic batch of messages. jetstream has no names for them.
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// write asks for a write.
//
// A message can look at one subject other than its own, or at its own. To look at both there are two messages, of which
// the server takes both or none. (One that looks at the last sequence of both subjects together, by a wildcard, is no
// substitute: with several servers, writes of either that are under way are not counted.)
func (s *store) write(p put) *request {
	r := &request{subject: p.subject, data: p.data, weight: int64(len(p.data))}
	h := nats.Header{}
	if p.ttl > 0 {
		h[jetstream.MsgTTLHeader] = []string{formatTTL(p.ttl)}
	}
	switch {
	case p.guarded && p.expects:
		batch := nuid.Next()
		guard := nats.Header{
			batchIDHeader:          {batch},
			batchSequenceHeader:    {"1"},
			jetstream.MsgTTLHeader: {formatTTL(time.Second)},
		}
		expect(guard, p.lock, p.fenced)
		r.first = &nats.Msg{Subject: s.root + string(guardKind) + p.lock[len(s.root)+1:], Header: guard}
		h[batchIDHeader], h[batchSequenceHeader], h[batchCommitHeader] = []string{batch}, []string{"2"}, []string{"1"}
		h[jetstream.ExpectedLastSubjSeqHeader] = []string{formatSequence(p.sequence)}
	case p.guarded:
		expect(h, p.lock, p.fenced)
	case p.expects:
		h[jetstream.ExpectedLastSubjSeqHeader] = []string{formatSequence(p.sequence)}
	}
	if len(h) > 0 {
		r.header = h
	}
	return r
}

func expect(h nats.Header, subject string, sequence uint64) {
	h[jetstream.ExpectedLastSubjSeqHeader] = []string{formatSequence(sequence)}
	h[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{subject}
}

// errRaced says that another write came between reading and writing: nothing was written, and it can be tried again.
var errRaced = fault.New(fault.Conflict, "another write came first")

// written reads the answer to write: the sequence of the new message.
func written(r *request) (sequence uint64, err error) {
	if r.err != nil {
		return 0, r.err
	}
	data := r.answer.Data
	if tellsError(data) {
		var answer struct {
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(data, &answer); err != nil || answer.Error == nil {
			return 0, unexpected(r.answer)
		}
		switch answer.Error.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant,
			apiBatchIncomplete, apiBatchesInFlight:
			return 0, errRaced
		}
		return 0, answer.Error
	}
	const name = `"seq":`
	at := bytes.Index(data, []byte(name))
	if at < 0 {
		return 0, unexpected(r.answer)
	}
	for _, c := range bytes.TrimLeft(data[at+len(name):], " ") {
		if c < '0' || c > '9' {
			break
		}
		sequence = sequence*10 + uint64(c-'0')
	}
	if sequence == 0 {
		return 0, unexpected(r.answer)
	}
	return sequence, nil
}

// Of an atomic batch: the first message was refused, so the second came alone; and the server has enough of them now.
const (
	apiBatchIncomplete jetstream.ErrorCode = 10176
	apiBatchesInFlight jetstream.ErrorCode = 10210
)
