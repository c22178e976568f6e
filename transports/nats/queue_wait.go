package nats

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// orderTime is how long a standing order stands.
	orderTime = 5 * time.Second
	// askAgain is how long a claim waits at most before it looks for itself, where it is not sure to be told of changes:
	// of queues that do not exist yet, and in a cluster of servers.
	askAgain = time.Second
)

// waitingRoom holds the claims of this node that wait. For each lane on which some wait there are as many standing
// orders with the server, each for one task. An order outlives the claim for which it was made, and serves the next one;
// with nobody there the task is handed back.
type waitingRoom struct{ mu sync.Mutex }

// waiter is one claim that waits on some lanes.
type waiter struct {
	lanes []*lane
	got   chan *nats.Msg // one task; nil: look for yourself
}

// enter has a claim wait on lanes.
func (r *waitingRoom) enter(d *queueDriver, w *waiter) {
	now := time.Now()
	var short []*lane
	r.mu.Lock()
	for _, l := range w.lanes {
		l.waiters = append(l.waiters, w)
		if l.lacksOrder(now) {
			short = append(short, l)
		}
	}
	r.mu.Unlock()
	d.order(short)
}

// lacksOrder notes an order that is to be made, if more wait than there are.
func (l *lane) lacksOrder(now time.Time) bool {
	l.orders = slices.DeleteFunc(l.orders, func(end time.Time) bool { return now.After(end.Add(time.Second)) }) // its answer was lost
	if len(l.waiters) <= len(l.orders) {
		return false
	}
	l.orders = append(l.orders, now.Add(orderTime))
	return true
}

// order makes a standing order on each of some lanes. An error means that the link is down; then all look for themselves
// when it is back.
func (d *queueDriver) order(all []*lane) {
	body := []byte(`{"batch":1,"expires":` + strconv.FormatInt(int64(orderTime), 10) + `}`)
	for _, l := range all {
		d.room.mu.Lock()
		box := l.box
		d.room.mu.Unlock()
		if box == nil {
			made, err := d.wire.open(d.wire.nc.NewInbox(), func(m *nats.Msg) { d.room.deliver(d, l, m) })
			if err != nil {
				return
			}
			d.room.mu.Lock()
			if l.box == nil {
				l.box, made = made, nil
			}
			box = l.box
			d.room.mu.Unlock()
			if made != nil { // another was quicker
				d.wire.giveBack([]*inlet{made}, false)
			}
		}
		_ = d.wire.nc.PublishMsg(&nats.Msg{
			Subject: d.api + "CONSUMER.MSG.NEXT." + d.names.stream + "." + l.consumer, Reply: box.subject, Data: body,
		})
	}
}

// leave ends a wait. A task that came at the last moment goes to who else waits for it.
func (r *waitingRoom) leave(d *queueDriver, w *waiter) {
	r.mu.Lock()
	r.remove(w)
	r.mu.Unlock()
	select {
	case m := <-w.got:
		if m != nil {
			r.pass(d, w.lanes, m)
		}
	default:
	}
}

func (r *waitingRoom) remove(w *waiter) {
	for _, l := range w.lanes {
		if i := slices.Index(l.waiters, w); i >= 0 {
			l.waiters = slices.Delete(l.waiters, i, i+1)
		}
	}
}

// pass gives a task that was meant for one of some lanes to somebody else.
func (r *waitingRoom) pass(d *queueDriver, from []*lane, m *nats.Msg) {
	place, ok := d.names.parse(m.Subject)
	if ok {
		for _, l := range from {
			if l.queue == place.queue && l.name == place.kind && r.give(l, m) {
				return
			}
		}
	}
	d.handBack(m)
}

// give hands a task to the claim that waits longest on the lane. False: there is none.
func (r *waitingRoom) give(l *lane, m *nats.Msg) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(l.waiters) == 0 {
		return false
	}
	w := l.waiters[0]
	r.remove(w)
	w.got <- m // it has room: w was in the lane's list, and is no more
	return true
}

// deliver takes the answer to a standing order on a lane.
func (r *waitingRoom) deliver(d *queueDriver, l *lane, m *nats.Msg) {
	if isTask(m) {
		l.hasMore.Store(restOf(m) > 0)
		r.mu.Lock()
		l.endOrder()
		r.mu.Unlock()
		if !r.give(l, m) {
			l.hasMore.Store(true)
			d.handBack(m)
		}
		return
	}
	status := m.Header.Get(headerStatus)
	isOver := status == "404" || status == "408"
	lacks := false
	r.mu.Lock()
	l.endOrder()
	if isOver {
		lacks = l.lacksOrder(time.Now())
	}
	r.mu.Unlock()
	switch {
	case lacks:
		d.order([]*lane{l})
	case !isOver: // the consumer is gone, or nobody leads it
		l.lose()
		for r.give(l, nil) {
		}
	}
}

// endOrder forgets the oldest order.
func (l *lane) endOrder() {
	if len(l.orders) > 0 {
		l.orders = slices.Delete(l.orders, 0, 1)
	}
}

// wakeAll forgets all orders, and has all who wait look for themselves.
func (d *queueDriver) wakeAll() {
	d.lanes.mu.Lock()
	all := slices.Collect(maps.Values(d.lanes.byName))
	d.lanes.mu.Unlock()
	for _, l := range all {
		d.room.mu.Lock()
		l.orders = nil
		d.room.mu.Unlock()
		for d.room.give(l, nil) {
		}
	}
}

// await waits for a task of some queues, whose settings were read after change was taken. It gives the task, or nothing
// when it is time to look again, or when ctx or the time is over.
func (d *queueDriver) await(ctx context.Context, queues []string, change <-chan struct{}, long time.Duration) (*nats.Msg, error) {
	all, err := d.settingsOf(ctx, queues)
	if err != nil {
		return nil, err
	}
	sure := d.alone
	for _, s := range all {
		sure = sure && s.known()
	}
	if sure {
		long = min(long, orderTime)
	} else {
		long = min(long, askAgain)
	}
	w := &waiter{lanes: d.lanesOf(queues, all), got: make(chan *nats.Msg, 1)}
	d.room.enter(d, w)
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case m := <-w.got:
		return m, nil
	case <-change:
	case <-timer.C:
	case <-ctx.Done():
	case <-d.core.life.Done():
		err = errClosed
	}
	d.room.leave(d, w)
	return nil, err
}
