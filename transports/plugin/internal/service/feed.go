package service

import (
	"context"
	"io"
	"math"
	"sync"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports/plugin/internal/exchange"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// feed is an open subscription, watch or listener.
type feed interface {
	addCredit(bytes uint64)
	// close ends it, and returns when nothing more will be sent.
	close()
}

// What a feed holds while the host gives it no credit.
const (
	heldEvents = 8192
	heldBytes  = 16 << 20
)

// flow sends the events of one feed as far as the host's credit goes, and holds some beyond it.
type flow[M any] struct {
	out      *exchange.Outbox
	wrap     func([]*M) *pb.Events
	weight   func(*M) int64
	overflow func(held []*M, refused *M) []*M
	id       uint64

	mu     sync.Mutex
	credit int64
	held   []*M
	bytes  int64
	source io.Closer // what brings events; nil until it is known
	closed bool
}

// take takes events over. It does not block.
func (f *flow[M]) take(events []*M) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	for _, e := range events {
		weight := f.weight(e)
		if len(f.held) > 0 && (len(f.held) >= heldEvents || f.bytes+weight > heldBytes) {
			f.held = f.overflow(f.held, e)
			f.bytes = max(f.bytes, heldBytes) // full until it is sent, so that what was refused and what was not stay in order
			continue
		}
		f.held = append(f.held, e)
		f.bytes += weight
	}
	f.flush()
}

func (f *flow[M]) addCredit(bytes uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.credit += int64(min(bytes, math.MaxInt32)) // far from where it would overflow, whatever the host says
	if !f.closed {
		f.flush()
	}
}

// sentTogether is about how much is sent of one feed in one message.
const sentTogether = 64 << 10

// flush sends what there is credit for. f.mu is held.
func (f *flow[M]) flush() {
	for len(f.held) > 0 && f.credit > 0 {
		n, bytes := 0, int64(0)
		for n < len(f.held) && bytes < min(f.credit, sentTogether) {
			bytes += f.weight(f.held[n])
			n++
		}
		events := f.wrap(f.held[:n])
		events.Subscription = f.id
		// It cannot be too large: no event is, and few are put together.
		_ = exchange.Post(f.out, &pb.ExchangeResponse{Events: []*pb.Events{events}}, false)
		f.credit -= bytes
		f.bytes -= bytes
		clear(f.held[:n])
		f.held = f.held[n:]
	}
	if len(f.held) == 0 {
		f.held, f.bytes = nil, 0
	}
}

// begin keeps what brings the events. It is false when the feed was closed meanwhile.
func (f *flow[M]) begin(source io.Closer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.source = source
	return !f.closed
}

func (f *flow[M]) close() {
	f.mu.Lock()
	f.closed, f.held = true, nil
	source := f.source
	f.mu.Unlock()
	if source != nil {
		_ = source.Close() // there is nobody to tell, and nothing to do about it
	}
}

// runFeed begins or ends a feed. It answers false for any other call.
func (x *serving) runFeed(ctx context.Context, r *pb.Request, a *pb.Answer) (bool, error) {
	switch call := r.GetCall().(type) {
	case *pb.Request_WatchEntries:
		a.Result = &pb.Answer_WatchEntries{WatchEntries: &pb.WatchEntriesResult{}}
		return true, x.watch(ctx, r.GetId(), call.WatchEntries)
	case *pb.Request_Subscribe:
		a.Result = &pb.Answer_Subscribe{Subscribe: &pb.SubscribeResult{}}
		return true, x.subscribe(ctx, r.GetId(), call.Subscribe)
	case *pb.Request_Listen:
		a.Result = &pb.Answer_Listen{Listen: &pb.ListenResult{}}
		return true, x.listen(ctx, r.GetId(), call.Listen)
	case *pb.Request_Unsubscribe:
		a.Result = &pb.Answer_Unsubscribe{Unsubscribe: &pb.UnsubscribeResult{}}
		x.unsubscribe(call.Unsubscribe.GetSubscription())
		return true, nil
	}
	return false, nil
}

