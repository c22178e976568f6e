package nats

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/pubsub"
)

// intake receives for subscriptions of a node: the client puts their messages into one channel, from which one goroutine
// hands them to the outlets. An idle subscription so costs no goroutine, and what happens to the link has a place in the
// stream: a mark that says that the link was lost is put in before the next one is made, so it stands exactly between
// what came over the one and what came over the other.
//
// When the channel is full the client drops messages and counts them for each subscription, which is told of the number
// in a gap. Where outlets never wait, reading is held up before that happens; see throttle.
type intake struct {
	core    *core
	arrived chan *nats.Msg
	done    chan struct{} // closed when the goroutine has ended

	unmarked atomic.Bool   // a lost link's mark found the channel full
	held     atomic.Bool   // reading waits for relief
	relief   chan struct{} // one token when it need not any more

	registering sync.RWMutex // held while a subscription is made, so that none of its messages comes before it is known
	mu          sync.Mutex
	outlets     map[*nats.Subscription]*outlet
	fences      map[*nats.Msg]chan struct{}
	removes     []func() // end the telling of what happens to the link
}

// outlet is where one subscription's messages go.
type outlet struct {
	from *nats.Subscription
	box  receiver

	// The goroutine's own.
	gapDue  bool // the link was lost since the last message
	dropped int  // what the client had counted when it was asked last
}

// receiver takes in what came; it does not block.
type receiver interface {
	post([]*nats.Msg)
	postGap(pubsub.Gap)
}

// Marks stand in the channel for what happens to the link.
var (
	markLost     = &nats.Msg{Subject: "the link was lost"}
	markRestored = &nats.Msg{Subject: "the link is back, with all subscriptions"}
	markStop     = &nats.Msg{Subject: "the transport is closed"}
)

const (
	arrivedSize = 64 << 10 // many times what one read of the client can bring
	largestRun  = 256      // messages taken from the channel before they are handed on
)

func newIntake(c *core, size int) *intake {
	i := &intake{
		core:    c,
		arrived: make(chan *nats.Msg, size),
		done:    make(chan struct{}),
		relief:  make(chan struct{}, 1),
		outlets: map[*nats.Subscription]*outlet{},
		fences:  map[*nats.Msg]chan struct{}{},
	}
	lost := c.losses.add(func() {
		select {
		case i.arrived <- markLost:
		default: // waiting would hold up the client
			i.unmarked.Store(true)
		}
	})
	i.removes = []func(){lost, c.watches.add(func() { i.mark(markRestored) })}
	go i.run()
	return i
}

// throttle waits while the channel is nearly full. It is called before each read of the link.
func (i *intake) throttle() {
	if len(i.arrived) < cap(i.arrived)*3/4 {
		return
	}
	i.held.Store(true)
	for len(i.arrived) > cap(i.arrived)/2 {
		select {
		case <-i.relief:
		case <-i.done:
			return
		}
	}
}

// relieve ends a throttle that waits.
func (i *intake) relieve() {
	if len(i.arrived) <= cap(i.arrived)/2 && i.held.Swap(false) {
		select {
		case i.relief <- struct{}{}:
		default:
		}
	}
}

// mark puts a mark behind what has come. It waits for room, which the goroutine makes.
func (i *intake) mark(m *nats.Msg) {
	select {
	case i.arrived <- m:
	case <-i.done:
	}
}

// listen subscribes at the server. The subscription is not confirmed yet.
func (i *intake) listen(subject, group string, box receiver) (*outlet, error) {
	i.registering.RLock()
	defer i.registering.RUnlock()
	var from *nats.Subscription
	var err error
	if group == "" {
		from, err = i.core.nc.ChanSubscribe(subject, i.arrived)
	} else {
		from, err = i.core.nc.ChanQueueSubscribe(subject, group, i.arrived)
	}
	if err != nil {
		return nil, err
	}
	o := &outlet{from: from, box: box}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.outlets[from] = o
	return o, nil
}

// unlisten ends a subscription; what is under way to it is dropped.
func (i *intake) unlisten(o *outlet) {
	_ = o.from.Unsubscribe() // fails only when the connection is closed
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.outlets, o.from)
}

