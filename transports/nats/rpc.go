package nats

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/subject"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
)

// RPC over core NATS, without the detour over pub/sub: a frame is a message's payload as it is, at the subject
//
//	bp.NS.rpc.ADDRESS
//
// and a listener is a goroutine of its own, which calls deliver itself: calls are answered one hop earlier.
//
// Send hands frames to the link and does not wait. That nobody listens at an address, it does not know: core NATS says so
// only in a message of its own, a round trip later; the membership of package rpc knows it by then.
type frames struct {
	core     *core
	subjects string
	most     int

	mu   sync.Mutex
	open map[*listener]struct{} // nil after close
}

const (
	maxAddress   = 1024
	listenerSize = 8 << 10 // frames that may wait for a listener
)

func newRPC(c *core) (*rpc.Backend, closer, error) {
	f := &frames{core: c, subjects: "bp." + c.ns + ".rpc.", most: int(c.nc.MaxPayload()), open: map[*listener]struct{}{}}
	return &rpc.Backend{Driver: f, Capabilities: rpc.Capabilities{MaxFrame: f.most, Silence: c.silence}}, f, nil
}

// Send hands frames to the link.
func (f *frames) Send(ctx context.Context, frames []rpc.Frame) ([]error, error) {
	const op = "rpc: send"
	if err := f.core.usable(ctx); err != nil {
		return nil, f.core.fault(err, op, "")
	}
	errs := make([]error, len(frames))
	sent := false
	for i := range frames {
		to := frames[i].To
		if err := f.check(&frames[i]); err != nil {
			errs[i] = err
			continue
		}
		err := f.core.fault(f.core.nc.Publish(f.subjects+string(to), frames[i].Payload), op, string(to))
		if err != nil && !sent && fault.CodeOf(err) == fault.Unavailable {
			return nil, err // nothing was handed over
		}
		errs[i], sent = err, sent || err == nil
	}
	return errs, nil
}

func (f *frames) check(frame *rpc.Frame) error {
	refuse := func(code fault.Code, format string, args ...any) error {
		at := fault.New(code, format, args...)
		at.Op, at.Subject, at.Transport = "rpc: send", string(frame.To), Kind
		return at
	}
	if err := subject.Check(string(frame.To), maxAddress); err != nil {
		return refuse(fault.Invalid, "%w; an address is one or two tokens", err)
	}
	if n := len(frame.Payload); n > f.most {
		return refuse(fault.TooLarge, "the frame has %d bytes, the server allows %d (max_payload); send it in pieces", n, f.most)
	}
	return nil
}

// Listen returns when the server has confirmed it.
func (f *frames) Listen(ctx context.Context, address rpc.Address, deliver func([]rpc.Frame)) (io.Closer, error) {
	const op = "rpc: listen"
	if err := f.core.usable(ctx); err != nil {
		return nil, f.core.fault(err, op, string(address))
	}
	if err := f.checkListen(address, deliver); err != nil {
		return nil, f.core.fault(err, op, string(address))
	}
	l := &listener{frames: f, address: address, deliver: deliver, in: newIntake(f.core, listenerSize), ended: make(chan struct{})}
	var err error = errClosed
	if f.admit(l) {
		err = l.listen(ctx, f.subjects+string(address))
	}
	if err != nil {
		_ = l.Close() // always nil
		return nil, f.core.fault(err, op, string(address))
	}
	return l, nil
}

func (f *frames) checkListen(address rpc.Address, deliver func([]rpc.Frame)) error {
	if deliver == nil {
		return fault.New(fault.Invalid, "the function to deliver to is nil; give one")
	}
	if err := subject.Check(string(address), maxAddress); err != nil {
		return fault.New(fault.Invalid, "%w; an address is one or two tokens", err)
	}
	return nil
}

func (f *frames) admit(l *listener) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		return false
	}
	f.open[l] = struct{}{}
	return true
}

// close ends all listeners. A deliver that blocks is against the contract, and is not waited for longer than
// closePatience.
func (f *frames) close() {
	f.mu.Lock()
	open := f.open
	f.open = nil
	f.mu.Unlock()
	if !patiently(func() {
		for l := range open {
			_ = l.Close() // always nil
		}
	}) {
		f.core.log.Error("nats: an RPC listener's deliver blocks; it was left behind by Close")
	}
}

// patiently runs f and waits for it no longer than closePatience, whether it is done. Within a deliver it runs it here.
func patiently(f func()) (done bool) {
	if withinDeliver() {
		f()
		return true
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-ended:
		return true
	case <-patience.C:
		return false
	}
}

// listener has an intake for itself, whose goroutine calls deliver.
type listener struct {
	frames  *frames
	address rpc.Address
	deliver func([]rpc.Frame)
	in      *intake
	at      *outlet

	quiet atomic.Bool // deliver is not called any more
	once  sync.Once
	ended chan struct{}
}

func (l *listener) listen(ctx context.Context, subject string) (err error) {
	if l.at, err = l.in.listen(subject, "", l); err != nil {
		return err
	}
	return l.frames.core.confirm(ctx, subject)
}

func (l *listener) post(messages []*nats.Msg, _ bool) {
	if l.quiet.Load() {
		return
	}
	frames := make([]rpc.Frame, len(messages))
	for i, m := range messages {
		if m.Data == nil {
			m.Data = []byte{}
		}
		frames[i] = rpc.Frame{To: l.address, Payload: m.Data}
	}
	l.deliver(frames)
}

func (l *listener) postGap(pubsub.Gap) {
	if !l.quiet.Load() {
		l.deliver([]rpc.Frame{{To: l.address, Gap: true}})
	}
}

// Close ends it, and waits for a deliver that runs unless it is called from there.
func (l *listener) Close() error {
	within := withinDeliver()
	l.once.Do(func() {
		l.quiet.Store(true)
		if l.at != nil {
			l.in.unlisten(l.at, l)
		}
		l.frames.mu.Lock()
		delete(l.frames.open, l)
		l.frames.mu.Unlock()
		go func() {
			defer close(l.ended)
			l.in.close()
		}()
	})
	if !within {
		<-l.ended
	}
	return nil
}
