package rpc

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gobackplane/backplane/fault"
)

// kind says what a frame's payload is. The numbers travel: they are never reused.
type kind byte

const (
	kindJoin      kind = 1  // broadcast: an announcement of a newcomer, who asks everybody for theirs
	kindAnnounce  kind = 2  // an announcement: to a newcomer's inbox, or broadcast after a change
	kindHeartbeat kind = 3  // broadcast: still there, with the revision of the newest announcement
	kindLeave     kind = 4  // broadcast: gone for good
	kindAsk       kind = 5  // to an inbox: please announce yourself to me
	kindRequest   kind = 6  // to an inbox, or broadcast
	kindResponse  kind = 7  // to the caller's inbox
	kindCancel    kind = 8  // to an inbox: the caller of that request waits no more
	kindProbe     kind = 9  // to an inbox: are you still at that request? The link was lost meanwhile
	kindBegin     kind = 10 // to an inbox: a payload that needs several frames wants to come
	kindChunk     kind = 11 // the next piece of it
	kindCredit    kind = 12 // back to its sender: how far it may send
	kindAbort     kind = 13 // either way: it will not be completed, and why
)

// The bodies of frames are sequences of unsigned varints and of byte strings that are preceded by their length; a
// payload comes last and takes what is left. In a later version a body without a payload may grow at its end, which older
// nodes do not read; one with a payload only behind a new flag, and a frame with a flag that is not known is refused.

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, s := range texts {
		b = appendText(b, s)
	}
	return b
}

func appendPairs(b []byte, pairs map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(pairs)))
	if len(pairs) == 0 {
		return b // the usual case, and sorting nothing allocates
	}
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		b = appendText(appendText(b, k), pairs[k])
	}
	return b
}

// decoder reads a body. After the first thing that is not there it reads nothing more, and ok tells.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uint() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.rest, d.bad = nil, true
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) text() string {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.rest, d.bad = nil, true
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// count reads how many elements follow, each of at least one byte: a lie about it cannot make us allocate.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.rest, d.bad = nil, true
		return 0
	}
	return int(n)
}

func (d *decoder) texts() []string {
	n := d.count()
	all := make([]string, 0, min(n, 1024))
	for range n {
		all = append(all, d.text())
		if d.bad {
			return nil
		}
	}
	return all
}

func (d *decoder) pairs() map[string]string {
	n := d.count()
	if n == 0 {
		return nil
	}
	all := make(map[string]string, min(n, 1024))
	for range n {
		k := d.text()
		all[k] = d.text()
		if d.bad {
			return nil
		}
	}
	return all
}

// flags reads flags of which all must be known.
func (d *decoder) flags(known uint64) uint64 {
	f := d.uint()
	if f&^known != 0 {
		d.rest, d.bad = nil, true
		return 0
	}
	return f
}

func (d *decoder) ok() bool { return !d.bad }

const requestCast = 1

// request asks for one run of a method.
type request struct {
	id      uint64 // the caller's number of it; its answers carry it
	cast    bool   // nobody waits for an answer
	budget  time.Duration
	method  string
	headers map[string]string
	payload []byte
}

// head is all but the payload.
func (r *request) head() []byte {
	b := make([]byte, 0, 32+len(r.method)+min(len(r.payload), maxChunk)) // a small payload is appended
	var flags uint64
	if r.cast {
		flags = requestCast
	}
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, r.id)
	b = binary.AppendUvarint(b, uint64(max(r.budget.Microseconds(), 0)))
	b = appendText(b, r.method)
	return appendPairs(b, r.headers)
}

func decodeRequest(body []byte) (request, bool) {
	d := decoder{rest: body}
	r := request{
		cast:    d.flags(requestCast) != 0,
		id:      d.uint(),
		budget:  time.Duration(min(d.uint(), uint64(maxBudget/time.Microsecond))) * time.Microsecond,
		method:  d.text(),
		headers: d.pairs(),
	}
	r.payload = d.rest
	return r, d.ok()
}

// maxBudget bounds what a request may ask for, so that no arithmetic on it overflows.
const maxBudget = 365 * 24 * time.Hour

const (
	responseFault     = 1
	responseRefused   = 2 // with responseFault: by the node itself; no handler has said it
	responseRetryable = 4 // with responseFault
)

// response answers a request: with a payload, or with a fault.
type response struct {
	id      uint64
	refused bool         // fault is the node's own, and no handler's
	fault   *fault.Error // code, op, subject, message and retryable travel
	payload []byte
}

func (r *response) head() []byte {
	b := make([]byte, 0, 16)
	if r.fault == nil {
		b = binary.AppendUvarint(b, 0)
		return binary.AppendUvarint(b, r.id)
	}
	flags := uint64(responseFault)
	if r.refused {
		flags |= responseRefused
	}
	if r.fault.Retryable {
		flags |= responseRetryable
	}
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, r.id)
	b = binary.AppendUvarint(b, uint64(r.fault.Code))
	b = appendText(b, cut(r.fault.Op, 200))
	b = appendText(b, cut(r.fault.Subject, 1000))
	return appendText(b, cut(r.fault.Message, 8000))
}

