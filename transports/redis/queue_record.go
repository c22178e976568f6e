package redis

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"
	"unique"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// A record is a task as the store keeps it, which never changes. Its beginning is read by the scripts as well
// (queue_task.lua) and stays the same in every version:
//
//	version, flags, priority    1 byte each
//	MaxLost                     4
//	unique key, if flagged      2 for its length, itself, 6 for UniqueFor in ms
//	Retention, if flagged       6, in ms
//
// Then follow, for Go alone: a byte that says which of the optional fields are there, these fields, and a checksum of all.
//
// Of a large record, which is flagged, the store keeps what follows apart, so that looking at a task does not cost what
// its payload does: to read a value of 16 MiB takes a script an eighth of a second, in which the server does nothing else.
const recordVersion = 1

// largeRecord is the size over which a record is kept in two parts.
const largeRecord = 8 << 10

// Flags of the beginning.
const (
	flagCallerID = 1 << iota
	flagUnique
	flagRetention
	flagLarge
)

// flagsSpecial is one more than all flags together: a task with any of them needs more at its end than to be deleted.
const flagsSpecial = flagLarge << 1

// Optional fields.
const (
	hasEnqueuedAt = 1 << iota
	hasRunAt
	hasTimeout
	hasDeadline
	hasHeaders
	hasPayload  // set for an empty one too, and not for nil
	hasStoredAt // when this node stored it, where EnqueuedAt does not say
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord encodes a task that was checked.
func appendRecord(b []byte, t *queue.Task) []byte {
	start := len(b)
	flags := when(t.CallerID, flagCallerID) | when(t.UniqueKey != "", flagUnique) | when(t.Retention > 0, flagRetention)
	b = append(b, recordVersion, flags, byte(t.Priority))
	b = binary.BigEndian.AppendUint32(b, uint32(min(t.MaxLost, math.MaxUint32)))
	if flags&flagUnique != 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.UniqueKey)))
		b = append(b, t.UniqueKey...)
		b = appendMillis(b, t.UniqueFor)
	}
	if flags&flagRetention != 0 {
		b = appendMillis(b, t.Retention)
	}
	has := when(!t.EnqueuedAt.IsZero(), hasEnqueuedAt) | when(!t.RunAt.IsZero(), hasRunAt) |
		when(t.Timeout > 0, hasTimeout) | when(!t.Deadline.IsZero(), hasDeadline) |
		when(len(t.Headers) > 0, hasHeaders) | when(t.Payload != nil, hasPayload) | when(t.EnqueuedAt.IsZero(), hasStoredAt)
	b = append(b, has)
	b = appendText(b, t.Kind)
	b = binary.AppendUvarint(b, uint64(t.MaxAttempts))
	if has&hasEnqueuedAt != 0 {
		b = appendTime(b, t.EnqueuedAt)
	}
	if has&hasRunAt != 0 {
		b = appendTime(b, t.RunAt)
	}
	if has&hasTimeout != 0 {
		b = binary.AppendUvarint(b, uint64(t.Timeout))
	}
	if has&hasDeadline != 0 {
		b = appendTime(b, t.Deadline)
	}
	if has&hasHeaders != 0 {
		b = binary.AppendUvarint(b, uint64(len(t.Headers)))
		for key, value := range t.Headers {
			b = appendText(appendText(b, key), value)
		}
	}
	if has&hasPayload != 0 {
		b = appendText(b, t.Payload)
	}
	if has&hasStoredAt != 0 {
		b = appendTime(b, time.Now())
	}
	if len(b)-start > largeRecord {
		b[start+1] |= flagLarge
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// headSize is how much of a record the store keeps at hand: the beginning of a large one, and otherwise all.
func headSize[T string | []byte](record T) int {
	flags := record[1]
	if flags&flagLarge == 0 {
		return len(record)
	}
	size := 7
	if flags&flagUnique != 0 {
		size += 2 + int(record[size])<<8 + int(record[size+1]) + 6
	}
	if flags&flagRetention != 0 {
		size += 6
	}
	return size
}

func when(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

// millis rounds up, so that nothing ends early.
func millis(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}

func appendMillis(b []byte, d time.Duration) []byte {
	ms := uint64(millis(d))
	return append(b, byte(ms>>40), byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms))
}

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), uint64(t.Nanosecond()))
}

// readRecord fills in a task from its record, and tells when it was stored. Nothing shares the record's memory, which
// may be that of many tasks.
func readRecord(record string, t *queue.Task) (storedAt time.Time, err error) {
	if record == "" {
		return storedAt, corrupt("its record is missing")
	}
	if version := record[0]; version > recordVersion {
		return storedAt, corrupt("its record has version %d, this node knows up to %d; update it", version, recordVersion)
	}
	if len(record) < 5 {
		return storedAt, corrupt("its record has %d bytes only", len(record))
	}
	body, sum := record[:len(record)-4], record[len(record)-4:]
	if crc32.Checksum([]byte(body), castagnoli) != binary.BigEndian.Uint32([]byte(sum)) {
		return storedAt, corrupt("its record fails its checksum")
	}
	r := reader{rest: body}
	r.task(t)
	if r.err == nil && r.rest != "" {
		r.err = errTrailing
	}
	if r.err != nil {
		return storedAt, corrupt("its record cannot be decoded: %w", r.err)
	}
	return r.storedAt, nil
}

