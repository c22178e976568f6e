package nats

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
)

// Headers of JetStream that nats.go has no name for, or not in this package's tongue.
const (
	headerExpected   = "Nats-Expected-Last-Subject-Sequence"
	headerExpectedOf = "Nats-Expected-Last-Subject-Sequence-Subject"
	headerSchedule   = "Nats-Schedule"
	headerTarget     = "Nats-Schedule-Target"
	headerScheduler  = "Nats-Scheduler"
	headerNext       = "Nats-Schedule-Next"
	headerTTL        = "Nats-TTL"
	headerRollup     = "Nats-Rollup"
	headerIncr       = "Nats-Incr"
	headerBatchID    = "Nats-Batch-Id"
	headerBatchSeq   = "Nats-Batch-Sequence"
	headerBatchEnd   = "Nats-Batch-Commit"
	headerStatus     = "Status"
	headerSubject    = "Nats-Subject"
	headerSequence   = "Nats-Sequence"
	headerPending    = "Nats-Num-Pending"
)

// write is one publish into the queue's stream, under a condition.
type write struct {
	subject  string
	data     []byte
	of       string // filter of what the condition is about; empty: no condition
	expected uint64 // the last sequence there
	purges   string // subject of a schedule to remove in the same step
	at       time.Time
	target   string        // with at: where the message goes then
	ttl      time.Duration // 0: for ever
	rollup   bool          // removes what the subject had before
	incr     int64         // of a counter
	id       string        // so that a repeat within two minutes is none
}

// lastPossible is the latest time a schedule is given: servers count nanoseconds in 64 bits.
var lastPossible = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *write) message() *nats.Msg {
	m := &nats.Msg{Subject: w.subject, Data: w.data}
	set := func(key, value string) {
		if m.Header == nil {
			m.Header = make(nats.Header, 6)
		}
		m.Header[key] = []string{value}
	}
	if w.of != "" {
		set(headerExpected, strconv.FormatUint(w.expected, 10))
		set(headerExpectedOf, w.of)
	}
	if w.purges != "" {
		set(headerScheduler, w.purges)
		set(headerNext, "purge")
	}
	if !w.at.IsZero() {
		at := w.at.UTC()
		if at.After(lastPossible) {
			at = lastPossible
		}
		set(headerSchedule, "@at "+at.Format(time.RFC3339Nano))
		set(headerTarget, w.target)
	}
	if w.ttl > 0 {
		set(headerTTL, strconv.FormatInt(int64((w.ttl+time.Second-1)/time.Second), 10)) // rounded up
	}
	if w.rollup {
		set(headerRollup, "sub")
	}
	if w.incr != 0 {
		set(headerIncr, strconv.FormatInt(w.incr, 10))
	}
	if w.id != "" {
		set(nats.MsgIdHdr, w.id)
	}
	return m
}

// wrote is the answer to a write.
type wrote struct {
	seq     uint64 // of the new message
	refused bool   // the condition did not hold
	last    uint64 // refused: the last sequence there
	err     error  // what else went wrong
	again   bool   // refused for now: a write of the same task is under way
}

func readWrote(m *nats.Msg) wrote {
	if m.Header != nil && m.Header.Get(headerStatus) == "503" {
		return wrote{err: nats.ErrNoResponders}
	}
	const seq = `"seq":`
	text := string(m.Data)
	if at := strings.Index(text, seq); at >= 0 && !strings.Contains(text, `"error"`) {
		digits := text[at+len(seq):]
		end := 0
		for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
			end++
		}
		n, err := strconv.ParseUint(digits[:end], 10, 64)
		if err == nil {
			return wrote{seq: n}
		}
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Error == nil {
		return wrote{err: fault.New(fault.Internal, "the answer to a write cannot be read: %.100q", text)}
	}
	switch answer.Error.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence:
		_, digits, _ := strings.Cut(answer.Error.Description, ": ")
		last, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return wrote{err: answer.Error}
		}
		return wrote{refused: true, last: last}
	case jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return wrote{again: true, err: answer.Error}
	}
	return wrote{err: answer.Error}
}

const (
	writeTries = 50 // of a write that others of the same task are in the way of, or that nobody took
	writePause = 2 * time.Millisecond
	// leaderless is the longest pause while nobody leads the stream: an election takes up to 9 s.
	leaderless = 200 * time.Millisecond
)

// pauseBefore is how long to wait before a try, when writes of the same task are under way or nobody leads the stream.
func pauseBefore(try int, nobody bool) time.Duration {
	if nobody {
		return min(time.Duration(try)*5*writePause, leaderless)
	}
	return time.Duration(1+rand.IntN(try)) * writePause
}

