package pubsub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/reentry"
)

const opNext = "pubsub: next"

// Stream is a subscription with its buffer. Its methods may be called concurrently; several callers of Next share the
// events.
type Stream struct {
	bus    *PubSub
	filter string
	o      subscribing
	ledger *ledger // belongs to accept, of which one call runs at a time

	life context.Context // of the handler
	end  context.CancelFunc

	mu      sync.Mutex
	sub     Subscription // nil until it is confirmed
	buffer  buffer
	stats   Stats
	err     error         // why there are no more events than those in the buffer
	over    chan struct{} // closed with err set
	ready   chan struct{} // one token while there may be something in the buffer
	handled chan struct{} // closed when the handler's goroutine has ended; nil without one
}

// Stats counts what a stream has seen.
type Stats struct {
	Received   uint64 // messages that came, without repeats
	Delivered  uint64 // messages given out by Next, All or to the handler
	Dropped    uint64 // messages that the buffer had no room for
	Missed     uint64 // messages lost before they came, as far as their number is known
	Duplicates uint64 // repeats, dropped
	Refused    uint64 // messages that were not believed, dropped: forged, replayed, or without the seal that they must have
	Gaps       uint64 // gaps that the transport told of, or the senders' numbers showed
	Panics     uint64 // of the handler
	Buffered   int    // messages that wait now
}

func newStream(p *PubSub, filter string, o subscribing) *Stream {
	s := &Stream{
		bus: p, filter: filter, o: o,
		ledger: newLedger(p.o.Senders, o.group == "", p.seal.signs()),
		over:   make(chan struct{}), ready: make(chan struct{}, 1),
	}
	s.life, s.end = context.WithCancel(p.life)
	return s
}

// attach makes the stream live; false when it must be closed instead, because the PubSub was.
func (s *Stream) attach(sub Subscription) bool {
	s.mu.Lock()
	s.sub = sub
	over := s.err != nil
	s.mu.Unlock()
	if over {
		_ = sub.Close() // it has overflowed already
	}
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	if s.bus.streams == nil {
		return false
	}
	s.bus.streams[s] = struct{}{}
	return true
}

// Filter is what was subscribed to.
func (s *Stream) Filter() string { return s.filter }

// Next returns the next event, and waits for it until ctx ends. After Close it answers Closed, and after an overflow
// under EndStream Exhausted.
func (s *Stream) Next(ctx context.Context) (Event, error) {
	for {
		if err := fault.FromContext(ctx); err != nil {
			return Event{}, fault.In(err, opNext, s.filter)
		}
		e, ok, err := s.take()
		if ok || err != nil {
			return e, err
		}
		select {
		case <-s.ready:
		case <-s.over:
		case <-ctx.Done():
		}
	}
}

// take gives the first event of the buffer, or why there will be none.
func (s *Stream) take() (e Event, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok = s.buffer.pop()
	switch {
	case !ok:
		return e, false, s.err
	case e.Message != nil:
		s.stats.Delivered++
	}
	if !s.buffer.empty() {
		s.signal() // for another caller of Next
	}
	return e, true, nil
}

func (s *Stream) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// All yields the events as they come. It ends without an error when the stream is closed, and otherwise with the error
// of Next: that of ctx, or Exhausted.
func (s *Stream) All(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := s.Next(ctx)
			if errors.Is(err, fault.Closed) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Stats are the counts so far.
func (s *Stream) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Buffered = s.buffer.len()
	return stats
}

// Done is closed when the stream takes in nothing any more.
func (s *Stream) Done() <-chan struct{} { return s.over }

// Err is why the stream has ended: nil while it has not, Closed, or Exhausted.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the stream; what its buffer holds is given up. It waits for the handler, unless a handler calls it. It may
// be called twice.
func (s *Stream) Close() error {
	s.stop(errClosed(opNext, s.filter), true)
	s.bus.mu.Lock()
	delete(s.bus.streams, s)
	s.bus.mu.Unlock()
	s.mu.Lock()
	sub, handled := s.sub, s.handled
	s.mu.Unlock()
	var err error
	if sub != nil {
		err = sub.Close()
	}
	if handled != nil && !reentry.Within("pubsub.(*Stream).handleAll") {
		<-handled
	}
	return err
}

