package memory

import (
	"context"
	"fmt"

	"github.com/gobackplane/backplane/queue"
)

// Claim waits on the bell of its queues, and on the earliest time at which something is due in them.
func (d *queueDriver) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	const op = "queue: claim"
	if err := d.node.ready(ctx, op, c.Worker); err != nil {
		return queue.Claimed{}, err
	}
	if err := d.check.Claim(c); err != nil {
		return queue.Claimed{}, err
	}
	c.Max = min(c.Max, queueCapabilities.MaxClaim)
	s := d.tasks
	var leased []queue.Leased
	err := d.node.await(ctx, wait{
		op: op, subject: c.Worker, names: c.Queues, longest: c.Wait,
		clock: s.clock, mu: &s.mu, waiters: s.waiters,
		look: func(now instant) (bool, instant) {
			leased = s.claim(c, now)
			return len(leased) > 0, s.due(c.Queues)
		},
	})
	if err != nil && ctx.Err() == nil {
		return queue.Claimed{}, err
	}
	for i := range leased {
		leased[i].Task = detached(leased[i].Task) // outside the lock: what is stored is never changed
	}
	return queue.Claimed{Tasks: leased}, nil
}

// claim leases what can be had now.
func (s *tasks) claim(c queue.Claim, now instant) []queue.Leased {
	for _, name := range c.Queues {
		if l := s.lines[name]; l != nil {
			l.advance(now)
		}
	}
	var leased []queue.Leased
	for _, name := range c.Queues {
		l := s.lines[name]
		if l == nil || l.paused {
			continue
		}
		for pending := l.states[queue.Pending]; len(leased) < c.Max; {
			t, found := pending.first()
			if !found {
				break
			}
			l.give(t, c.Worker, s.random.draw(), now)
			leased = append(leased, queue.Leased{Task: t.Task, Token: t.token, Lease: l.lease})
		}
	}
	return leased
}

// due is when something will be due in one of the queues.
func (s *tasks) due(queues []string) instant {
	next := never
	for _, name := range queues {
		if l := s.lines[name]; l != nil {
			next = min(next, l.due())
		}
	}
	return next
}

// give leases a pending task to a worker. It keeps its turn, for the case that it comes back.
func (l *line) give(t *task, worker, token string, now instant) {
	l.leave(t)
	t.worker, t.token, t.ends = worker, token, now.in(l.lease)
	l.enter(t, queue.Active, now)
}

// lose takes a task back whose lease has ended.
func (l *line) lose(t *task, now instant) {
	t.Lost++
	l.totals.Lost++
	switch {
	case t.cancel:
		l.end(t, queue.Cancelled, now)
	case t.Lost > t.MaxLost:
		t.LastError = fmt.Sprintf("the lease was lost %d times, %d are allowed (MaxLost); the last worker was %q", t.Lost, t.MaxLost, t.worker)
		l.end(t, queue.DeadLetter, now)
	default:
		l.leave(t)
		l.enter(t, queue.Pending, now)
	}
}