// leave ends a subscription after what the server has sent to it until then has been handed on.
func (i *intake) leave(o *outlet) {
	defer i.unlisten(o)
	if i.core.nc.IsConnected() && o.from.Drain() == nil && i.core.nc.FlushTimeout(leavePatience) == nil {
		i.pass()
	}
}

// pass returns when what came until now has been handed on.
func (i *intake) pass() {
	fence, passed := &nats.Msg{}, make(chan struct{})
	i.mu.Lock()
	i.fences[fence] = passed
	i.mu.Unlock()
	i.mark(fence)
	select {
	case <-passed:
	case <-i.done:
	}
}

// close ends the goroutine. No subscription may be left.
func (i *intake) close() {
	for _, remove := range i.removes {
		remove()
	}
	i.mark(markStop)
	<-i.done
}

func (i *intake) run() {
	defer close(i.done)
	run := make([]*nats.Msg, 0, largestRun)
	for {
		run = i.take(run[:0])
		full := len(i.arrived) > cap(i.arrived)/2
		for rest := run; len(rest) > 0; {
			if rest[0] == markStop {
				return
			}
			n := sameSubscription(rest)
			i.hand(rest[:n])
			rest = rest[n:]
		}
		clear(run)
		if i.unmarked.Swap(false) {
			i.lost()
		}
		if full {
			i.countDropped()
		}
		if i.held.Load() {
			i.relieve()
		}
	}
}

// hand gives messages of one subscription, or marks, to where they go.
func (i *intake) hand(messages []*nats.Msg) {
	if messages[0].Sub == nil {
		for _, m := range messages {
			i.heed(m)
		}
		return
	}
	o := i.outletOf(messages[0].Sub)
	if o == nil {
		return
	}
	if o.gapDue {
		i.gap(o)
	}
	o.box.post(messages)
}

// take waits for a message, and takes what else is there.
func (i *intake) take(run []*nats.Msg) []*nats.Msg {
	run = append(run, <-i.arrived)
	for len(run) < largestRun {
		select {
		case m := <-i.arrived:
			run = append(run, m)
		default:
			return run
		}
	}
	return run
}

// sameSubscription counts the messages at the head that belong together. The end is a mark that stands alone.
func sameSubscription(messages []*nats.Msg) int {
	n := 1
	for n < len(messages) && messages[n].Sub == messages[0].Sub && messages[n] != markStop {
		n++
	}
	return n
}

// outletOf finds a subscription's outlet; nil when it was closed.
func (i *intake) outletOf(s *nats.Subscription) *outlet {
	if o := i.find(s); o != nil {
		return o
	}
	i.registering.Lock() // it may be about to be registered
	defer i.registering.Unlock()
	return i.find(s)
}

func (i *intake) find(s *nats.Subscription) *outlet {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.outlets[s]
}

// heed acts on a mark.
func (i *intake) heed(m *nats.Msg) {
	switch m {
	case markLost:
		i.lost()
	case markRestored:
		for _, o := range i.all() {
			if o.gapDue {
				i.gap(o)
			}
		}
	default:
		i.mu.Lock()
		defer i.mu.Unlock()
		if passed := i.fences[m]; passed != nil {
			close(passed)
			delete(i.fences, m)
		}
	}
}

// lost notes that messages may be missing from here on. The gap is told when the subscription is live again: whoever
// answers it by reading what he may have missed must not miss what comes while he reads.
func (i *intake) lost() {
	for _, o := range i.all() {
		o.gapDue = true
	}
}

func (i *intake) gap(o *outlet) {
	o.gapDue = false
	o.box.postGap(pubsub.Gap{Cause: pubsub.Reconnected, Lost: pubsub.Unknown})
}

// countDropped tells of what the client has dropped because the channel was full.
func (i *intake) countDropped() {
	for _, o := range i.all() {
		now, err := o.from.Dropped()
		if err != nil || now == o.dropped {
			continue
		}
		o.box.postGap(pubsub.Gap{Cause: pubsub.Overflow, Lost: now - o.dropped})
		o.dropped = now
	}
}

func (i *intake) all() []*outlet {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := make([]*outlet, 0, len(i.outlets))
	for _, o := range i.outlets {
		all = append(all, o)
	}
	return all
}
