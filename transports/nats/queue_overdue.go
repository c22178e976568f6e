package nats

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// overdue sees to what became due while the server had no room for it. A server tries once to put such a task where it is
// to be, and, if that fails, not again before it is restarted. A node that was refused something for want of room looks for
// such tasks for a while, and puts them there itself: under a condition, as any other move, so that any number of nodes may.
type overdue struct {
	full chan struct{} // has one token from when room was wanting
}

const (
	// lookEvery is how often they are looked for, by a node that has seen the store full within the last lookFor.
	lookEvery = 5 * time.Second
	lookFor   = 2 * time.Minute
	// overdueAfter is how long the server is left to do it. An election takes up to 10 s.
	overdueAfter = 5 * time.Second
	// mostLookedAt bounds one look, of each kind.
	mostLookedAt = 10_000
)

func (o *overdue) init() { o.full = make(chan struct{}, 1) }

// note hears of each failed write.
func (o *overdue) note(err error) {
	var answer *jetstream.APIError
	if !errors.As(err, &answer) || !wantsRoom(answer) {
		return
	}
	select {
	case o.full <- struct{}{}:
	default:
	}
}

// catchUp runs until the transport's life ends.
func (d *queueDriver) catchUp() {
	for {
		select {
		case <-d.overdue.full:
		case <-d.core.life.Done():
			return
		}
		for until := time.Now().Add(lookFor); time.Now().Before(until); {
			if d.core.pause(d.core.life, lookEvery) != nil {
				return
			}
			ctx, cancel := context.WithTimeout(d.core.life, courierPatience)
			for _, state := range []string{heldLease, heldScheduled} {
				if err := d.moveOverdue(ctx, state); err != nil {
					d.core.log.Debug("queue: overdue tasks are looked for again", "error", err)
				}
			}
			cancel()
			select {
			case <-d.overdue.full:
				until = time.Now().Add(lookFor)
			default:
			}
		}
	}
}

// moveOverdue does the server's work for tasks whose lease or delay has ended.
func (d *queueDriver) moveOverdue(ctx context.Context, state string) error {
	limit := d.clock.now().Add(-overdueAfter)
	var moves []write
	looked := 0
	err := d.each(ctx, d.names.state("*", state), 0, 0, func(m kept) bool {
		if w, ok := d.overdueMove(m, limit); ok {
			moves = append(moves, w)
		}
		looked++
		return looked < mostLookedAt && len(moves) < eachBatch
	})
	if err != nil || len(moves) == 0 {
		return err
	}
	_, err = d.write(ctx, moves)
	return err
}

// overdueMove is the write that the server would have made of a held message.
func (d *queueDriver) overdueMove(m kept, limit time.Time) (w write, ok bool) {
	place, ok := d.names.parse(m.subject)
	if !ok || place.isRaw {
		return w, false
	}
	p, record, err := readTaskRecord(m.data)
	if err != nil {
		return w, false // who knows when
	}
	t, err := readTask(record, &p)
	if err != nil {
		return w, false
	}
	isLease, due := place.kind == heldLease, p.due
	switch {
	case isLease:
		due = p.ends
	case due.IsZero():
		due = t.RunAt
	}
	if due.IsZero() || due.After(limit) {
		return w, false
	}
	return write{
		subject: d.names.ready(place.queue, laneOf(t.Priority, isLease), place.id, place.n), data: m.data,
		of: d.names.heldOf(place.queue, place.id), expected: m.seq, purges: m.subject,
	}, true
}
