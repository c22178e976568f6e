package plugin

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/exchange"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// lane says which of a node's exchanges a call goes by. They are apart so that none waits behind what another carries.
type lane int

const (
	cacheLane lane = iota
	queueLane
	busLane  // what is published and sent
	feedLane // subscriptions, watches, listeners
	lanes
)

// grace is how long a caller whose context has ended waits for what became of its call. Most often that is known at once:
// and a claim that had its tasks, or a lock that was taken, should not be lost on the way.
const grace = time.Second

// line is one exchange: calls of many callers on one stream.
type line struct {
	out  *exchange.Outbox
	over chan struct{} // closed when the exchange has ended

	last atomic.Uint64 // ID given out

	mu     sync.Mutex
	calls  map[uint64]*call
	feeds  map[uint64]receiver
	prompt int   // calls that do not wait for anything but their answer
	err    error // why it has ended
}

// call is a request that is not answered yet.
type call struct {
	answer chan *pb.Answer // has room for the one
	waits  bool            // for something else than its answer, perhaps for long
	late   func()          // nobody waits any more; called when it went well all the same
	left   bool            // its caller has gone
}

// receiver takes the events of a feed.
type receiver interface {
	// receive takes events in without blocking. The error is of a plugin that does not keep to the protocol.
	receive(m *pb.Events) error
}

// how is what a call needs beside its request.
type how struct {
	waits bool     // see call
	late  func()   // see call
	feed  receiver // of the request, if it begins one
}

type stream = grpc.BidiStreamingClient[pb.ExchangeRequest, pb.ExchangeResponse]

// newLine makes an exchange for a node of a stream. Its goroutines are in work; they end with the stream.
func newLine(s stream, node string, work *sync.WaitGroup, ended func(error)) *line {
	l := &line{over: make(chan struct{}), calls: map[uint64]*call{}, feeds: map[uint64]receiver{}}
	l.out = exchange.NewOutbox(exchange.PartOfRequests, func(encoded []byte) error { return s.SendMsg(exchange.Requests(encoded)) })
	_ = exchange.Post(l.out, &pb.ExchangeRequest{Node: node}, false) // cannot fail: it is small
	work.Go(l.out.Run)
	work.Go(func() {
		err := l.read(s)
		l.end(err)
		ended(err)
	})
	return l
}

// read takes answers and events in until the stream ends.
func (l *line) read(s stream) error {
	var parts exchange.Assembly
	for {
		m, err := s.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return fault.New(fault.Unavailable, "the plugin has ended the exchange")
			}
			return statusFault(context.Background(), err)
		}
		if part := m.GetPart(); part != nil {
			m = &pb.ExchangeResponse{}
			complete, err := parts.Add(part, m)
			if err != nil {
				return err
			}
			if !complete {
				continue
			}
		}
		for _, a := range m.GetAnswers() {
			if err := l.answered(a); err != nil {
				return err
			}
		}
		for _, e := range m.GetEvents() {
			l.mu.Lock()
			f := l.feeds[e.GetSubscription()]
			l.mu.Unlock()
			if f == nil {
				continue // it was closed meanwhile
			}
			if err := f.receive(e); err != nil {
				return err
			}
		}
	}
}

func (l *line) answered(a *pb.Answer) error {
	l.mu.Lock()
	c := l.calls[a.GetId()]
	if c == nil {
		l.mu.Unlock()
		return fault.New(fault.Corrupt, "the plugin answered request %d, which it was not asked or has answered before", a.GetId())
	}
	delete(l.calls, a.GetId())
	if !c.waits {
		l.prompt--
	}
	left := c.left
	l.mu.Unlock()
	c.answer <- a
	if left && c.late != nil && a.GetFault() == nil {
		c.late()
	}
	return nil
}

// end ends all calls that are not answered.
func (l *line) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.over)
		l.out.End()
	}
}

// refused is of a call that was not made because of what it is.
type refused struct{ error }

