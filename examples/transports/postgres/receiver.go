package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// receiver keeps this node's one connection for notifications, from the first channel that is asked for until close. When
// the connection is lost it makes another, listens to all channels again, and tells the consumers that there is a gap.
//
// A channel that was listened to once is listened to for good: there are few (see channels), what comes on one that nobody
// cares for any more costs little, and so a subscription that comes and goes costs one round trip and not two.
type receiver struct {
	t        *Transport
	config   *pgx.ConnConfig
	silence  time.Duration
	channels channels

	complaints sparing

	mu        sync.Mutex
	consumers map[string]consumer // by channel: all that were ever asked for
	requests  []*request          // to go with the next statement
	link      *link               // nil while there is none
	attempt   uint64
	running   bool
	over      bool
	done      chan struct{}
}

// consumer takes what comes on its channels, in order, on the goroutine that reads. Its methods must not block.
type consumer interface {
	// note is one notification.
	note(channel, payload string)
	// gap tells that some may be missing here.
	gap()
}

// request is somebody's wish that channels are listened to.
type request struct {
	channels []string
	live     func() // called in order with the notifications when they are; may be nil
	attempt  uint64 // of the connection, when it was made
	settled  bool
	done     chan error // 1
}

// channels are the names of those that a namespace uses. A subject has one of buckets, chosen by its hash, so that a
// literal subscription hears its bucket, and not everything; one with a wildcard listens to all of them. The library's own
// subjects, which begin with "$", have buckets apart: they are what RPC runs on, and no business of other wildcards.
type channels struct {
	wake     string
	plain    [buckets]string
	reserved [buckets]string
}

const buckets = 32

// channelsOf hashes the names, because a channel's has 63 bytes at most and belongs to the whole database.
func channelsOf(schema, namespace string) (c channels) {
	sum := sha256.Sum256([]byte(schema + "\x00" + namespace))
	prefix := "bp_" + hex.EncodeToString(sum[:12])
	c.wake = prefix + "_wake"
	for i := range buckets {
		c.plain[i] = fmt.Sprintf("%s_%d", prefix, i)
		c.reserved[i] = fmt.Sprintf("%s_r%d", prefix, i)
	}
	return c
}

func newReceiver(t *Transport, config *pgx.ConnConfig, silence time.Duration, c channels) *receiver {
	return &receiver{t: t, config: config, silence: silence, channels: c, consumers: map[string]consumer{}, done: make(chan struct{})}
}

// listen returns when everything that is published from now on comes to the consumer. live is called on the way, at the
// place in the stream of notifications where that begins: what was published before listen was called comes before it.
func (r *receiver) listen(ctx context.Context, names []string, c consumer, live func()) error {
	q := &request{channels: names, live: live, done: make(chan error, 1)}
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return errClosed
	}
	for _, name := range names {
		r.consumers[name] = c
	}
	q.attempt = r.attempt
	r.requests = append(r.requests, q)
	if !r.running {
		r.running = true
		go r.run()
	}
	if r.link != nil {
		r.link.stir()
	}
	r.mu.Unlock()
	select {
	case err := <-q.done:
		return err
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.settled {
		return <-q.done
	}
	q.settled = true
	return ctx.Err()
}

// settle answers a request, unless it was given up. r.mu is held.
func (q *request) settle(err error) {
	if q.settled {
		return
	}
	q.settled = true
	if err == nil && q.live != nil {
		q.live()
	}
	q.done <- err
}

// run connects again and again until the transport closes.
func (r *receiver) run() {
	defer close(r.done)
	const shortest, longest = 20 * time.Millisecond, time.Second
	pause, lost := shortest, false
	for r.t.life.Err() == nil {
		r.mu.Lock()
		r.attempt++
		attempt := r.attempt
		r.mu.Unlock()
		l, err := openLink(r)
		if err == nil {
			err = l.serve(lost, func() { pause = shortest })
			r.detach()
		}
		if r.t.life.Err() != nil {
			break
		}
		err = notTheCallers(err)
		if before, due := r.complaints.due(); due {
			r.t.log.Warn("postgres: no connection for notifications; making another", "address", r.t.address, "error", err, "more", before)
		}
		r.failWaiting(attempt, err)
		lost = lost || l != nil
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-r.t.life.Done():
			timer.Stop()
		}
		pause = min(2*pause, longest)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for _, q := range r.requests {
		q.settle(errClosed)
	}
	r.requests = nil
}

// failWaiting answers those who were there before an attempt to connect began, and it failed.
func (r *receiver) failWaiting(attempt uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var left []*request
	for _, q := range r.requests {
		if q.attempt < attempt {
			q.settle(err)
		} else {
			left = append(left, q)
		}
	}
	r.requests = left
}

func (r *receiver) detach() {
	r.mu.Lock()
	defer r.mu.Unlock()
	// What was asked of the link and not answered is asked of the next.
	r.requests = append(r.link.asked, r.requests...)
	r.link = nil
}

// gaps tells every consumer once.
func (r *receiver) gaps() {
	r.mu.Lock()
	told := map[consumer]bool{}
	for _, c := range r.consumers {
		told[c] = true
	}
	r.mu.Unlock()
	for c := range told {
		c.gap()
	}
}

// close ends the connection and waits. The transport's life has ended.
func (r *receiver) close() {
	r.mu.Lock()
	running := r.running
	r.over = true
	if r.link != nil {
		r.link.fail(errClosed)
	}
	r.mu.Unlock()
	if running {
		<-r.done
	}
}
