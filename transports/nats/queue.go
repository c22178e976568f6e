package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

const (
	// handOver is how long the server waits for a claim to take what it was handed, before it hands it to another.
	handOver = 5 * time.Second
	// graveTime is how long a task that is done or removed has a tombstone, so that what was under way for it is known for
	// a leftover. It must be longer than handOver.
	graveTime = 20 * time.Second
	// answerMemory is how long the answer to a sender's last batch is kept: the contract says 10 minutes.
	answerMemory = 15 * time.Minute
	// repeatWindow is how long a repeated count is known for a repeat.
	repeatWindow = 2 * time.Minute

	// frameSize is what a message needs beside the payload: names, times, headers of JetStream, the last error.
	frameSize = 24 << 10
)

// queueCapabilities say what the queue promises on a server that takes messages of so many bytes. A completed task's
// message holds its payload and its result.
func queueCapabilities(maxMessage int64, persistent bool) queue.Capabilities {
	return queue.Capabilities{
		MaxPayload:  int(maxMessage-frameSize) / 2,
		MaxBatch:    1000,
		MaxClaim:    256,
		MaxName:     256,
		MinLease:    250 * time.Millisecond,
		Granularity: 250 * time.Millisecond, // the server looks for what is due so often
		Lateness:    500 * time.Millisecond,
		IDMemory:    5 * time.Minute,
		MaxPriority: maxPriority,
		Persistent:  persistent,
	}
}

// queueDriver is the task queue over JetStream; see queueSubjects for what is kept where, and for how a task moves.
type queueDriver struct {
	core   *core
	names  queueSubjects
	api    string // prefix of the JetStream API's subjects
	direct bool   // one replica: reads need not go through the leader, there is no other
	alone  bool   // one server: notifications overtake nothing, so what is remembered of a queue is as good as asked
	caps   queue.Capabilities
	check  limits.Queue

	wire     *courier
	clock    serverClock
	nonces   nonces
	settings settings
	room     waitingRoom
	lanes    lanes
	moved    moved
	senders  senders
	recent   recent
	batches  chan struct{} // a place for each atomic batch under way
	bound    *bound
	overdue  overdue

	unwatch func()
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// newQueue makes the task queue over JetStream, or nothing where there is no JetStream.
func newQueue(ctx context.Context, c *core) (*queue.Backend, closer, error) {
	// Where no bound is given the client takes one of 5 s, which a busy cluster needs to place two streams.
	ctx, cancel := context.WithTimeout(ctx, streamWithin)
	defer cancel()
	d := &queueDriver{core: c, names: queueSubjectsOf(c.ns), api: apiPrefix(c.js), direct: c.replicas <= 1}
	d.alone = d.direct && c.nc.ConnectedClusterName() == ""
	if err := d.makeStreams(ctx); err != nil {
		if isWithoutJetStream(err) {
			return nil, nil, nil
		}
		return nil, nil, c.fault(err, "nats: open the queue", d.names.stream)
	}
	d.caps = queueCapabilities(c.nc.MaxPayload(), c.storage == jetstream.FileStorage)
	if d.caps.MaxPayload < 64<<10 {
		return nil, nil, c.fault(fault.New(fault.Invalid, "its max_payload is %d bytes, the queue needs at least %d; raise it",
			c.nc.MaxPayload(), 2*64<<10+frameSize), "nats: open the queue", d.names.stream)
	}
	d.check = limits.Queue{Transport: Kind, Capabilities: d.caps}
	d.nonces = newNonces()
	d.batches = make(chan struct{}, mostBatches)
	d.bound = newBound(c.queueMost)
	d.overdue.init()
	d.settings.init()
	d.moved.init()
	d.senders.init()
	d.lanes.init()
	var err error
	if d.wire, err = newCourier(c, d.names.notify+".>", d.told, d.handBack); err != nil {
		return nil, nil, c.fault(err, "nats: open the queue", d.names.stream)
	}
	if err := c.insist(ctx, func(ctx context.Context) error { return d.clock.ask(ctx, d) }); err != nil {
		d.wire.unsubscribe()
		return nil, nil, c.fault(err, "nats: open the queue", d.names.stream)
	}
	d.unwatch = c.watches.add(d.reconnected)
	d.start(d.keepTime)
	d.start(d.catchUp)
	return &queue.Backend{Driver: d, Admin: &queueAdmin{d}, Capabilities: d.caps}, d, nil
}

func isWithoutJetStream(err error) bool {
	return errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) ||
		errors.Is(err, nats.ErrNoResponders)
}

