package nats

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// A task's message is one byte for the version, then what has happened to the task (progress), whose length stands before
// it, then the task as it was enqueued, which ends with a checksum and never changes: it is copied from message to message
// unread.
const taskRecordVersion = 1

// progress is what has happened to a task.
type progress struct {
	attempts int
	lost     int
	error    string // of the last failed attempt

	since   time.Time // when it came into this state, by the store's clock
	stored  time.Time // when it was enqueued, by the store's clock
	due     time.Time // scheduled again: when it is to run
	ends    time.Time // lease: its end; completed: when it is forgotten; unique key: see claimKey
	settled uint64    // which settlement brought it here; see settlementMark
	hold    string    // of a task with a unique key: names this holding of it

	claim  string // lease: names the claim. A ready task that has one has lost that lease
	worker string // lease: who claimed it
	cancel bool   // lease: somebody asked to cancel it

	callerID bool   // tombstone: the ID is remembered
	result   []byte // completed
}

// Flags of progress: which fields are there.
const (
	hasAttempts = 1 << iota
	hasLost
	hasError
	hasDue
	hasEnds
	hasSettled
	hasHold
	hasClaim
	hasCancel
	hasCallerID
	hasResult
)

func flagIf[T ~uint64 | ~byte](set bool, flag T) T {
	if set {
		return flag
	}
	return 0
}

// appendTaskRecord puts a message together.
func appendTaskRecord(b []byte, p *progress, task []byte) []byte {
	head := p.append(make([]byte, 0, 96+len(p.error)+len(p.worker)+len(p.result)))
	if cap(b)-len(b) < len(head)+len(task)+8 {
		b = append(make([]byte, 0, len(b)+len(head)+len(task)+8), b...)
	}
	b = append(b, taskRecordVersion)
	b = binary.AppendUvarint(b, uint64(len(head)))
	b = append(b, head...)
	return append(b, task...)
}

func (p *progress) append(b []byte) []byte {
	flags := flagIf[uint64](p.attempts > 0, hasAttempts) | flagIf[uint64](p.lost > 0, hasLost) |
		flagIf[uint64](p.error != "", hasError) | flagIf[uint64](!p.due.IsZero(), hasDue) |
		flagIf[uint64](!p.ends.IsZero(), hasEnds) | flagIf[uint64](p.settled != 0, hasSettled) |
		flagIf[uint64](p.hold != "", hasHold) | flagIf[uint64](p.claim != "", hasClaim) |
		flagIf[uint64](p.cancel, hasCancel) | flagIf[uint64](p.callerID, hasCallerID) | flagIf[uint64](p.result != nil, hasResult)
	b = binary.AppendUvarint(b, flags)
	b = putTime(putTime(b, p.since), p.stored)
	if flags&hasAttempts != 0 {
		b = binary.AppendUvarint(b, uint64(p.attempts))
	}
	if flags&hasLost != 0 {
		b = binary.AppendUvarint(b, uint64(p.lost))
	}
	if flags&hasError != 0 {
		b = putText(b, p.error)
	}
	if flags&hasDue != 0 {
		b = putTime(b, p.due)
	}
	if flags&hasEnds != 0 {
		b = putTime(b, p.ends)
	}
	if flags&hasSettled != 0 {
		b = binary.BigEndian.AppendUint64(b, p.settled)
	}
	if flags&hasHold != 0 {
		b = putText(b, p.hold)
	}
	if flags&hasClaim != 0 {
		b = putText(putText(b, p.claim), p.worker)
	}
	if flags&hasResult != 0 {
		b = putText(b, p.result)
	}
	return b
}

// readTaskRecord takes a message apart. What it gives shares the message's memory. An error leaves what could be read.
func readTaskRecord(message []byte) (p progress, task []byte, err error) {
	if len(message) == 0 {
		return p, nil, corruptTask("its record is empty")
	}
	if message[0] > taskRecordVersion {
		return p, nil, corruptTask("its record has version %d, this node knows up to %d; update it", message[0], taskRecordVersion)
	}
	n, width := binary.Uvarint(message[1:])
	if width <= 0 || n > uint64(len(message)-1-width) {
		return p, nil, corruptTask("its record is cut off")
	}
	head := message[1+width:]
	head, task = head[:n:n], head[n:]
	r := taskReader{rest: head}
	flags := r.uvarint()
	p.since, p.stored = r.time(), r.time()
	if flags&hasAttempts != 0 {
		p.attempts = r.count()
	}
	if flags&hasLost != 0 {
		p.lost = r.count()
	}
	if flags&hasError != 0 {
		p.error = string(r.text())
	}
	if flags&hasDue != 0 {
		p.due = r.time()
	}
	if flags&hasEnds != 0 {
		p.ends = r.time()
	}
	if flags&hasSettled != 0 {
		if mark := r.take(8); mark != nil {
			p.settled = binary.BigEndian.Uint64(mark)
		}
	}
	if flags&hasHold != 0 {
		p.hold = string(r.text())
	}
	if flags&hasClaim != 0 {
		p.claim, p.worker = string(r.text()), string(r.text())
	}
	if flags&hasResult != 0 {
		p.result = r.text()
	}
	p.cancel, p.callerID = flags&hasCancel != 0, flags&hasCallerID != 0
	if r.err != nil {
		return p, task, corruptTask("its record cannot be decoded: %w", r.err)
	}
	return p, task, nil
}

// Optional fields of a task.
const (
	hasEnqueuedAt = 1 << iota
	hasRunAt
	hasTimeout
	hasDeadline
	hasHeaders
	hasPayload // set for an empty one too, and not for nil
	isCallerID
	hasUnique
)

var taskSums = crc32.MakeTable(crc32.Castagnoli)

