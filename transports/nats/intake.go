package nats

import (
	"slices"
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

	unmarked atomic.Bool   // a mark of the link found the channel full
	held     atomic.Bool   // reading waits for relief
	relief   chan struct{} // one token when it need not any more

	registering sync.RWMutex // held while a subscription is made, so that none of its messages comes before it is known
	mu          sync.Mutex
	outlets     map[*nats.Subscription]*outlet
	shared      map[string]*outlet // those without a group, by subject
	changes     atomic.Uint64      // of the outlets and their boxes
	fences      map[*nats.Msg]chan struct{}
	removes     []func() // end the telling of what happens to the link

	last sought // the goroutine's own
}

// outlet is one subscription at the server, and where its messages go. All subscriptions of a node to the same subject,
// without a group, share one: the server sends each message once.
type outlet struct {
	from    *nats.Subscription
	subject string
	group   bool
	boxes   []receiver // guarded by intake.mu; replaced, never changed

	// The goroutine's own.
	gapDue  bool // the link was lost since the last message
	dropped int  // what the client had counted when it was asked last
}

// receiver takes in what came; it does not block. Messages that are shared are read by others too.
type receiver interface {
	post(messages []*nats.Msg, shared bool)
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
		shared:  map[string]*outlet{},
		fences:  map[*nats.Msg]chan struct{}{},
	}
	for what, mark := range map[*observers]*nats.Msg{c.losses: markLost, &c.watches: markRestored} {
		i.removes = append(i.removes, what.add(func() {
			select {
			case i.arrived <- mark:
			default: // waiting would hold up the client
				i.unmarked.Store(true)
			}
		}))
	}
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

// listen has messages go to a box. The subscription is not confirmed yet.
func (i *intake) listen(subject, group string, box receiver) (*outlet, error) {
	i.registering.RLock()
	defer i.registering.RUnlock()
	if group == "" {
		if o := i.join(subject, box); o != nil {
			return o, nil
		}
	}
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
	o := &outlet{from: from, subject: subject, group: group != "", boxes: []receiver{box}}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.outlets[from] = o
	if !o.group {
		i.shared[subject] = o // should two have come at once, the other is found by nobody new
	}
	i.changes.Add(1)
	return o, nil
}

// join adds a box to what listens already, if something does.
func (i *intake) join(subject string, box receiver) *outlet {
	i.mu.Lock()
	defer i.mu.Unlock()
	o := i.shared[subject]
	if o != nil {
		o.boxes = append(slices.Clone(o.boxes), box)
		i.changes.Add(1)
	}
	return o
}

// unlisten takes a box off; what is under way to it is dropped.
func (i *intake) unlisten(o *outlet, box receiver) {
	if i.part(o, box) {
		_ = o.from.Unsubscribe() // fails only when the connection is closed
	}
}

// part is true for the last box.
func (i *intake) part(o *outlet, box receiver) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.changes.Add(1)
	o.boxes = slices.DeleteFunc(slices.Clone(o.boxes), func(other receiver) bool { return other == box })
	if len(o.boxes) > 0 {
		return false
	}
	delete(i.outlets, o.from)
	if i.shared[o.subject] == o {
		delete(i.shared, o.subject)
	}
	return true
}

// leave ends a group's subscription after what the server has sent to it until then has been handed on.
func (i *intake) leave(o *outlet, box receiver) {
	defer i.unlisten(o, box)
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
		if i.unmarked.Swap(false) { // lost or back: a gap too many does no harm
			i.lost()
			i.heed(markRestored)
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
	from := messages[0].Sub
	if from == nil {
		for _, m := range messages {
			i.heed(m)
		}
		return
	}
	if i.last.from != from || i.last.change != i.changes.Load() {
		i.find(from)
	}
	o, boxes := i.last.outlet, i.last.boxes
	if o == nil {
		return
	}
	if o.gapDue {
		i.gap(o)
	}
	for _, box := range boxes {
		box.post(messages, len(boxes) > 1)
	}
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

// find looks a subscription's outlet up; nil when it was closed.
func (i *intake) find(from *nats.Subscription) {
	if i.look(from); i.last.outlet == nil {
		i.registering.Lock() // it may be about to be registered
		defer i.registering.Unlock()
		i.look(from)
	}
}

func (i *intake) look(from *nats.Subscription) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last = sought{from: from, outlet: i.outlets[from], change: i.changes.Load()}
	if i.last.outlet != nil {
		i.last.boxes = i.last.outlet.boxes
	}
}

// sought is what the goroutine has looked up last.
type sought struct {
	from   *nats.Subscription
	outlet *outlet
	boxes  []receiver
	change uint64
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
	i.tell(o, pubsub.Gap{Cause: pubsub.Reconnected, Lost: pubsub.Unknown})
}

func (i *intake) tell(o *outlet, g pubsub.Gap) {
	i.mu.Lock()
	boxes := o.boxes
	i.mu.Unlock()
	for _, box := range boxes {
		box.postGap(g)
	}
}

// countDropped tells of what the client has dropped because the channel was full.
func (i *intake) countDropped() {
	for _, o := range i.all() {
		now, err := o.from.Dropped()
		if err != nil || now == o.dropped {
			continue
		}
		i.tell(o, pubsub.Gap{Cause: pubsub.Overflow, Lost: now - o.dropped})
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