func (x *serving) watch(ctx context.Context, id uint64, m *pb.WatchEntries) error {
	b := x.node.transport.Cache()
	if b == nil || b.Watcher == nil {
		return missing("watches")
	}
	f := &flow[pb.Change]{
		out: x.out, id: id, weight: exchange.WeightOfChange,
		wrap:     func(changes []*pb.Change) *pb.Events { return &pb.Events{Changes: changes} },
		overflow: func([]*pb.Change, *pb.Change) []*pb.Change { return []*pb.Change{{Resync: true}} },
	}
	f.addCredit(m.GetCredit())
	return start(x, f, func() (io.Closer, error) {
		return b.Watcher.Watch(ctx, name(m.GetPrefix()), deliverTo(f, translate.ToChange))
	})
}

func (x *serving) subscribe(ctx context.Context, id uint64, m *pb.Subscribe) error {
	b := x.node.transport.PubSub()
	if b == nil {
		return missing("pub/sub")
	}
	f := &flow[pb.Event]{
		out: x.out, id: id, weight: exchange.WeightOfEvent, overflow: countLost,
		wrap: func(events []*pb.Event) *pb.Events { return &pb.Events{Events: events} },
	}
	f.addCredit(m.GetCredit())
	return start(x, f, func() (io.Closer, error) {
		filter := pubsub.Filter{Subject: name(m.GetSubject()), Group: name(m.GetGroup())}
		return b.Subscribe(ctx, filter, deliverTo(f, translate.ToEvent))
	})
}

// countLost counts an event that found no room in the gap at the end of what is held.
func countLost(held []*pb.Event, refused *pb.Event) []*pb.Event {
	lost, sender := int64(1), refused.GetMessage().GetSender()
	if g := refused.GetGap(); g != nil {
		lost, sender = g.GetLost(), g.GetSender()
	}
	last := held[len(held)-1].GetGap()
	if last == nil || last.GetCause() != pb.Cause_CAUSE_OVERFLOW {
		return append(held, &pb.Event{Gap: &pb.Gap{Cause: pb.Cause_CAUSE_OVERFLOW, Sender: sender, Lost: lost}})
	}
	if last.Lost += lost; lost < 0 || last.Lost < lost {
		last.Lost = pubsub.Unknown
	}
	if string(last.GetSender()) != string(sender) {
		last.Sender = nil
	}
	return held
}

func (x *serving) listen(ctx context.Context, id uint64, m *pb.Listen) error {
	b := x.node.transport.RPC()
	if b == nil {
		return missing("RPC of its own")
	}
	address := translate.Text[rpc.Address](m.GetAddress())
	f := &flow[pb.Frame]{
		out: x.out, id: id, weight: exchange.WeightOfFrame,
		wrap: func(frames []*pb.Frame) *pb.Events { return &pb.Events{Frames: frames} },
		overflow: func(held []*pb.Frame, _ *pb.Frame) []*pb.Frame {
			if held[len(held)-1].GetGap() {
				return held
			}
			return append(held, &pb.Frame{To: m.GetAddress(), Gap: true})
		},
	}
	f.addCredit(m.GetCredit())
	return start(x, f, func() (io.Closer, error) { return b.Listen(ctx, address, deliverTo(f, translate.ToFrame)) })
}

// deliverTo is the function that a driver delivers to.
func deliverTo[M, E any](f *flow[M], to func(*M, *E)) func([]E) {
	return func(events []E) { f.take(translate.Pack(events, to)) }
}

// start opens the source of a feed, and keeps the feed until it is closed.
func start[M any](x *serving, f *flow[M], open func() (io.Closer, error)) error {
	x.mu.Lock()
	full := len(x.feeds) >= exchange.MaxSubscriptions
	if !full {
		x.feeds[f.id] = f
	}
	x.mu.Unlock()
	if full {
		return fault.New(fault.Exhausted, "%d subscriptions are open, which is the limit; close some", exchange.MaxSubscriptions)
	}
	source, err := open()
	if err != nil {
		x.mu.Lock()
		delete(x.feeds, f.id)
		x.mu.Unlock()
		return err
	}
	if !f.begin(source) {
		f.close() // asked for while it was being opened
	}
	return nil
}

func (x *serving) unsubscribe(id uint64) {
	x.mu.Lock()
	f := x.feeds[id]
	delete(x.feeds, id)
	x.mu.Unlock()
	if f != nil {
		f.close()
	}
}

// closeFeeds closes what is still open at the end.
func (x *serving) closeFeeds() {
	x.mu.Lock()
	feeds := x.feeds
	x.feeds = nil
	x.mu.Unlock()
	for _, f := range feeds {
		f.close()
	}
}
