package nats

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// pipeline sends requests and hands out their answers. Unlike the client's own Request it has many of them under way for
// one caller, so that a batch costs one round trip; an answer may have several messages; and when the link is lost all
// that wait are told at once, not when their time is over.
type pipeline struct {
	nc     *nats.Conn
	life   context.Context
	inbox  string // with a dot at the end; the number of the request follows
	sub    *nats.Subscription
	budget *budget

	mu      sync.Mutex
	number  uint64
	waiting map[uint64]*request
}

// request is one message to a server, and its answer.
type request struct {
	subject string
	header  nats.Header
	data    []byte
	first   *nats.Msg // sent before it, without an answer of its own: the first message of an atomic batch
	weight  int64     // bytes in flight; 0: what an answer of unknown size is taken for
	repeats bool      // it may be asked twice

	// more takes an answer's messages until it returns false; nil: there is one, which answer then is.
	more   func(*nats.Msg) bool
	answer *nats.Msg
	err    error

	number uint64
	volley *volley
}

// volley is the requests that one caller waits for.
type volley struct {
	left atomic.Int64
	done chan struct{}

	x        *pipeline
	requests []*request
	seen     int64         // what was left when it was looked at last
	idle     time.Duration // since the last answer
	patient  *time.Timer
	stalled  chan struct{} // closed when no answer has come for too long
}

func (x *pipeline) newVolley(requests []*request) *volley {
	v := &volley{x: x, requests: requests, done: make(chan struct{}), seen: int64(len(requests)), stalled: make(chan struct{})}
	v.left.Store(v.seen)
	v.patient = time.AfterFunc(time.Hour, v.lookUp) // so that lookUp finds the timer that calls it
	v.patient.Reset(askAgainAfter)
	return v
}

// lookUp has patience for as long as answers come: a batch may take a slow disk many seconds. What can be asked twice is
// asked again.
func (v *volley) lookUp() {
	if left := v.left.Load(); left < v.seen {
		v.seen, v.idle = left, 0
	} else if v.idle += askAgainAfter; v.idle >= answerWithin {
		close(v.stalled)
		return
	} else {
		v.x.askAgain(v.requests)
	}
	v.patient.Reset(askAgainAfter)
}

// askAgain sends those requests again that can be and have no answer yet.
func (x *pipeline) askAgain(requests []*request) {
	x.mu.Lock()
	var again []*request
	for _, r := range requests {
		if r.repeats && x.waiting[r.number] == r {
			again = append(again, r)
		}
	}
	x.mu.Unlock()
	for _, r := range again {
		_ = x.send(r) // what cannot be sent now has its time
	}
}

func (v *volley) landed() {
	if v.left.Add(-1) == 0 {
		close(v.done)
	}
}

// answerWithin bounds the wait for the next answer. A server that leads the stream answers in milliseconds, and a new leader is
// chosen within a few seconds.
//
// While a stream of a cluster has just been made, or has just got a new leader, servers leave questions without an answer.
const (
	answerWithin  = 5 * time.Second
	askAgainAfter = 500 * time.Millisecond
)

func newPipeline(nc *nats.Conn, life context.Context) (*pipeline, error) {
	x := &pipeline{
		nc: nc, life: life, inbox: nc.NewInbox() + ".", budget: newBudget(),
		waiting: map[uint64]*request{},
	}
	sub, err := nc.Subscribe(x.inbox+"*", x.receive)
	if err != nil {
		return nil, err
	}
	// What may come in is bounded by what was asked for.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	x.sub = sub
	return x, nil
}

func (x *pipeline) close() { _ = x.sub.Unsubscribe() }

// do sends requests and waits for all answers. Its error means that some did not come, and nothing is known of those; a
// request's own error says that it was not sent, or that nobody was there to take it.
func (x *pipeline) do(ctx context.Context, requests ...*request) error {
	if len(requests) == 0 {
		return nil
	}
	v := x.newVolley(requests)
	defer v.patient.Stop()
	sent := 0
	defer func() { x.forget(requests[:sent]) }()
	for _, r := range requests {
		r.answer, r.err, r.volley = nil, nil, v
		if r.weight == 0 {
			r.weight = x.budget.guess()
		}
		if err := x.budget.take(ctx, x.life, v.stalled, r.weight); err != nil {
			return err
		}
		x.await(r)
		sent++
		if err := x.send(r); err != nil {
			return err
		}
	}
	select {
	case <-v.done:
		for _, r := range requests {
			if r.err == errLinkLost {
				return r.err
			}
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-x.life.Done():
		return errClosed
	case <-v.stalled:
		return nats.ErrTimeout
	}
}

func (x *pipeline) await(r *request) {
	x.mu.Lock()
	x.number++
	r.number = x.number
	x.waiting[r.number] = r
	x.mu.Unlock()
}

// send may not leave anything in a buffer for later: a write that arrives when its caller has been told of a failure is a
// write out of nowhere. Our own connections have no such buffer, an application's may.
func (x *pipeline) send(r *request) error {
	if x.nc.Opts.ReconnectBufSize >= 0 && !x.nc.IsConnected() {
		return nats.ErrConnectionReconnecting
	}
	if r.first != nil {
		if err := x.nc.PublishMsg(r.first); err != nil {
			return err
		}
	}
	return x.nc.PublishMsg(&nats.Msg{
		Subject: r.subject, Reply: x.inbox + strconv.FormatUint(r.number, 36), Header: r.header, Data: r.data,
	})
}

// receive hands a message to the request that waits for it. It runs on the subscription's goroutine.
func (x *pipeline) receive(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[len(x.inbox):], 36, 64)
	if err != nil {
		return
	}
	x.mu.Lock()
	r := x.waiting[number]
	if r == nil {
		x.mu.Unlock()
		return
	}
	if isNobody(m) {
		r.err = nats.ErrNoResponders
	} else if r.more != nil && r.more(m) {
		x.mu.Unlock()
		return
	}
	r.answer = m
	delete(x.waiting, number)
	x.mu.Unlock()
	x.budget.give(r.weight)
	x.budget.saw(len(m.Data))
	r.volley.landed()
}

// isNobody tells the server's word that nobody listens to a subject.
func isNobody(m *nats.Msg) bool {
	return len(m.Data) == 0 && m.Header != nil && m.Header.Get("Status") == "503"
}

// forget takes requests back that nobody waits for any more.
func (x *pipeline) forget(requests []*request) {
	for _, r := range requests {
		x.mu.Lock()
		waits := x.waiting[r.number] == r
		delete(x.waiting, r.number)
		x.mu.Unlock()
		if waits {
			x.budget.give(r.weight)
		}
	}
}

var errLinkLost = nats.ErrDisconnected

// abandon tells all that wait that the link was lost.
func (x *pipeline) abandon() {
	x.mu.Lock()
	lost := x.waiting
	x.waiting = map[uint64]*request{}
	for _, r := range lost {
		r.err = errLinkLost
	}
	x.mu.Unlock()
	for _, r := range lost {
		x.budget.give(r.weight)
		r.volley.landed()
	}
}