// appendTask encodes a task that was checked.
func appendTask(b []byte, t *queue.Task) []byte {
	start := len(b)
	b = append(b, flagIf[byte](!t.EnqueuedAt.IsZero(), hasEnqueuedAt)|flagIf[byte](!t.RunAt.IsZero(), hasRunAt)|
		flagIf[byte](t.Timeout > 0, hasTimeout)|flagIf[byte](!t.Deadline.IsZero(), hasDeadline)|
		flagIf[byte](len(t.Headers) > 0, hasHeaders)|flagIf[byte](t.Payload != nil, hasPayload)|
		flagIf[byte](t.CallerID, isCallerID)|flagIf[byte](t.UniqueKey != "", hasUnique))
	has := b[start]
	b = append(b, byte(t.Priority))
	b = putText(putText(putText(b, t.Queue), t.ID), t.Kind)
	b = binary.AppendUvarint(b, uint64(t.MaxAttempts))
	b = binary.AppendUvarint(b, uint64(t.MaxLost))
	b = binary.AppendUvarint(b, uint64(t.Retention))
	if has&hasUnique != 0 {
		b = binary.AppendUvarint(putText(b, t.UniqueKey), uint64(t.UniqueFor))
	}
	if has&hasEnqueuedAt != 0 {
		b = putTime(b, t.EnqueuedAt)
	}
	if has&hasRunAt != 0 {
		b = putTime(b, t.RunAt)
	}
	if has&hasTimeout != 0 {
		b = binary.AppendUvarint(b, uint64(t.Timeout))
	}
	if has&hasDeadline != 0 {
		b = putTime(b, t.Deadline)
	}
	if has&hasHeaders != 0 {
		b = binary.AppendUvarint(b, uint64(len(t.Headers)))
		for key, value := range t.Headers {
			b = putText(putText(b, key), value)
		}
	}
	if has&hasPayload != 0 {
		b = putText(b, t.Payload)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], taskSums))
}

// readTask decodes a task, with what has happened to it. Nothing of it shares memory with the message.
func readTask(record []byte, p *progress) (queue.Task, error) {
	var t queue.Task
	if len(record) < 5 {
		return t, corruptTask("its record has %d bytes only", len(record))
	}
	body, sum := record[:len(record)-4], record[len(record)-4:]
	if crc32.Checksum(body, taskSums) != binary.BigEndian.Uint32(sum) {
		return t, corruptTask("its record fails its checksum")
	}
	r := taskReader{rest: body}
	r.task(&t)
	if r.err == nil && len(r.rest) > 0 {
		r.err = errTaskTrailing
	}
	if r.err != nil {
		return queue.Task{}, corruptTask("its record cannot be decoded: %w", r.err)
	}
	t.Attempts, t.Lost, t.LastError = p.attempts, p.lost, p.error
	if !p.due.IsZero() {
		t.RunAt = p.due
	}
	return t, nil
}

func (r *taskReader) task(t *queue.Task) {
	head := r.take(2)
	if head == nil {
		return
	}
	has := head[0]
	t.Priority, t.CallerID = int(head[1]), has&isCallerID != 0
	t.Queue, t.ID, t.Kind = string(r.text()), string(r.text()), string(r.text())
	t.MaxAttempts, t.MaxLost = r.count(), r.count()
	t.Retention = r.span()
	if has&hasUnique != 0 {
		t.UniqueKey, t.UniqueFor = string(r.text()), r.span()
	}
	if has&hasEnqueuedAt != 0 {
		t.EnqueuedAt = r.time()
	}
	if has&hasRunAt != 0 {
		t.RunAt = r.time()
	}
	if has&hasTimeout != 0 {
		t.Timeout = r.span()
	}
	if has&hasDeadline != 0 {
		t.Deadline = r.time()
	}
	if has&hasHeaders != 0 {
		n := r.uvarint()
		if n > uint64(len(r.rest)) { // each takes two bytes at least
			r.fail(errTaskShort)
			return
		}
		t.Headers = make(map[string]string, n)
		for range n {
			key := string(r.text())
			t.Headers[key] = string(r.text())
		}
	}
	if has&hasPayload != 0 {
		t.Payload = append([]byte{}, r.text()...)
	}
}

func corruptTask(format string, args ...any) error { return fault.New(fault.Corrupt, format, args...) }

func putText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func putTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), uint64(t.Nanosecond()))
}

var (
	errTaskShort    = errors.New("it is cut off")
	errTaskLong     = errors.New("a number is too long")
	errTaskTrailing = errors.New("it goes on where it should end")
)

// taskReader takes a record apart. After its first error it reads zeros.
type taskReader struct {
	rest []byte
	err  error
}

func (r *taskReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *taskReader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.rest)) {
		r.fail(errTaskShort)
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *taskReader) text() []byte { return r.take(r.uvarint()) }

func (r *taskReader) uvarint() uint64 {
	n, width := binary.Uvarint(r.rest)
	if width <= 0 {
		r.fail(errTaskLong)
		return 0
	}
	r.rest = r.rest[width:]
	return n
}

func (r *taskReader) varint() int64 {
	n, width := binary.Varint(r.rest)
	if width <= 0 {
		r.fail(errTaskLong)
		return 0
	}
	r.rest = r.rest[width:]
	return n
}

func (r *taskReader) count() int { return int(min(r.uvarint(), math.MaxInt)) }

func (r *taskReader) span() time.Duration { return time.Duration(min(r.uvarint(), math.MaxInt64)) }

func (r *taskReader) time() time.Time {
	seconds, nanos := r.varint(), r.uvarint()
	t := time.Unix(seconds, int64(min(nanos, 999_999_999))).UTC()
	if t.IsZero() {
		return time.Time{}
	}
	return t
}