// write sends writes together and gives their answers in order. An error means that some have no answer.
func (d *queueDriver) write(ctx context.Context, all []write) ([]wrote, error) {
	answers := make([]wrote, len(all))
	if err := d.wire.ask(ctx, len(all), func(i int) *nats.Msg { return all[i].message() }, func(i int, m *nats.Msg) bool {
		answers[i] = readWrote(m)
		return true
	}); err != nil {
		return answers, err
	}
	for try := 1; ; try++ {
		var open []int
		nobody := false
		for i := range answers {
			if answers[i].again {
				open = append(open, i)
			} else if errors.Is(answers[i].err, nats.ErrNoResponders) {
				open, nobody = append(open, i), true
			}
		}
		if len(open) == 0 || try == writeTries {
			for _, a := range answers {
				d.overdue.note(a.err)
			}
			return answers, nil
		}
		if err := rest(ctx, pauseBefore(try, nobody)); err != nil {
			return answers, err
		}
		if err := d.wire.ask(ctx, len(open), func(i int) *nats.Msg { return all[open[i]].message() }, func(i int, m *nats.Msg) bool {
			answers[open[i]] = readWrote(m)
			return true
		}); err != nil {
			return answers, err
		}
	}
}

// rest waits for a while, or until ctx ends, which is an error.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kept is a message as the stream has it.
type kept struct {
	subject string
	seq     uint64 // 0: there is none
	data    []byte
}

// wanted is a message to be read: by its sequence, as the last of a subject (wildcards are allowed), or as the first of
// one from a sequence on.
type wanted struct {
	Seq  uint64 `json:"seq,omitempty"`
	Last string `json:"last_by_subj,omitempty"`
	Next string `json:"next_by_subj,omitempty"`
}

// read reads messages together, as the stream's leader has them: what was written before is seen.
func (d *queueDriver) read(ctx context.Context, stream string, all ...wanted) ([]kept, error) {
	for try := 1; ; try++ {
		found, err := d.tryRead(ctx, stream, all)
		if !errors.Is(err, nats.ErrNoResponders) || try == writeTries {
			return found, err
		}
		if err := rest(ctx, pauseBefore(try, true)); err != nil {
			return found, err
		}
	}
}

func (d *queueDriver) tryRead(ctx context.Context, stream string, all []wanted) ([]kept, error) {
	found := make([]kept, len(all))
	var failed error
	subject := d.api + "STREAM.MSG.GET." + stream
	if d.direct {
		subject = d.api + "DIRECT.GET." + stream
	}
	err := d.wire.ask(ctx, len(all), func(i int) *nats.Msg {
		data, _ := json.Marshal(all[i]) // strings and numbers
		return &nats.Msg{Subject: subject, Data: data}
	}, func(i int, m *nats.Msg) bool {
		var err error
		if d.direct {
			found[i], err = readDirect(m)
		} else {
			found[i], err = readByLeader(m)
		}
		if err != nil {
			failed = err
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return found, err
}

// readDirect reads the answer to a direct get.
func readDirect(m *nats.Msg) (kept, error) {
	switch status := m.Header.Get(headerStatus); status {
	case "":
	case "404":
		return kept{}, nil
	case "503":
		return kept{}, nats.ErrNoResponders
	default:
		return kept{}, fault.New(fault.Internal, "reading a message: status %s %s", status, m.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(last(m.Header[headerSequence]), 10, 64)
	if err != nil {
		return kept{}, fault.New(fault.Internal, "reading a message: no sequence: %w", err)
	}
	return kept{subject: last(m.Header[headerSubject]), seq: seq, data: m.Data}, nil
}

func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// readByLeader reads the answer to a get through the API.
func readByLeader(m *nats.Msg) (kept, error) {
	if m.Header.Get(headerStatus) == "503" {
		return kept{}, nats.ErrNoResponders
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Data    string `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return kept{}, fault.New(fault.Internal, "reading a message: %w", err)
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return kept{}, nil
		}
		return kept{}, answer.Error
	}
	data, err := base64.StdEncoding.DecodeString(answer.Message.Data)
	if err != nil {
		return kept{}, fault.New(fault.Internal, "reading a message: %w", err)
	}
	return kept{subject: answer.Message.Subject, seq: answer.Message.Seq, data: data}, nil
}

// readOne reads one message.
func (d *queueDriver) readOne(ctx context.Context, stream string, w wanted) (kept, error) {
	found, err := d.read(ctx, stream, w)
	return found[0], err
}

// remove deletes messages by their sequence. One that is not there is no error.
func (d *queueDriver) remove(ctx context.Context, seqs ...uint64) error {
	var failed error
	err := d.wire.ask(ctx, len(seqs), func(i int) *nats.Msg {
		return &nats.Msg{Subject: d.api + "STREAM.MSG.DELETE." + d.names.stream, Data: []byte(`{"no_erase":true,"seq":` + strconv.FormatUint(seqs[i], 10) + `}`)}
	}, func(_ int, m *nats.Msg) bool {
		if m.Header.Get(headerStatus) == "503" {
			failed = nats.ErrNoResponders
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}