// apiPrefix is where the API's subjects begin: with a domain it is another place.
func apiPrefix(js jetstream.JetStream) string {
	o := js.Options()
	switch {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix != "":
		if o.APIPrefix[len(o.APIPrefix)-1] == '.' {
			return o.APIPrefix
		}
		return o.APIPrefix + "."
	}
	return jetstream.DefaultAPIPrefix
}

func (d *queueDriver) makeStreams(ctx context.Context) error {
	replicas := max(1, d.core.replicas)
	for _, cfg := range []jetstream.StreamConfig{{
		Name: d.names.stream, Subjects: []string{d.names.root + ".>"}, Description: "tasks of Backplane",
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardOld, Storage: d.core.storage, Replicas: replicas,
		AllowDirect: true, AllowRollup: true, AllowMsgTTL: true, AllowMsgSchedules: true, AllowAtomicPublish: true,
	}, {
		Name: d.names.counts, Subjects: []string{d.names.totals + ".>"}, Description: "counters of Backplane's tasks",
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: d.core.storage, Replicas: replicas,
		MaxMsgsPerSubject: 1, AllowDirect: true, AllowMsgCounter: true, Duplicates: repeatWindow,
	}} {
		var without error
		if err := cmp.Or(d.core.insist(ctx, func(ctx context.Context) error {
			stream, err := d.core.js.CreateStream(ctx, cfg)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // it is an older node's, or the operator has changed it
				stream, err = d.core.js.Stream(ctx, cfg.Name)
			}
			if err == nil {
				return checkLimits(stream.CachedInfo().Config)
			}
			if isWithoutJetStream(err) { // which will not change
				without, err = err, nil
			}
			return err
		}), without); err != nil {
			return fmt.Errorf("stream %s: %w", cfg.Name, err)
		}
	}
	return nil
}

// start runs f on a goroutine that close waits for. After close it does not.
func (d *queueDriver) start(f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.running.Go(f)
	return true
}

// close ends what runs on the queue's own goroutines, and waits for it. The transport's life has ended already.
func (d *queueDriver) close() {
	d.unwatch()
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.wire.close()
	d.running.Wait()
}

// reconnected forgets what may have been missed or lost while the link was down.
func (d *queueDriver) reconnected() {
	d.wire.fail(nats.ErrDisconnected)
	d.settings.expireAll()
	d.wakeAll()
	d.start(func() {
		ctx, cancel := context.WithTimeout(d.core.life, courierPatience)
		defer cancel()
		gone := d.recent.all() // the words that these were taken may have been lost
		if err := d.remove(ctx, gone...); err != nil {
			d.recent.add(gone...)
			d.core.log.Debug("queue: what was claimed just before the link was lost was not cleared away", "error", err)
		}
		_ = d.clock.ask(ctx, d) // the old reckoning is good enough
	})
}

// told hears that a queue's settings have changed.
func (d *queueDriver) told(m *nats.Msg) { d.settings.expire(m.Subject[len(d.names.notify)+1:]) }

// handBack lets the server hand a ready task to another claim at once. What is none is nothing to anybody.
func (d *queueDriver) handBack(m *nats.Msg) {
	if isTask(m) {
		d.wire.tell(m.Reply, []byte("-NAK"))
	}
}

// begin refuses a call as a whole.
func (d *queueDriver) begin(ctx context.Context, op, subject string) error {
	if d.core.life.Err() != nil {
		return d.core.fault(errClosed, op, subject)
	}
	if err := fault.FromContext(ctx); err != nil {
		return d.core.fault(err, op, subject)
	}
	return nil
}

// nonces are tokens that no other message has: a few characters for the node, and a number.
type nonces struct {
	node string
	last *atomic.Uint64
}

func newNonces() nonces { return nonces{node: nuidToken(), last: new(atomic.Uint64)} }

func (n nonces) next() string { return n.node + "-" + strconv.FormatUint(n.last.Add(1), 36) }
