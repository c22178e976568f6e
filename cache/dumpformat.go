package cache

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
	"unicode/utf8"

	"github.com/gobackplane/backplane/fault"
)

// A dump is lines of JSON: a header with the version of the format, a line for each entry and for each part of a list,
// and an end with counts and the SHA-256 of all lines before it.
//
//	{"backplane_cache_dump":1,"created":"2026-11-23T10:00:00Z"}
//	{"entry":{"key":"user:42","value":"eyJuYW1lIjoiSm8ifQ==","expires":"2026-11-23T11:00:00Z"}}
//	{"list":{"key":"mails","first":true,"values":["MQ==","Mg=="]}}
//	{"end":{"entries":1,"lists":1,"sha256":"…"}}
//
// Values are base64. A key that is not UTF-8 is base64 too, as "key64". Expires is when the entry ends; without it never.

// dumpVersion is the newest format that this code reads, and the one it writes.
const dumpVersion = 1

type dumpHeader struct {
	Version *int      `json:"backplane_cache_dump"`
	Created time.Time `json:"created"`
}

type dumpLine struct {
	Entry *dumpEntry `json:"entry,omitempty"`
	List  *dumpList  `json:"list,omitempty"`
	End   *dumpEnd   `json:"end,omitempty"`
}

type dumpKey struct {
	Text  string `json:"key,omitempty"`
	Bytes []byte `json:"key64,omitempty"`
}

