package postgres

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// A task's body is what it was enqueued with and only clients read: a version, then kind, payload, headers, times, numbers.
// A text is its length as uvarint and its bytes; a time is a flag (0: zero), seconds since 1970 and nanoseconds. What the
// store decides by has columns of its own, and is in the body too where a client wants it back to the nanosecond.
const bodyVersion = 1

// encodeTask makes the body of a task.
func encodeTask(t *queue.Task) []byte {
	b := make([]byte, 0, 96+len(t.Kind)+len(t.UniqueKey)+len(t.Payload)+headerSize(t.Headers)+4*len(t.Headers))
	b = append(b, bodyVersion)
	b = appendText(b, t.Kind)
	b = appendText(b, t.UniqueKey)
	b = binary.AppendUvarint(b, uint64(t.Priority))
	b = appendFlag(b, t.CallerID)
	for _, n := range []int64{int64(t.MaxAttempts), int64(t.MaxLost), int64(t.Timeout), int64(t.UniqueFor), int64(t.Retention)} {
		b = binary.AppendVarint(b, n)
	}
	for _, at := range []time.Time{t.EnqueuedAt, t.RunAt, t.Deadline} {
		b = appendTime(b, at)
	}
	b = appendHeaders(b, t.Headers)
	return append(b, t.Payload...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFlag(b []byte, flag bool) []byte {
	if flag {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	b = binary.AppendVarint(append(b, 1), t.Unix())
	return binary.AppendUvarint(b, uint64(t.Nanosecond()))
}

func appendHeaders(b []byte, headers map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(headers)))
	for key, value := range headers {
		b = appendText(appendText(b, key), value)
	}
	return b
}

// decodeTask reads a body into a task, whose Queue and ID it leaves alone.
func decodeTask(body []byte, t *queue.Task) error {
	r := reader{left: body}
	if version := r.byte(); version != bodyVersion && !r.bad {
		return fault.New(fault.Corrupt, "the task's record has version %d, this program knows %d; update it", version, bodyVersion)
	}
	t.Kind, t.UniqueKey = r.text(), r.text()
	t.Priority = int(r.uvarint())
	t.CallerID = r.byte() == 1
	t.MaxAttempts, t.MaxLost = int(r.varint()), int(r.varint())
	t.Timeout, t.UniqueFor, t.Retention = time.Duration(r.varint()), time.Duration(r.varint()), time.Duration(r.varint())
	t.EnqueuedAt, t.RunAt, t.Deadline = r.time(), r.time(), r.time()
	t.Headers = r.headers()
	if r.bad {
		return fault.New(fault.Corrupt, "the task's record of %d bytes ends too early", len(body))
	}
	if len(r.left) > 0 {
		t.Payload = slices.Clone(r.left)
	}
	return nil
}

// reader takes a record apart. Once it is bad it reads zeros.
type reader struct {
	left []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.left) {
		r.bad, r.left = true, nil
		return nil
	}
	taken := r.left[:n]
	r.left = r.left[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.left)
	if size <= 0 {
		r.take(-1)
		return 0
	}
	r.take(size)
	return n
}

func (r *reader) varint() int64 {
	n, size := binary.Varint(r.left)
	if size <= 0 {
		r.take(-1)
		return 0
	}
	r.take(size)
	return n
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.left)) {
		r.take(-1)
		return ""
	}
	return string(r.take(int(n)))
}

func (r *reader) time() time.Time {
	if r.byte() == 0 {
		return time.Time{}
	}
	seconds, nanos := r.varint(), r.uvarint()
	return time.Unix(seconds, int64(min(nanos, 999_999_999)))
}

// headers are at most as many as the bytes that are left could hold.
func (r *reader) headers() map[string]string {
	n := r.uvarint()
	if n == 0 || r.bad {
		return nil
	}
	if n > uint64(len(r.left))/2 {
		r.take(-1)
		return nil
	}
	headers := make(map[string]string, n)
	for range n {
		key := r.text()
		headers[key] = r.text()
	}
	return headers
}
