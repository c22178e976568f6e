package nats

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/internal/reentry"
)

// watcher follows changes by a consumer of the stream for each watch, of what the prefix can be told to the server of.
type watcher struct{ *entries }

// watch is a running cache.Watch. Its consumer begins after the last message that was seen, so that nothing is missed when
// it is made anew: after a reconnect, when messages were dropped on the way, and when its heartbeat is not heard. All the
// same each of these tells Resync, since a deletion stays in the stream for a while only.
type watch struct {
	entries *entries
	prefix  string
	filter  string
	deliver func([]cache.Change)

	mu       sync.Mutex // held while deliver is called, which must not block
	closed   bool
	sub      *nats.Subscription
	consumer string
	next     uint64 // sequence in the stream after the last that was seen
	counted  uint64 // messages of this consumer that were seen

	heard  atomic.Int64 // when the consumer was last heard, in nanoseconds
	broken chan struct{}
	ended  context.Context
	end    context.CancelFunc
	done   chan struct{}
	off    func() // ends the listening for reconnects
}

const (
	watchHeartbeat = time.Second
	watchSilence   = 5 * watchHeartbeat
	watchRetry     = 200 * time.Millisecond
	// watchForget is when the server removes a consumer that nobody listens to.
	watchForget = 30 * time.Second
)

// Watch follows the entries under a prefix.
func (w watcher) Watch(ctx context.Context, prefix string, deliver func([]cache.Change)) (cache.Watch, error) {
	const op = "cache: watch"
	if err := w.begin(ctx, op, 0); err != nil {
		return nil, err
	}
	if err := w.limits.Watch(prefix, deliver); err != nil {
		return nil, err
	}
	s := w.store
	one := &watch{
		entries: w.entries, prefix: prefix, deliver: deliver,
		filter: string(append(appendPrefix(append([]byte(s.root), entryKind, '.'), prefix), '>')),
		broken: make(chan struct{}, 1), done: make(chan struct{}),
	}
	one.ended, one.end = context.WithCancel(s.core.life)
	last, err := s.state(ctx, s.do)
	if err == nil {
		one.next = last + 1
		err = one.follow(ctx)
	}
	if err != nil {
		one.end()
		return nil, w.failed(ctx, err, op, 1, func(int) string { return prefix })
	}
	one.off = s.core.watches.add(one.breakOff)
	w.owned.Go(one.run)
	return one, nil
}

// follow makes a consumer that begins where the last one ended.
func (w *watch) follow(ctx context.Context) error {
	c := w.entries.store.core
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, nats.ErrTimeout)
	defer cancel()
	name, inbox := nuid.Next(), c.nc.NewInbox()
	w.mu.Lock()
	from := w.next
	w.mu.Unlock()
	sub, err := c.nc.Subscribe(inbox, func(m *nats.Msg) { w.receive(name, m) })
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.sub, w.consumer, w.counted = sub, name, 0
	w.mu.Unlock()
	w.heard.Store(time.Now().UnixNano())
	_, err = c.js.CreatePushConsumer(ctx, w.entries.store.stream, jetstream.ConsumerConfig{
		Name: name, DeliverSubject: inbox, FilterSubject: w.filter,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, IdleHeartbeat: watchHeartbeat,
		InactiveThreshold: watchForget, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		w.leave()
		if cause := context.Cause(ctx); cause == nats.ErrTimeout {
			err = cause
		}
	}
	return err
}

// leave gives the consumer up; the server removes it by itself.
func (w *watch) leave() {
	w.mu.Lock()
	sub := w.sub
	w.sub, w.consumer = nil, ""
	w.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe()
	}
}

// receive takes a message of a consumer, on the subscription's goroutine.
func (w *watch) receive(consumer string, m *nats.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || consumer != w.consumer {
		return
	}
	w.heard.Store(time.Now().UnixNano())
	if header(m, "Status") != "" {
		// A heartbeat tells the number of the last message: if it is not the last that came, some were dropped.
		if last := header(m, lastConsumerHeader); last != "" && last != formatSequence(w.counted) {
			w.breakOff()
		}
		return
	}
	meta, err := m.Metadata()
	if err != nil {
		return
	}
	if meta.Sequence.Consumer != w.counted+1 {
		w.breakOff()
		return
	}
	w.counted, w.next = meta.Sequence.Consumer, meta.Sequence.Stream+1
	if key, ok := w.entries.store.key(entryKind, m.Subject); ok && strings.HasPrefix(key, w.prefix) {
		w.tell(cache.Change{Key: key, Deleted: header(m, sizeHeader) == "0"})
	}
}

// tell delivers one change. w.mu is held.
func (w *watch) tell(c cache.Change) {
	if !w.closed {
		w.deliver([]cache.Change{c})
	}
}

// breakOff has the consumer made anew. It does not block.
func (w *watch) breakOff() {
	select {
	case w.broken <- struct{}{}:
	default:
	}
}

// run makes the consumer anew whenever it is of no use any more, until the watch is closed.
func (w *watch) run() {
	defer close(w.done)
	defer w.leave()
	tick := time.NewTicker(watchHeartbeat)
	defer tick.Stop()
	for {
		select {
		case <-w.ended.Done():
			return
		case <-w.broken:
		case <-tick.C:
			if time.Since(time.Unix(0, w.heard.Load())) < watchSilence {
				continue
			}
		}
		w.leave()
		w.mu.Lock()
		w.tell(cache.Change{Resync: true})
		w.mu.Unlock()
		for w.follow(w.ended) != nil {
			if w.entries.store.core.pause(w.ended, watchRetry) != nil {
				return
			}
		}
	}
}

// Close ends the watch, and waits for the call of deliver that may be running.
func (w *watch) Close() error {
	w.off()
	w.end()
	if w.within() {
		w.closed = true // w.mu is held, by this goroutine
		return nil
	}
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	<-w.done
	return nil
}

// within says whether Close is called by deliver, which holds w.mu and is not waited for.
func (w *watch) within() bool {
	if w.mu.TryLock() {
		w.mu.Unlock()
		return false
	}
	return reentry.Within("nats.(*watch).tell")
}
