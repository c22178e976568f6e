package nats

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
)

// lane is one end of one priority of a queue, and the consumer that hands its tasks out.
type lane struct {
	queue    string // token
	name     string
	consumer string

	hasMore atomic.Bool  // as far as is known; true when nothing is
	made    atomic.Bool  // the consumer
	missing atomic.Int64 // since when the consumer has not answered, in ns since 1970; 0: it does

	// Of the waiting room, under its lock.
	waiters []*waiter
	orders  []time.Time // standing orders, by when they end
	box     *inlet      // where their answers go; nil until the first
}

// lanes are those that this node has met.
type lanes struct {
	mu     sync.Mutex
	byName map[string]*lane // by consumer
}

func (l *lanes) init() { l.byName = map[string]*lane{} }

func (l *lanes) get(names *queueSubjects, q, name string) *lane {
	consumer := names.consumer(q, name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.byName[consumer]; have != nil {
		return have
	}
	made := &lane{queue: q, name: name, consumer: consumer}
	made.hasMore.Store(true)
	l.byName[consumer] = made
	return made
}

// lanesOf are the lanes of queues that give tasks, in the order in which they are to be emptied.
func (d *queueDriver) lanesOf(queues []string, all []setting) []*lane {
	found := make([]*lane, 0, 2*len(queues))
	for i, q := range queues {
		found = d.appendLanes(found, q, all[i])
	}
	return found
}

func (d *queueDriver) appendLanes(found []*lane, q string, s setting) []*lane {
	if !s.known() || s.Paused {
		return found
	}
	for priority := maxPriority; priority >= 0; priority-- {
		if s.has(priority) {
			found = append(found, d.lanes.get(&d.names, q, laneOf(priority, true)), d.lanes.get(&d.names, q, laneOf(priority, false)))
		}
	}
	return found
}

// mostWaiting is how many standing orders a consumer takes: those of all nodes.
const mostWaiting = 10_000

// make has the lane's consumer on the server. errNoConsumer: it has no leader now.
func (d *queueDriver) make(ctx context.Context, l *lane) error {
	if l.made.Load() {
		return nil
	}
	making, cancel := context.WithTimeout(ctx, makePatience)
	defer cancel()
	_, err := d.core.js.CreateOrUpdateConsumer(making, d.names.stream, jetstream.ConsumerConfig{
		Durable: l.consumer, FilterSubject: d.names.lane(l.queue, l.name), AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: handOver, MaxAckPending: -1, MaxDeliver: -1, MaxWaiting: mostWaiting,
	})
	if err == nil {
		l.made.Store(true)
		return nil
	}
	if ctx.Err() == nil && making.Err() != nil || fault.CodeOf(d.core.fault(err, "", "")) == fault.Unavailable && d.wire.nc.IsConnected() {
		l.lose()
		return errNoConsumer
	}
	return err
}

// isTask tells a task that was handed out from what a server says about a request for some.
func isTask(m *nats.Msg) bool {
	return strings.HasPrefix(m.Reply, "$JS.ACK.") && (m.Header == nil || m.Header.Get(headerStatus) == "")
}

// restOf is how many more tasks the lane had when it handed this one out.
func restOf(m *nats.Msg) int { return int(handedOut(m, 3)) }

// sequenceOf is the place in the stream of a message that was handed out.
func sequenceOf(m *nats.Msg) uint64 { return handedOut(m, 0) }

// handedOut reads a number of what the server says of a message that it hands out, counted from its sequence:
// $JS.ACK.<domain>.<account>.<stream>.<consumer>.<deliveries>.<sequence>.<its own>.<time>.<pending>, where domain and
// account may be left out and something may follow.
func handedOut(m *nats.Msg, field int) uint64 {
	parts := strings.Split(m.Reply, ".")
	at := 5
	if len(parts) > 9 {
		at = 7
	}
	if at+field >= len(parts) {
		return 0
	}
	n, _ := strconv.ParseUint(parts[at+field], 10, 64)
	return n
}

var errNoConsumer = errors.New("the consumer is not there")

const (
	// pullTries is how often a consumer that is not there is asked again: on several servers it takes a moment until it
	// has a leader.
	pullTries = 12
	// makePatience is how long making a consumer may take: one without a leader does not answer.
	makePatience = time.Second
	// consumerPatience is how long a lane may be without its consumer, which an election takes, before that is an error.
	// Until then it gives nothing.
	consumerPatience = 20 * time.Second
)

// pull takes up to n tasks of each lane, without waiting. For an error it hands back what came.
func (d *queueDriver) pull(ctx context.Context, from []*lane, n int) ([][]*nats.Msg, error) {
	got := make([][]*nats.Msg, len(from))
	open := make([]int, len(from))
	for i := range from {
		open[i] = i
	}
	for try := 1; ; try++ {
		var there []int
		for _, i := range open {
			if err := d.make(ctx, from[i]); err == nil {
				there = append(there, i)
			} else if !errors.Is(err, errNoConsumer) {
				d.handBackSome(got)
				return nil, err
			}
		}
		asked := make([]*lane, len(there))
		for k, i := range there {
			asked[k] = from[i]
		}
		some, missing, err := d.tryPull(ctx, asked, n)
		for k, i := range there {
			got[i] = append(got[i], some[k]...)
		}
		if err != nil {
			d.handBackSome(got)
			return nil, err
		}
		if len(missing) == 0 && len(there) == len(open) {
			return got, nil
		}
		if open = missing; try == pullTries || len(there) == 0 {
			return got, d.allMissing(from)
		}
		for k := range open {
			open[k] = there[open[k]]
		}
		if err := rest(ctx, time.Duration(try)*4*time.Millisecond); err != nil {
			d.handBackSome(got)
			return nil, err
		}
	}
}

func (d *queueDriver) handBackSome(got [][]*nats.Msg) {
	for _, messages := range got {
		for _, m := range messages {
			d.handBack(m)
		}
	}
}

// allMissing is an error when a lane has been without its consumer for too long.
func (d *queueDriver) allMissing(from []*lane) error {
	for _, l := range from {
		if since := l.missing.Load(); since > 0 && time.Since(time.Unix(0, since)) > consumerPatience {
			return fault.New(fault.Unavailable, "the consumer %s of stream %s has had no leader for %v; see that enough servers run",
				l.consumer, d.names.stream, time.Since(time.Unix(0, since)).Round(time.Second))
		}
	}
	return nil
}

// tryPull asks once. missing are the lanes, by their index, whose consumer did not answer.
func (d *queueDriver) tryPull(ctx context.Context, from []*lane, n int) (got [][]*nats.Msg, missing []int, err error) {
	got = make([][]*nats.Msg, len(from))
	body := []byte(`{"no_wait":true,"batch":` + strconv.Itoa(n) + `}`)
	err = d.wire.askForTasks(ctx, len(from), func(i int) *nats.Msg {
		return &nats.Msg{Subject: d.api + "CONSUMER.MSG.NEXT." + d.names.stream + "." + from[i].consumer, Data: body}
	}, func(i int, m *nats.Msg) bool {
		l := from[i]
		if isTask(m) {
			l.missing.Store(0)
			got[i] = append(got[i], m)
			if len(got[i]) == n {
				l.hasMore.Store(true)
			}
			return len(got[i]) == n
		}
		l.hasMore.Store(false)
		switch m.Header.Get(headerStatus) {
		case "404", "408":
			l.missing.Store(0)
		default: // 503: nobody answers; 409: it was deleted, or has lost its leader
			missing = append(missing, i)
			l.lose()
		}
		return true
	})
	return got, missing, err
}

// lose notes that the lane's consumer is not there.
func (l *lane) lose() {
	l.made.Store(false)
	l.missing.CompareAndSwap(0, time.Now().UnixNano())
}

// handBackAll hands tasks back, and waits until the server has them.
func (d *queueDriver) handBackAll(ctx context.Context, all []*nats.Msg) {
	err := d.wire.ask(ctx, len(all), func(i int) *nats.Msg {
		return &nats.Msg{Subject: all[i].Reply, Data: []byte("-NAK")}
	}, func(int, *nats.Msg) bool { return true })
	if err != nil {
		d.core.log.Debug("queue: tasks that were not claimed are handed out again after a while", "tasks", len(all), "error", err)
	}
}