// broken is of a call that the exchange has ended under, or that it could not take any more.
type broken struct {
	error
	sent bool // it may have been done
}

// do makes a call and waits for its answer. The error is refused, broken, or the fault of a context that has ended. What the
// request refers to is the caller's again when do returns.
func (l *line) do(ctx context.Context, r *pb.Request, h how) (*pb.Answer, error) {
	c := &call{answer: make(chan *pb.Answer, 1), waits: h.waits, late: h.late}
	if r.GetId() == 0 {
		r.Id = l.newID()
	}
	idle, err := l.enter(r.GetId(), c, h.feed)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		r.Budget = max(1, int64(time.Until(deadline)))
	}
	if err := exchange.Post(l.out, &pb.ExchangeRequest{Requests: []*pb.Request{r}}, idle); err != nil {
		l.forget(r.GetId())
		return nil, refused{err}
	}
	select {
	case a := <-c.answer:
		return a, nil
	case <-l.over:
		return l.ended(c)
	case <-ctx.Done():
	}
	return l.leave(ctx, r.GetId(), c)
}

// newID is an ID that no other call of the line has.
func (l *line) newID() uint64 { return l.last.Add(1) }

// enter makes room for a call. idle says that the plugin has answered, and so has read, all that was sent to it before.
func (l *line) enter(id uint64, c *call, feed receiver) (idle bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return false, broken{l.err, false}
	case len(l.calls) >= exchange.MaxRequests:
		return false, refused{&fault.Error{Code: fault.Exhausted, Retryable: true,
			Message: "too many calls of the node wait for the plugin; make fewer at a time"}}
	case feed != nil && len(l.feeds) >= exchange.MaxSubscriptions:
		return false, refused{fault.New(fault.Exhausted, "the node has %d subscriptions, which is the limit; close some", len(l.feeds))}
	}
	l.calls[id] = c
	if feed != nil {
		l.feeds[id] = feed
	}
	idle = l.prompt == 0
	if !c.waits {
		l.prompt++
	}
	return idle, nil
}

// forget takes back a call that was not sent.
func (l *line) forget(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.calls[id].waits {
		l.prompt--
	}
	delete(l.calls, id)
	delete(l.feeds, id)
}

// leave tells the plugin that nobody waits, and waits a little for what it says to that.
func (l *line) leave(ctx context.Context, id uint64, c *call) (*pb.Answer, error) {
	_ = exchange.Post(l.out, &pb.ExchangeRequest{Cancels: []uint64{id}}, false) // cannot fail: it is small
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case a := <-c.answer:
		return a, nil
	case <-l.over:
		return l.ended(c)
	case <-timer.C:
	}
	l.mu.Lock()
	c.left = l.calls[id] == c
	l.mu.Unlock()
	if !c.left {
		return <-c.answer, nil // it came in this moment
	}
	return nil, fault.FromContext(ctx)
}

// ended is what becomes of a call when the exchange ends: its answer may have come just before.
func (l *line) ended(c *call) (*pb.Answer, error) {
	select {
	case a := <-c.answer:
		return a, nil
	default:
		return nil, broken{l.err, true}
	}
}

// cast makes a call whose answer nobody waits for. It does not block.
func (l *line) cast(r *pb.Request) {
	r.Id = l.newID()
	c := &call{answer: make(chan *pb.Answer, 1), waits: true, left: true}
	if _, err := l.enter(r.GetId(), c, nil); err == nil {
		_ = exchange.Post(l.out, &pb.ExchangeRequest{Requests: []*pb.Request{r}}, false) // it is small
	}
}

// drop forgets a feed.
func (l *line) drop(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.feeds, id)
}

// credit gives a feed room for more. It does not block.
func (l *line) credit(id uint64, bytes int64) {
	_ = exchange.Post(l.out, &pb.ExchangeRequest{Credits: []*pb.Credit{{Subscription: id, Bytes: uint64(bytes)}}}, false) // it is small
}
