package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// link is one connection of the receiver, from its dialling to its failure; it is never repaired.
//
// go-redis' PubSub does the handshake and the framing. Three things are kept from it:
//
//   - Deadlines. A read that times out in the middle of a reply leaves the rest of it in the stream, and go-redis goes
//     on reading there. So the only deadline is the bound on silence, it counts from the last byte and not from the
//     last whole reply, and what runs into it ends the link.
//   - Reconnecting. Its dialler works once; after a failure go-redis' own attempt to reconnect is refused.
//   - Push messages: the protocol is RESP2, in which a subscriber's connection has one kind of reply at a time.
type link struct {
	r      *receiver
	life   context.Context
	end    context.CancelFunc
	client *redis.Client
	pubsub *redis.PubSub
	conn   *watchedConn
	wake   chan struct{} // there may be something to write

	failing sync.Once
	err     error // why it failed; valid when life has ended
}

const firstPing = "0"

var (
	errSpent   = errors.New("a failed connection is not dialled again")
	errSilence = errors.New("the server has been silent for too long")
	errStopped = errors.New("this process was stopped, or the machine slept, for longer than the bound on silence")
)

// openLink dials and logs in, within the bound on silence.
func openLink(r *receiver) (*link, error) {
	l := &link{r: r, wake: make(chan struct{}, 1)}
	l.life, l.end = context.WithCancel(r.life)
	l.client = redis.NewClient(l.options(r.t.client.Options()))
	l.pubsub = l.client.Subscribe(l.life) // of nothing yet: this does not dial, the first ping does
	ctx, cancel := context.WithTimeout(l.life, r.silence)
	defer cancel()
	if err := l.pubsub.Ping(ctx, firstPing); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// options are those of the transport's client, for one connection.
func (l *link) options(of *redis.Options) *redis.Options {
	o := *of
	silence := l.r.silence
	o.Protocol = 2
	o.ClientSideCache, o.ClientSideCacheConfig = nil, nil
	o.PoolSize, o.MinIdleConns, o.PipelinePoolSize = 1, 0, -1
	o.MaxRetries = -1
	o.ReadTimeout, o.WriteTimeout = silence, silence
	o.ContextTimeoutEnabled = true
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		if l.conn != nil {
			return nil, errSpent
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l.conn = &watchedConn{Conn: conn, silence: silence}
		context.AfterFunc(l.life, func() { _ = conn.Close() }) // ends a login that hangs, too
		return l.conn, nil
	}
	return &o
}

// fail ends the link; the first reason counts. It does not wait.
func (l *link) fail(err error) {
	l.failing.Do(func() {
		l.err = err
		l.end()
		_ = l.conn.Close()
	})
}

// cause is why a failed link failed.
func (l *link) cause() error {
	var timeout net.Error
	if errors.As(l.err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%w (%v): %w", errSilence, l.r.silence, l.err)
	}
	return l.err
}

// close frees what the link holds, after its goroutines have ended.
func (l *link) close() {
	l.end()
	_ = l.pubsub.Close()
	_ = l.client.Close()
}

// stir has the writer look for something to write.
func (l *link) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write subscribes, unsubscribes and pings until the link fails. Pings leave whether there is traffic or not: their
// answers also show that nothing is missing between them.
func (l *link) write() {
	pings := time.NewTicker(l.r.silence / 3)
	defer pings.Stop()
	for number := 1; ; {
		var err error
		select {
		case <-l.life.Done():
			return
		case <-l.wake:
			err = l.writeChanges()
		case <-pings.C:
			text := strconv.Itoa(number)
			number++
			if err = l.r.owe(text); err == nil {
				err = l.pubsub.Ping(l.life, text)
			}
		}
		if err != nil {
			l.fail(err)
			return
		}
	}
}

func (l *link) writeChanges() error {
	for {
		c, more := l.r.next()
		if !more {
			return nil
		}
		if err := l.send(c); err != nil {
			return err
		}
	}
}

func (l *link) send(c command) error {
	switch c.verb {
	case "subscribe":
		return l.pubsub.Subscribe(l.life, c.names...)
	case "unsubscribe":
		return l.pubsub.Unsubscribe(l.life, c.names...)
	case "psubscribe":
		return l.pubsub.PSubscribe(l.life, c.names...)
	default:
		return l.pubsub.PUnsubscribe(l.life, c.names...)
	}
}

// owe notes a ping about to be written. An answer that has been owed for several bounds on silence, while other bytes
// came, will not come: only one direction of the link works.
func (r *receiver) owe(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.owed) > 0 && time.Since(r.owed[0].since) > 3*r.silence {
		return fmt.Errorf("the server answers nothing, though it sends: %w", errSilence)
	}
	r.owed = append(r.owed, answer{verb: pong, text: text, since: time.Now()})
	return nil
}

// read hands on what comes, until the link fails.
func (l *link) read() error {
	for {
		if err := l.receive(); err != nil {
			return err
		}
	}
}

// receive takes one reply. A stream of which a part was lost can be anything, and go-redis panics on some of it.
func (l *link) receive() (err error) {
	reply, err := l.next()
	var server redis.Error
	if errors.As(err, &server) {
		return l.r.refused(server)
	}
	if err == nil {
		err = l.conn.current()
	}
	if err != nil {
		return err
	}
	switch reply := reply.(type) {
	case *redis.Message:
		l.r.message(reply)
	case *redis.Subscription:
		return l.r.settled(reply.Kind, reply.Channel)
	case *redis.Pong:
		return l.r.ponged(reply.Payload)
	}
	return nil
}

func (l *link) next() (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the stream is damaged: %v", p)
		}
	}()
	return l.pubsub.ReceiveTimeout(l.life, 0) // no deadline of its own: see watchedConn
}

// watchedConn ends a read when no byte came for the bound on silence.
type watchedConn struct {
	net.Conn
	silence  time.Duration
	deadline time.Time // go-redis', for the handshake
	read     time.Time // when the last read ended; zero before the first
}

// SetReadDeadline notes what Read then keeps.
func (c *watchedConn) SetReadDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

func (c *watchedConn) Read(p []byte) (int, error) {
	if err := c.current(); err != nil {
		return 0, err
	}
	began := time.Now()
	until := began.Add(c.silence)
	if !c.deadline.IsZero() && c.deadline.Before(until) {
		until = c.deadline
	}
	if err := c.Conn.SetReadDeadline(until); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.read = time.Now()
	if stoodStill(began, c.read, c.silence) {
		return 0, errStopped
	}
	return n, err
}

// current is nil while what was read last, and what can be read now, has not waited while this process stood still. A
// link that is up is read from at least as often as a ping is answered, so a longer pause between reads is no silence.
//
// Such bytes are stale: others have taken this process for dead, and what a group's election remembers may be gone.
func (c *watchedConn) current() error {
	if !c.read.IsZero() && stoodStill(c.read, time.Now(), c.silence) {
		return errStopped
	}
	return nil
}

// stoodStill reports whether more time has passed than a read may take. The wall clock is asked too, because the monotonic
// one stops while a machine sleeps; if it was only set, the price is one reconnect.
func stoodStill(from, to time.Time, silence time.Duration) bool {
	return to.Sub(from) > 2*silence || to.Round(0).Sub(from.Round(0)) > 2*silence
}
