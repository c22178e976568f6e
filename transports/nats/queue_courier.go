package nats

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// courierBuffer is how many messages may have arrived and not been looked at. They are looked at by one goroutine, which
	// never waits.
	courierBuffer = 1 << 15
	// courierPatience is how long a request waits for its answer, at most.
	courierPatience = 10 * time.Second
)

// courier sends requests of the queue and brings their answers: any number at once, without a subscription or goroutine for
// each. Everything that comes in, answers and notifications alike, is seen by one goroutine in the order in which the
// connection brought it: what a server said before an answer has been heard when the answer is there.
type courier struct {
	nc     *nats.Conn
	life   context.Context
	prefix string
	in     chan *nats.Msg
	told   func(m *nats.Msg) // a notification
	stray  func(m *nats.Msg) // what answers nothing any more
	ended  chan struct{}

	mu    sync.Mutex
	next  uint64
	under map[uint64]*exchange
	boxes map[*nats.Subscription]*inlet
	free  []*inlet
	shut  bool
}

// inlet is where tasks are handed out to, which come under their own subject: only the subscription tells what they
// answer.
type inlet struct {
	sub     *nats.Subscription
	subject string
	take    func(m *nats.Msg) // of what belongs to no exchange

	// Under the courier's lock.
	x *exchange
	i uint64
}

// exchange is requests that were sent together.
type exchange struct {
	take func(i int, m *nats.Msg) (ended bool)
	done chan struct{} // closed when it has ended

	mu    sync.Mutex // held while take runs
	over  []bool     // by request
	left  int
	err   error
	ended bool
}

// end ends an exchange, once; take does not run any more when it returns.
func (x *exchange) end(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.finish(err)
}

// finish is end for who holds the lock.
func (x *exchange) finish(err error) {
	if !x.ended {
		x.ended, x.err = true, err
		close(x.done)
	}
}

// deliver gives a message to the exchange. False: it is none of its.
func (x *exchange) deliver(i uint64, m *nats.Msg) (taken bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended || i >= uint64(len(x.over)) || x.over[i] {
		return false
	}
	if x.take(int(i), m) {
		x.over[i] = true
		if x.left--; x.left == 0 {
			x.finish(nil)
		}
	}
	return true
}

func newCourier(c *core, notifications string, told, stray func(m *nats.Msg)) (*courier, error) {
	w := &courier{
		nc: c.nc, life: c.life, prefix: c.nc.NewInbox() + ".", in: make(chan *nats.Msg, courierBuffer), told: told, stray: stray,
		ended: make(chan struct{}), under: map[uint64]*exchange{}, boxes: map[*nats.Subscription]*inlet{},
	}
	_, err := w.open(w.prefix+"*.*", w.answered)
	if err == nil {
		_, err = w.open(notifications, told)
	}
	if err != nil {
		w.unsubscribe()
		return nil, err
	}
	go w.run()
	return w, nil
}

// open makes a inlet whose messages go to take unless they belong to an exchange.
func (w *courier) open(subject string, take func(m *nats.Msg)) (*inlet, error) {
	sub, err := w.nc.ChanSubscribe(subject, w.in)
	if err != nil {
		return nil, err
	}
	b := &inlet{sub: sub, subject: subject, take: take}
	w.mu.Lock()
	w.boxes[sub] = b
	w.mu.Unlock()
	return b, nil
}

// borrow gives inlets for one exchange.
func (w *courier) borrow(n int) ([]*inlet, error) {
	w.mu.Lock()
	taken := min(n, len(w.free))
	boxes := slices.Clone(w.free[len(w.free)-taken:])
	w.free = w.free[:len(w.free)-taken]
	w.mu.Unlock()
	for len(boxes) < n {
		b, err := w.open(w.nc.NewInbox(), w.stray)
		if err != nil {
			w.giveBack(boxes, true)
			return nil, err
		}
		boxes = append(boxes, b)
	}
	return boxes, nil
}

// giveBack takes inlets back that can be used again, or drops those into which something may still come.
func (w *courier) giveBack(boxes []*inlet, clean bool) {
	w.mu.Lock()
	for _, b := range boxes {
		b.x = nil
		if clean {
			w.free = append(w.free, b)
		} else {
			delete(w.boxes, b.sub)
		}
	}
	w.mu.Unlock()
	if !clean {
		for _, b := range boxes {
			_ = b.sub.Unsubscribe() // it fails when the connection is closed, which ends it too
		}
	}
}