type dumpEntry struct {
	dumpKey
	Value   []byte     `json:"value"`
	Flags   uint8      `json:"flags,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

type dumpList struct {
	dumpKey
	First  bool     `json:"first,omitempty"` // the list begins here; otherwise these values go on with the list of the line before
	Values [][]byte `json:"values"`
}

type dumpEnd struct {
	Entries int    `json:"entries"`
	Lists   int    `json:"lists"`
	SHA256  string `json:"sha256"`
}

func newDumpKey(key string) dumpKey {
	if utf8.ValidString(key) {
		return dumpKey{Text: key}
	}
	return dumpKey{Bytes: []byte(key)}
}

func (k dumpKey) name() string {
	if len(k.Bytes) > 0 {
		return string(k.Bytes)
	}
	return k.Text
}

// dumpWriter writes lines and sums them.
type dumpWriter struct {
	out   *bufio.Writer
	json  *json.Encoder
	sum   hash.Hash
	bytes int64
}

func newDumpWriter(w io.Writer) *dumpWriter {
	d := &dumpWriter{sum: sha256.New()}
	d.out = bufio.NewWriterSize(w, 1<<16)
	d.json = json.NewEncoder(io.MultiWriter(d.out, d.sum, (*byteCount)(&d.bytes)))
	d.json.SetEscapeHTML(false)
	return d
}

type byteCount int64

func (n *byteCount) Write(p []byte) (int, error) {
	*n += byteCount(len(p))
	return len(p), nil
}

func (d *dumpWriter) write(line any) error { return d.json.Encode(line) }

// end writes the last line: counts, and the sum of what was written until now.
func (d *dumpWriter) end(entries, lists int) error {
	end := dumpEnd{Entries: entries, Lists: lists, SHA256: hex.EncodeToString(d.sum.Sum(nil))}
	if err := d.write(dumpLine{End: &end}); err != nil {
		return err
	}
	return d.out.Flush()
}

// dumpReader reads lines, and checks that they are a whole dump and nothing else.
type dumpReader struct {
	in      *bufio.Reader
	sum     hash.Hash
	longest int // bytes of the longest line that can make sense
	line    int
	buffer  []byte
	counted dumpEnd
	list    string // of the line before
	inList  bool
}

func newDumpReader(r io.Reader, longest int) *dumpReader {
	return &dumpReader{in: bufio.NewReaderSize(r, 1<<16), sum: sha256.New(), longest: longest}
}

// damaged is Corrupt, with the line where it was seen.
func (d *dumpReader) damaged(format string, args ...any) error {
	return fault.New(fault.Corrupt, "the dump is damaged: line %d: %w", d.line, fmt.Errorf(format, args...))
}

// next reads one line, with its end. The slice is good until the next call.
func (d *dumpReader) next() ([]byte, error) {
	d.line++
	d.buffer = d.buffer[:0]
	for {
		part, err := d.in.ReadSlice('\n')
		d.buffer = append(d.buffer, part...)
		switch {
		case len(d.buffer) > d.longest:
			return nil, fault.New(fault.TooLarge, "line %d has more than %d bytes, which no entry of this store can need; restore it to a transport that takes larger values", d.line, d.longest)
		case err == nil:
			return d.buffer, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, d.damaged("the file ends before its last line")
		default:
			return nil, fault.New(fault.Internal, "line %d cannot be read: %w", d.line, err)
		}
	}
}

// walk reads the whole dump and gives its lines to visit. That it was all there and undamaged is known when walk has
// returned without an error, and not before.
func (d *dumpReader) walk(visit func(dumpLine) error) error {
	if err := d.header(); err != nil {
		return err
	}
	for {
		text, err := d.next()
		if err != nil {
			return err
		}
		line, err := d.parse(text)
		if err != nil {
			return err
		}
		if line.End != nil {
			return d.finish(*line.End)
		}
		_, _ = d.sum.Write(text) // never fails
		if err := visit(line); err != nil {
			return err
		}
	}
}

func (d *dumpReader) header() error {
	text, err := d.next()
	if err != nil {
		return err
	}
	var header dumpHeader
	if err := json.Unmarshal(text, &header); err != nil || header.Version == nil {
		return d.damaged("it is not the header of a cache dump")
	}
	switch version := *header.Version; {
	case version > dumpVersion:
		return fault.New(fault.Invalid, "the dump has format %d, and this program reads up to %d; restore it with a newer one", version, dumpVersion)
	case version < 1:
		return d.damaged("format %d does not exist", version)
	}
	_, _ = d.sum.Write(text)
	return nil
}

func (d *dumpReader) parse(text []byte) (dumpLine, error) {
	var line dumpLine
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&line); err != nil {
		return line, d.damaged("%w", err)
	}
	if len(bytes.TrimSpace(text[decoder.InputOffset():])) > 0 {
		return line, d.damaged("something follows the record")
	}
	return line, d.count(line)
}

// count checks what a line is, and in which order lists come.
func (d *dumpReader) count(line dumpLine) error {
	kinds := 0
	if entry := line.Entry; entry != nil {
		kinds++
		d.counted.Entries++
		d.inList = false
	}
	if list := line.List; list != nil {
		kinds++
		switch {
		case len(list.Values) == 0:
			return d.damaged("a list without values")
		case list.First:
			d.counted.Lists++
			d.list, d.inList = list.name(), true
		case !d.inList || d.list != list.name():
			return d.damaged("a list goes on that did not begin")
		}
	}
	if line.End != nil {
		kinds++
	}
	if kinds != 1 {
		return d.damaged("%d records where 1 should be", kinds)
	}
	return nil
}

// finish compares what was read with what the last line says, and allows nothing after it.
func (d *dumpReader) finish(end dumpEnd) error {
	d.counted.SHA256 = hex.EncodeToString(d.sum.Sum(nil))
	if end.Entries != d.counted.Entries || end.Lists != d.counted.Lists {
		return d.damaged("there are %d entries and %d lists, and there should be %d and %d", d.counted.Entries, d.counted.Lists, end.Entries, end.Lists)
	}
	if end.SHA256 != d.counted.SHA256 {
		return d.damaged("the checksum is not that of the lines before")
	}
	if _, err := d.in.ReadByte(); !errors.Is(err, io.EOF) {
		return d.damaged("something follows the last line")
	}
	return nil
}