func corrupt(format string, args ...any) error { return fault.New(fault.Corrupt, format, args...) }

var (
	errShort    = errors.New("it is cut off")
	errTrailing = errors.New("it goes on where it should end")
)

// reader takes a record apart. After its first error it reads zeros.
type reader struct {
	rest     string
	err      error
	storedAt time.Time
}

func (r *reader) task(t *queue.Task) {
	head := r.take(3)
	if r.err != nil {
		return
	}
	flags := head[1]
	t.CallerID = flags&flagCallerID != 0
	t.Priority = int(head[2])
	t.MaxLost = int(r.number(4))
	if flags&flagUnique != 0 {
		t.UniqueKey = strings.Clone(r.take(int(r.number(2))))
		t.UniqueFor = r.millis()
	}
	if flags&flagRetention != 0 {
		t.Retention = r.millis()
	}
	has := byte(r.number(1))
	t.Kind = unique.Make(r.text()).Value() // there are few kinds, and many tasks of each
	t.MaxAttempts = int(r.uvarint())
	if has&hasEnqueuedAt != 0 {
		t.EnqueuedAt = r.time()
	}
	if has&hasRunAt != 0 {
		t.RunAt = r.time()
	}
	if has&hasTimeout != 0 {
		t.Timeout = time.Duration(r.uvarint())
	}
	if has&hasDeadline != 0 {
		t.Deadline = r.time()
	}
	if has&hasHeaders != 0 {
		t.Headers = r.headers()
	}
	if has&hasPayload != 0 {
		t.Payload = []byte(r.text())
	}
	r.storedAt = t.EnqueuedAt
	if has&hasStoredAt != 0 {
		r.storedAt = r.time()
	}
}

func (r *reader) headers() map[string]string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) { // each takes two bytes at least
		r.fail(errShort)
		return nil
	}
	headers := make(map[string]string, n)
	for range n {
		key := strings.Clone(r.text())
		headers[key] = strings.Clone(r.text())
	}
	return headers
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = ""
}

func (r *reader) take(n int) string {
	if n < 0 || n > len(r.rest) {
		r.fail(errShort)
		return ""
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) number(bytes int) uint64 {
	n := uint64(0)
	for _, b := range []byte(r.take(bytes)) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (r *reader) millis() time.Duration {
	return time.Duration(min(r.number(6), uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}

func (r *reader) uvarint() uint64 {
	n := uint64(0)
	for shift := 0; shift < 64; shift += 7 {
		b := r.take(1)
		if b == "" {
			return 0
		}
		n |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return n
		}
	}
	r.fail(errors.New("a number is too long"))
	return 0
}

func (r *reader) varint() int64 {
	n := r.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail(errShort)
		return ""
	}
	return r.take(int(n))
}

func (r *reader) time() time.Time {
	seconds := r.varint()
	return time.Unix(seconds, int64(r.uvarint())).UTC()
}

// readState fills in what has happened to a task: "ATTEMPTS LOST CANCEL ERROR", or empty for nothing.
func readState(state string, t *queue.Task) error {
	if state == "" {
		return nil
	}
	fields := strings.SplitN(state, " ", 4)
	if len(fields) < 4 {
		return corrupt("its state %.40q cannot be decoded", state)
	}
	attempts, err := strconv.Atoi(fields[0])
	lost, err2 := strconv.Atoi(fields[1])
	if err = errors.Join(err, err2); err != nil {
		return corrupt("its state cannot be decoded: %w", err)
	}
	t.Attempts, t.Lost, t.LastError = attempts, lost, strings.Clone(fields[3])
	return nil
}

// readTask decodes a task as a script gives it. One that cannot be decoded has its ID and queue alone, and an error.
func readTask(name, key, record, state string) (queue.Task, error) {
	id, err := taskID(key)
	if err != nil {
		id, err = strings.Clone(key), corrupt("%w", err)
	}
	t := queue.Task{ID: id, Queue: name}
	if err == nil {
		_, err = readRecord(record, &t)
		err = errors.Join(err, readState(state, &t))
	}
	if err != nil {
		f := fault.New(fault.Corrupt, "task %q of queue %q: %w", id, name, err)
		f.Op, f.Subject, f.Transport = "queue: read task", id, Kind
		return queue.Task{ID: id, Queue: name}, f
	}
	return t, nil
}