func (w *courier) run() {
	defer close(w.ended)
	for {
		select {
		case m := <-w.in:
			w.deliver(m)
		case <-w.life.Done():
			w.fail(errClosed)
			return
		}
	}
}

func (w *courier) deliver(m *nats.Msg) {
	w.mu.Lock()
	b := w.boxes[m.Sub]
	var x *exchange
	var i uint64
	if b != nil {
		x, i = b.x, b.i
	}
	w.mu.Unlock()
	switch {
	case b == nil:
		w.stray(m)
	case x == nil || !x.deliver(i, m):
		b.take(m)
	}
}

// answered finds the exchange to which an answer belongs by its subject.
func (w *courier) answered(m *nats.Msg) {
	kind, slot, _ := strings.Cut(strings.TrimPrefix(m.Subject, w.prefix), ".")
	id, err := strconv.ParseUint(kind, 36, 64)
	i, err2 := strconv.ParseUint(slot, 36, 32)
	if err != nil || err2 != nil {
		return
	}
	w.mu.Lock()
	x := w.under[id]
	w.mu.Unlock()
	if x != nil {
		x.deliver(i, m)
	}
}

// fail ends all exchanges: the link was lost, and with it their answers.
func (w *courier) fail(err error) {
	w.mu.Lock()
	all := w.under
	w.under = map[uint64]*exchange{}
	if err == errClosed {
		w.shut = true
	}
	w.mu.Unlock()
	for _, x := range all {
		x.end(err)
	}
}

// ask sends n requests, which send makes, and waits until each was answered. take must not block.
//
// When it fails, for a context, a lost link or because nobody answers in time, some of the requests may have been carried
// out, and what take has seen is valid.
func (w *courier) ask(ctx context.Context, n int, send func(i int) *nats.Msg, take func(i int, m *nats.Msg) bool) error {
	return w.exchange(ctx, n, nil, send, take)
}

// askForTasks is ask for requests whose answers are tasks.
func (w *courier) askForTasks(ctx context.Context, n int, send func(i int) *nats.Msg, take func(i int, m *nats.Msg) bool) error {
	boxes, err := w.borrow(n)
	if err != nil {
		return err
	}
	err = w.exchange(ctx, n, boxes, send, take)
	w.giveBack(boxes, err == nil)
	return err
}

func (w *courier) exchange(ctx context.Context, n int, boxes []*inlet, send func(i int) *nats.Msg, take func(i int, m *nats.Msg) bool) error {
	if n == 0 {
		return nil
	}
	x := &exchange{take: take, over: make([]bool, n), left: n, done: make(chan struct{})}
	w.mu.Lock()
	if w.shut {
		w.mu.Unlock()
		return errClosed
	}
	w.next++
	id := w.next
	w.under[id] = x
	for i, b := range boxes {
		b.x, b.i = x, uint64(i)
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.under, id)
		w.mu.Unlock()
	}()
	prefix := w.prefix + strconv.FormatUint(id, 36) + "."
	for i := range n {
		m := send(i)
		if boxes == nil {
			m.Reply = prefix + strconv.FormatInt(int64(i), 36)
		} else {
			m.Reply = boxes[i].subject
		}
		if err := w.nc.PublishMsg(m); err != nil {
			x.end(err)
			return err
		}
	}
	timer := time.NewTimer(courierPatience)
	defer timer.Stop()
	select {
	case <-x.done:
	case <-ctx.Done():
		x.end(ctx.Err())
	case <-timer.C:
		x.end(nats.ErrTimeout)
	}
	return x.err
}

// tell publishes without asking for an answer.
func (w *courier) tell(subject string, data []byte) { _ = w.nc.Publish(subject, data) }

func (w *courier) unsubscribe() {
	w.mu.Lock()
	boxes := slices.Collect(maps.Values(w.boxes))
	w.boxes = map[*nats.Subscription]*inlet{}
	w.mu.Unlock()
	for _, b := range boxes {
		_ = b.sub.Unsubscribe() // it fails when the connection is closed, which ends it too
	}
}

// close waits for the courier's goroutine; the transport's life has ended.
func (w *courier) close() {
	w.unsubscribe()
	<-w.ended
}
