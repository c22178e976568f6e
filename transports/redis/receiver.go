package redis

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/gobackplane/backplane/fault"
)

// defaultSilence bounds how long a dead link can go unnoticed. A ping leaves after each third of it, so two of them have
// to stay without an answer.
const (
	defaultSilence = 5 * time.Second
	leastSilence   = 100 * time.Millisecond
)

// receiver is this node's one subscriber connection: all channels and patterns of pub/sub, and the notifications of
// cache and queue, arrive on it. It is opened by the first subscription and kept until close.
//
// It stands on go-redis' PubSub and replaces what that leaves open. There, a link that swallows packets is never
// noticed, a reconnect is invisible, Subscribe returns before the server has confirmed, and one slow consumer holds up
// all. Here:
//
//   - nothing received for the bound on silence ends the link, and so does an answer that is missing (see link.go);
//   - a subscription returns when the server has confirmed it;
//   - after a reconnect each channel is subscribed again, and its listeners are told of a gap at the moment from which
//     they receive again;
//   - listeners must not block; those that might put a queue in between (see mailbox).
//
// Two goroutines: run reads, and reconnects; the link's writer subscribes and pings. What the server is asked for is
// derived from the listeners that exist (see feed), so that a lost link or a quick change of mind needs no special care.
type receiver struct {
	t       *Transport
	silence time.Duration
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	// arrival numbers the messages received. It belongs to the reader: only a listener's deliver may read it. A message
	// is delivered to each of its listeners under one number. matches is the reader's too.
	arrival uint64
	matches []*listener

	mu       sync.Mutex
	started  bool
	closed   bool
	feeds    map[feedKey]*feed
	changed  []*feed // whose subscription may not be what the server was last asked for
	owed     []answer
	commands uint64 // numbers the commands written
	link     *link  // nil while there is none
	attempt  uint64 // connection attempts begun
	status   SubscriberStatus
}

// SubscriberStatus is the state of the one connection on which messages and notifications arrive.
type SubscriberStatus struct {
	Connected   bool
	Since       time.Time // of that state; zero before the first subscription, which opens the connection
	LinksLost   int       // connections that failed after they were up; each failure gives every subscription a Gap
	Refused     int       // subscriptions that the server refused
	Received    uint64    // messages
	Undecodable int       // messages dropped because they are no frames of this library, or of a newer version
	Err         error     // why the last connection failed, or could not be had
}

// Subscriber tells how the subscriber connection is.
func (t *Transport) Subscriber() SubscriberStatus {
	s := t.receiver.health()
	s.Undecodable = t.pubsubs.Driver.(*bus).complain.total()
	return s
}

func newReceiver(t *Transport) *receiver {
	r := &receiver{t: t, silence: defaultSilence, feeds: map[feedKey]*feed{}}
	r.life, r.end = context.WithCancel(t.life)
	return r
}

// boundSilence sets the bound on silence, before the first subscription.
func (t *Transport) boundSilence(d time.Duration) {
	t.receiver.silence = d
	t.pubsubs.Capabilities.Silence = d
}

// subscribe returns when every message published to the channel afterwards will be delivered. deliver is called on the
// reader's goroutine, one call at a time, and must not block; a call with gap set brings no payload: messages may have
// been missed, because the link was lost and is back. cancel does not wait: a call that is under way may still end after
// it.
//
// While there is no link, subscribe waits for the next attempt to connect and fails with it.
func (r *receiver) subscribe(ctx context.Context, channel string, deliver func(payload string, gap bool)) (cancel func(), err error) {
	l := &listener{deliver: func(_, payload string, gap bool) { deliver(payload, gap) }}
	return r.add(ctx, feedKey{name: channel}, l)
}

// psubscribe is subscribe for all channels that consist of the prefix and a subject that the filter matches; deliver is
// given the subject. Filters with the same literal prefix share one pattern at the server.
func (r *receiver) psubscribe(ctx context.Context, prefix, filter string, deliver func(subject, payload string, gap bool)) (cancel func(), err error) {
	return r.add(ctx, patternKey(prefix, filter), &listener{filter: filter, strip: len(prefix), deliver: deliver})
}

func (r *receiver) add(ctx context.Context, key feedKey, l *listener) (cancel func(), err error) {
	if err := fault.FromContext(ctx); err != nil {
		return nil, r.t.fault(err, "redis: subscribe", key.name) // a channel that is subscribed already is confirmed at once
	}
	l.ready = make(chan struct{})
	if err := r.register(key, l); err != nil {
		return nil, err
	}
	cancel = sync.OnceFunc(func() { r.remove(key, l) })
	select {
	case <-l.ready:
		err = l.err
	case <-ctx.Done():
		err = r.unconfirmed(ctx)
	case <-r.life.Done():
		err = errClosed
	}
	if err != nil {
		cancel()
		return nil, r.t.fault(err, "redis: subscribe", key.name)
	}
	return cancel, nil
}

// unconfirmed is the fault of a caller whose context ended first, with what it waited for.
func (r *receiver) unconfirmed(ctx context.Context) error {
	err := fault.FromContext(ctx)
	if status := r.health(); status.Err != nil && !status.Connected {
		return fault.New(fault.CodeOf(err), "the subscriber connection is being restored: %w", status.Err)
	}
	return err
}

// health is the state of the connection now.
func (r *receiver) health() SubscriberStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// close ends the connection and waits for the receiver's goroutines.
func (r *receiver) close() {
	r.mu.Lock()
	r.closed = true
	l := r.link
	r.mu.Unlock()
	r.end()
	if l != nil {
		l.fail(errClosed)
	}
	r.running.Wait()
}

// run keeps a link up until close.
func (r *receiver) run() {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 20*time.Millisecond, time.Second
	var complain complaint
	for {
		began := time.Now()
		err := r.session()
		if r.life.Err() != nil {
			return
		}
		if n := complain.due(time.Now()); n > 0 {
			r.t.log.Warn("redis: subscriber connection failed; reconnecting", "address", r.t.address, "error", err, "failures", n)
		}
		if time.Since(began) > r.silence {
			pause.Reset() // it had worked
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-r.life.Done():
			return
		}
	}
}

// session is the life of one link, from dialling to its failure.
func (r *receiver) session() error {
	r.mu.Lock()
	r.attempt++
	attempt := r.attempt
	r.mu.Unlock()
	l, err := openLink(r)
	if err != nil {
		r.failWaiting(attempt, err)
		return err
	}
	if err := r.attach(l); err != nil {
		l.close()
		return err
	}
	var writing sync.WaitGroup
	writing.Go(l.write)
	err = l.read()
	l.fail(err)
	writing.Wait()
	l.close()
	err = l.cause()
	r.detach(err)
	return err
}
