package exchange

import (
	"runtime"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// Outbox writes what many callers have to say to one stream: at once when nothing is under way, and together while a write
// is. It holds no more than its callers have handed over; how much that is, they bound.
type Outbox struct {
	send func(encoded []byte) error // keeps nothing of what it is given; called by one goroutine at a time
	part protowire.Number           // the field of a part

	mu      sync.Mutex
	held    [][]byte // messages to be written
	spare   []byte   // was written, and can be filled again
	writing bool
	last    bool          // nothing more is taken
	ended   bool          // nothing more is written
	wake    chan struct{} // one token: something is held, and nobody writes
}

const (
	// together is how much is written as one message. More saves nothing, and makes who reads it wait.
	together = 64 << 10
	// direct is the largest message that a caller writes himself: gRPC takes 64 KiB from a stream without waiting for the
	// peer to read, so that an idle stream's writer does not wait for less.
	direct = 32 << 10
)

// Fields that hold a part.
const (
	PartOfRequests  protowire.Number = 5
	PartOfResponses protowire.Number = 3
)

// NewOutbox makes an outbox for a stream, whose messages hold a part in the field of that number. Run must be called.
func NewOutbox(part protowire.Number, send func(encoded []byte) error) *Outbox {
	return &Outbox{send: send, part: part, wake: make(chan struct{}, 1)}
}

// Put hands over an encoded message, which is the caller's again when Put returns. The caller may have to write it himself
// if he says so and nothing else is under way: that spares a change of goroutines, and blocks for as long as the peer does
// not read. Otherwise Put does not block. What is handed over after the end is dropped.
func (o *Outbox) Put(message []byte, mayWrite bool) {
	o.mu.Lock()
	if o.last {
		o.mu.Unlock()
		return
	}
	if mayWrite && !o.writing && len(o.held) == 0 && len(message) <= direct {
		o.writing = true
		o.mu.Unlock()
		o.written(o.send(message))
		return
	}
	o.hold(message)
	if !o.writing {
		o.wakeWriter()
	}
	o.mu.Unlock()
}

// written ends a caller's own write.
func (o *Outbox) written(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = false
	switch {
	case err != nil || o.last && len(o.held) == 0:
		o.end()
	case len(o.held) > 0:
		o.wakeWriter()
	}
}

// wakeWriter has Run write what is held. o.mu is held.
func (o *Outbox) wakeWriter() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// hold copies a message to what is held. o.mu is held.
func (o *Outbox) hold(message []byte) {
	if len(message) > MaxPart {
		o.holdParts(message)
		return
	}
	last := len(o.held) - 1
	if last < 0 || len(o.held[last])+len(message) > together {
		o.held = append(o.held, o.spare[:0])
		o.spare = nil
		last++
	}
	o.held[last] = append(o.held[last], message...)
}

// holdParts cuts a message that is too large for one. What comes after it is written after it, so that no order is lost.
func (o *Outbox) holdParts(message []byte) {
	const around = 64 // at most, of tags and lengths
	for len(message) > 0 {
		n := min(len(message), MaxPart-around)
		piece := protowire.AppendTag(make([]byte, 0, n+around), 1, protowire.BytesType)
		piece = protowire.AppendBytes(piece, message[:n])
		if message = message[n:]; len(message) == 0 {
			piece = protowire.AppendVarint(protowire.AppendTag(piece, 2, protowire.VarintType), 1)
		}
		whole := protowire.AppendTag(make([]byte, 0, len(piece)+around), o.part, protowire.BytesType)
		o.held = append(o.held, protowire.AppendBytes(whole, piece))
	}
	o.held = append(o.held, nil) // so that nothing is put together with a part
}

// Run writes what is held until the outbox ends.
func (o *Outbox) Run() {
	for range o.wake {
		// One turn for others: those who were just answered often have more to say, and it goes along.
		runtime.Gosched()
		if !o.begin() {
			continue
		}
		for message := o.next(nil); message != nil; message = o.next(message) {
			if err := o.send(message); err != nil {
				o.End()
				return
			}
		}
	}
}

// begin makes the caller the one who writes, unless somebody is or nothing is held.
func (o *Outbox) begin() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing || len(o.held) == 0 {
		return false
	}
	o.writing = true
	return true
}

// next is what is to be written next, and keeps what was written before to be filled again. With nil the writing is over.
func (o *Outbox) next(done []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cap(done) <= 2*together {
		o.spare = done
	}
	for len(o.held) > 0 {
		message := o.held[0]
		o.held[0] = nil
		if o.held = o.held[1:]; len(message) > 0 {
			return message
		}
	}
	o.held, o.writing = nil, false
	if o.last {
		o.end()
	}
	return nil
}

// Finish takes no more, and ends Run once what is held is written.
func (o *Outbox) Finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last = true; !o.writing && len(o.held) == 0 {
		o.end()
	}
}

// End drops what is held, and ends Run once what it writes is written.
func (o *Outbox) End() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end()
}

func (o *Outbox) end() {
	o.last = true
	if !o.ended {
		o.ended = true
		o.held, o.spare = nil, nil
		close(o.wake)
	}
}
