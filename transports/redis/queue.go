package redis

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

// What the queue promises. The scripts unpack one batch onto Lua's stack, which holds about 7,000 values: a batch of
// 1,000 tasks takes 2,000.
var queueCapabilities = queue.Capabilities{
	MaxPayload:  16 << 20,
	MaxBatch:    1000,
	MaxClaim:    1000,
	MaxName:     512,
	MinLease:    100 * time.Millisecond,
	Granularity: time.Millisecond,
	Lateness:    time.Second,
	IDMemory:    5 * time.Minute,
	MaxPriority: 9,
	Persistent:  true,
}

// queueDriver is the task queue in Redis. What must be atomic is one script each; see lua/queue_*.lua, and queue_keys.go
// for what they keep where.
//
// Claims, settlements and collected enqueues have lanes of their own: in one lane with all the rest each would wait for
// the other's answer, and server and client would work by turns instead of at once.
type queueDriver struct {
	t        *Transport
	check    limits.Queue
	prefix   []string // KEYS of every script: the partition's prefix
	claims   *lane
	settles  *lane
	enqueues *lane
	enqueuer *enqueuer
	waiting  *waitingRoom
}

func newQueue(t *Transport) (*queue.Backend, closer) {
	d := &queueDriver{
		t:      t,
		check:  limits.Queue{Transport: Kind, Capabilities: queueCapabilities},
		prefix: []string{partition(t.ns)},
		claims: newLane(t.client), settles: newLane(t.client), enqueues: newLaneApart(t.client),
	}
	d.enqueuer = newEnqueuer(d)
	d.waiting = newWaitingRoom(t, d.prefix[0])
	return &queue.Backend{Driver: d, Admin: &queueAdmin{d}, Capabilities: queueCapabilities}, d
}

// close ends what runs on the queue's own goroutines, and waits for it: for a server that is silent, as long as the
// lanes do. The transport's life has ended already.
func (d *queueDriver) close() {
	d.claims.shut()
	d.waiting.close()
	over := make(chan struct{})
	go func() {
		d.waiting.running.Wait() // claims that nobody waits for give their tasks back
		d.enqueuer.close()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(closeWait):
		d.t.log.Warn("queue: calls are still under way after Close; they end with the client's timeouts")
	}
	d.settles.shut()
	d.enqueues.shut()
	d.claims.wait()
	d.settles.wait()
	d.enqueues.wait()
}

// run sends the call of a script and gives its reply, a list.
func (d *queueDriver) run(ctx context.Context, l *lane, op, subject string, cmd *redis.Cmd) ([]any, error) {
	if err := d.do(ctx, l, cmd); err != nil {
		return nil, d.t.fault(err, op, subject)
	}
	reply, err := cmd.Slice()
	if err != nil {
		return nil, d.t.fault(err, op, subject)
	}
	return reply, nil
}

// do sends commands. What fails because the transport is closing is Closed.
func (d *queueDriver) do(ctx context.Context, l *lane, cmds ...redis.Cmder) error {
	err := l.do(ctx, cmds...)
	if err != nil && d.t.life.Err() != nil {
		return errClosed
	}
	return err
}

// runPlain sends plain commands in one pipeline.
func (d *queueDriver) runPlain(ctx context.Context, op, subject string, cmds ...redis.Cmder) error {
	if err := d.do(ctx, d.t.lane, cmds...); err != nil {
		return d.t.fault(err, op, subject)
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && err != redis.Nil {
			return d.t.fault(err, op, subject)
		}
	}
	return nil
}

// key is a key of one queue.
func (d *queueDriver) key(kind, name string) string { return d.prefix[0] + kind + ":" + name }

// text and number read a reply's elements.
func text(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) int64 {
	n, _ := v.(int64)
	return n
}