// stop ends the taking in, and with discard the giving out too.
func (s *Stream) stop(reason error, discard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = reason
		close(s.over)
	}
	if discard {
		s.err = reason
		s.buffer = buffer{}
		s.end()
	}
}

// accept takes what the driver delivers. It does not block.
func (s *Stream) accept(events []Event) {
	s.mu.Lock()
	for _, e := range events {
		if s.err != nil {
			break
		}
		if e.Gap != nil {
			s.noteGap(*e.Gap)
		} else if e.Message != nil {
			s.admit(e.Message)
		}
	}
	if !s.buffer.empty() {
		s.signal()
	}
	sub, over := s.sub, s.err != nil
	s.mu.Unlock()
	if over && sub != nil {
		_ = sub.Close() // from within its deliver, so it returns at once
	}
}

// noteGap takes a gap of the driver. What its buffer dropped will be missing in the senders' numbers too, and is counted
// there.
func (s *Stream) noteGap(g Gap) {
	if g.Cause == Overflow && s.ledger.holes {
		g.Lost = Unknown
	}
	s.gap(g)
}

func (s *Stream) gap(g Gap) {
	s.stats.Gaps++
	if g.Lost > 0 {
		s.stats.Missed += uint64(g.Lost)
	}
	s.buffer.gap(g)
}

// admit takes a message, with a gap before it if its sender's numbers show one.
func (s *Stream) admit(m *Message) {
	if isReserved(m.Subject) {
		return // the library's own: a wildcard of an application does not see them
	}
	fresh, err := s.bus.seal.open(m)
	if err == nil && !s.ledger.believes(m, fresh) {
		err = errOld
	}
	if err != nil {
		s.refuse(m, err)
		return
	}
	isNew, missing := s.ledger.enter(m)
	if !isNew {
		s.stats.Duplicates++
		return
	}
	if missing != 0 {
		s.gap(Gap{Cause: Skipped, Sender: m.Sender, Lost: missing})
	}
	s.stats.Received++
	s.store(m)
}

// refuse drops a message that is not believed.
func (s *Stream) refuse(m *Message, err error) {
	s.stats.Refused++
	if others, ok := s.bus.complaints.Allow(fault.CodeOf(err)); ok {
		s.bus.o.Logger.Warn("pubsub: a message was refused", "filter", s.filter, "subject", shorten(m.Subject), "error", err, "more", others)
	}
}

// store puts a message into the buffer, or does what the policy says.
func (s *Stream) store(m *Message) {
	for !s.buffer.fits(m, s.o.events, s.o.bytes) {
		s.stats.Dropped++
		if s.o.policy == DropOldest {
			s.buffer.dropOldest()
			continue
		}
		s.buffer.gap(Gap{Cause: Overflow, Lost: 1})
		if s.o.policy == EndStream {
			s.err = &fault.Error{Code: fault.Exhausted, Op: opNext, Subject: s.filter, Message: fmt.Sprintf(
				"the buffer of %d messages and %d bytes overflowed; read faster, or subscribe with a larger one", s.o.events, s.o.bytes)}
			close(s.over)
		}
		return
	}
	s.buffer.push(m)
}

// serve starts the handler's goroutine.
func (s *Stream) serve(handle func(context.Context, Event)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return // closed meanwhile
	}
	s.handled = make(chan struct{})
	go s.handleAll(handle)
}

func (s *Stream) handleAll(handle func(context.Context, Event)) {
	defer close(s.handled)
	for e, err := range s.All(s.life) {
		if err != nil {
			if errors.Is(err, fault.Exhausted) {
				s.bus.o.Logger.Error("pubsub: stream ended", "filter", s.filter, "error", err)
			}
			return
		}
		s.handle(handle, e)
	}
}

func (s *Stream) handle(handle func(context.Context, Event), e Event) {
	defer func() {
		if r := recover(); r != nil {
			s.mu.Lock()
			s.stats.Panics++
			s.mu.Unlock()
			s.bus.o.Logger.Error("pubsub: handler panicked", "filter", s.filter, slog.Any("panic", r), "stack", string(debug.Stack()))
		}
	}()
	handle(s.life, e)
}