func decodeResponse(body []byte) (response, bool) {
	d := decoder{rest: body}
	flags := d.flags(responseFault | responseRefused | responseRetryable)
	r := response{id: d.uint(), refused: flags&responseRefused != 0}
	if flags&responseFault != 0 {
		r.fault = &fault.Error{
			Code:      knownCode(d.uint()),
			Op:        d.text(),
			Subject:   d.text(),
			Message:   d.text(),
			Retryable: flags&responseRetryable != 0,
		}
	}
	r.payload = d.rest
	return r, d.ok()
}

// knownCode reads a code; one from a newer node is Internal here, as fault.Code's text form has it.
func knownCode(n uint64) fault.Code {
	if n >= 1 && n <= uint64(len(fault.Codes())) {
		return fault.Code(n)
	}
	return fault.Internal
}

// cut shortens a text to at most n bytes, between two runes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

const (
	announcesReady    = 1 // the announcing node's membership is complete
	announcesAnswered = 2 // it answers a join or an ask
)

// announcement is what a node says of itself.
type announcement struct {
	revision uint64 // grows with every change
	ready    bool
	answer   bool
	known    uint64 // how many members the node knows, so that a newcomer can tell when it has heard of all
	metadata map[string]string
	methods  []string
}

func (a *announcement) body() []byte {
	var flags uint64
	if a.ready {
		flags |= announcesReady
	}
	if a.answer {
		flags |= announcesAnswered
	}
	b := binary.AppendUvarint(nil, flags)
	b = binary.AppendUvarint(b, a.revision)
	b = binary.AppendUvarint(b, a.known)
	return appendTexts(appendPairs(b, a.metadata), a.methods)
}

func decodeAnnouncement(body []byte) (announcement, bool) {
	d := decoder{rest: body}
	flags := d.flags(announcesReady | announcesAnswered)
	a := announcement{
		ready:    flags&announcesReady != 0,
		answer:   flags&announcesAnswered != 0,
		revision: d.uint(),
		known:    d.uint(),
		metadata: d.pairs(),
		methods:  d.texts(),
	}
	return a, d.ok()
}

// number is the body of a frame that says one number: a heartbeat its revision, a cancel or probe the request.
func number(n uint64) []byte { return binary.AppendUvarint(make([]byte, 0, 10), n) }

func decodeNumber(body []byte) (uint64, bool) {
	d := decoder{rest: body}
	return d.uint(), d.ok()
}

// opening announces a payload that comes in chunks.
type opening struct {
	transfer uint64 // the sender's number of it
	kind     kind   // of the frame that it makes when it is complete: kindRequest or kindResponse
	call     uint64 // which call it belongs to
	total    uint64
}

func (o *opening) body() []byte {
	b := number(o.transfer)
	b = binary.AppendUvarint(b, uint64(o.kind))
	b = binary.AppendUvarint(b, o.call)
	return binary.AppendUvarint(b, o.total)
}

func decodeOpening(body []byte) (opening, bool) {
	d := decoder{rest: body}
	o := opening{transfer: d.uint(), kind: kind(d.uint()), call: d.uint(), total: d.uint()}
	return o, d.ok() && (o.kind == kindRequest || o.kind == kindResponse)
}

// position is a place in a transfer: where a chunk begins, or how far its sender may go.
type position struct {
	transfer uint64
	offset   uint64
}

func (p *position) body() []byte {
	return binary.AppendUvarint(number(p.transfer), p.offset)
}

// decodePosition answers what follows the position too: a chunk's bytes.
func decodePosition(body []byte) (position, []byte, bool) {
	d := decoder{rest: body}
	p := position{transfer: d.uint(), offset: d.uint()}
	return p, d.rest, d.ok()
}

const (
	abortByReceiver = 1
	abortOfRequest  = 2
)

// abortion ends a transfer before its end.
type abortion struct {
	transfer   uint64
	byReceiver bool // it is the receiver who gives up; otherwise the sender
	ofRequest  bool // it was to make a request; otherwise a response
	call       uint64
	code       fault.Code
	message    string
}

func (a *abortion) body() []byte {
	var flags uint64
	if a.byReceiver {
		flags |= abortByReceiver
	}
	if a.ofRequest {
		flags |= abortOfRequest
	}
	b := binary.AppendUvarint(nil, flags)
	b = binary.AppendUvarint(b, a.transfer)
	b = binary.AppendUvarint(b, a.call)
	b = binary.AppendUvarint(b, uint64(a.code))
	return appendText(b, cut(a.message, 1000))
}

func decodeAbortion(body []byte) (abortion, bool) {
	d := decoder{rest: body}
	flags := d.flags(abortByReceiver | abortOfRequest)
	a := abortion{
		byReceiver: flags&abortByReceiver != 0,
		ofRequest:  flags&abortOfRequest != 0,
		transfer:   d.uint(),
		call:       d.uint(),
		code:       knownCode(d.uint()),
		message:    d.text(),
	}
	return a, d.ok()
}
