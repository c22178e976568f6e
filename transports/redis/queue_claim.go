package redis

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

var (
	claimScript      = newScript("queue_claim", "when_full", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_wake", "queue_claim")
	claimFreshScript = newScript("queue_claim_fresh", "when_full", "queue_claim_fresh")
)

const (
	askAgain   = time.Second             // a waiting claim asks at least so often, in case that a wake-up was lost
	registered = 1250 * time.Millisecond // so a waiter stays registered until it has asked again
	askPause   = time.Millisecond        // and not more often
)

// Claim leases due tasks; see [queue.Driver].
func (d *queueDriver) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	const op = "queue: claim"
	if err := fault.FromContext(ctx); err != nil {
		return queue.Claimed{}, d.t.fault(err, op, c.Worker)
	}
	if err := d.check.Claim(c); err != nil {
		return queue.Claimed{}, err
	}
	c.Max = min(c.Max, queueCapabilities.MaxClaim)
	deadline := time.Now().Add(c.Wait)
	var s *seat
	if c.Wait > 0 {
		d.waiting.open(ctx, c.Wait)
		s = d.waiting.sit()
		defer d.waiting.rise(s)
	}
	for woken := false; ; {
		tasks, again, err := d.ask(ctx, &c, s, woken)
		if err != nil || len(tasks) > 0 {
			return queue.Claimed{Tasks: tasks}, err
		}
		if ctx.Err() != nil {
			return queue.Claimed{}, nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return queue.Claimed{}, nil
		}
		if woken, err = d.pause(ctx, s, min(left, max(again, askPause))); err != nil {
			return queue.Claimed{}, d.t.fault(err, op, c.Worker)
		}
	}
}

// pause waits until the claim is woken or it is time to ask again. A ctx that ends is no error.
func (d *queueDriver) pause(ctx context.Context, s *seat, long time.Duration) (woken bool, err error) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-s.wake:
		return true, nil
	case <-timer.C:
	case <-ctx.Done():
	case <-d.t.life.Done():
		return false, errClosed
	}
	return false, nil
}

// ask sends one claim; one that was woken first looks for fresh tasks alone. It gives the tasks, or how long to wait before asking again. A ctx that ends meanwhile gives
// neither tasks nor an error: tasks that come all the same are given back.
func (d *queueDriver) ask(ctx context.Context, c *queue.Claim, s *seat, woken bool) ([]queue.Leased, time.Duration, error) {
	q := question{Claim: c, token: newToken(c.Worker), woken: woken}
	if s != nil {
		q.waiter, q.mayStand = d.waiting.waiter(s), time.Now().Before(s.registered)
		s.registered = time.Now().Add(2 * registered)
	}
	type answer struct {
		tasks []queue.Leased
		again time.Duration
		err   error
	}
	answers, left := make(chan answer), make(chan struct{})
	defer close(left)
	started := d.waiting.start(func() {
		// With a context that cannot end, the lane needs no other goroutine for it.
		tasks, again, err := d.put(context.WithoutCancel(ctx), &q)
		select {
		case answers <- answer{tasks, again, err}:
		case <-left:
			d.giveBack(tasks)
		}
	})
	if !started {
		return nil, 0, d.t.fault(errClosed, "queue: claim", c.Worker)
	}
	select {
	case a := <-answers:
		if s != nil && len(a.tasks) > 0 {
			s.registered = time.Time{} // the script saw to it
		}
		return a.tasks, a.again, a.err
	case <-ctx.Done():
		return nil, 0, nil
	case <-d.t.life.Done():
		return nil, 0, d.t.fault(errClosed, "queue: claim", c.Worker)
	}
}

// question is what a claim asks the store.
type question struct {
	*queue.Claim
	token    string
	waiter   string // empty: it does not wait
	mayStand bool   // the waiter may be registered
	woken    bool
}

// put asks one question. A claim that was woken has asked in full before, so that what is due has been moved: the short
// script need not do that as well.
func (d *queueDriver) put(ctx context.Context, q *question) ([]queue.Leased, time.Duration, error) {
	if q.woken {
		call := append(claimFreshScript.begin(d.prefix, 3+len(q.Queues)), q.Max, q.token, q.waiter)
		tasks, again, err := d.putCall(ctx, q, call)
		if err != nil || len(tasks) > 0 {
			return tasks, again, err
		}
	}
	call := append(claimScript.begin(d.prefix, 6+len(q.Queues)),
		q.Max, q.token, q.waiter, registered.Milliseconds(), q.mayStand, queueCapabilities.IDMemory.Milliseconds())
	return d.putCall(ctx, q, call)
}

// putCall sends the call of a claim script, to which the queues are still to be added.
func (d *queueDriver) putCall(ctx context.Context, q *question, call []any) ([]queue.Leased, time.Duration, error) {
	for _, name := range q.Queues {
		call = append(call, name)
	}
	reply, err := d.run(ctx, d.claims, "queue: claim", q.Worker, redis.NewCmd(ctx, call...))
	if err != nil {
		return nil, 0, err
	}
	tasks, again, ok := readClaim(reply, q.Queues, q.token)
	if !ok {
		err := fault.New(fault.Internal, "the reply of the claim script cannot be read")
		return nil, 0, d.t.fault(err, "queue: claim", q.Worker)
	}
	return tasks, again, nil
}

// readClaim reads the reply of the claim script.
func readClaim(reply []any, queues []string, token string) (tasks []queue.Leased, again time.Duration, ok bool) {
	if len(reply) < 2 {
		return nil, 0, false
	}
	again = askAgain
	if next := number(reply[1]); next > 0 {
		again = min(again, time.Duration(next-number(reply[0]))*time.Millisecond)
	}
	plain, special := plainToken+token, specialToken+token
	for rest := reply[2:]; len(rest) > 0; rest = rest[4:] {
		if len(rest) < 4 {
			return nil, 0, false
		}
		at, lease, n, packed := number(rest[0])-1, number(rest[1]), number(rest[2]), text(rest[3])
		if at < 0 || at >= int64(len(queues)) || n < 0 || n > int64(len(packed)/packedHead) {
			return nil, 0, false
		}
		tasks = slices.Grow(tasks, int(n))
		for ; n > 0; n-- {
			var key, record, state string
			if key, record, state, packed, ok = unpackTask(packed); !ok {
				return nil, 0, false
			}
			l := queue.Leased{Lease: time.Duration(lease) * time.Millisecond, Token: plain}
			if len(record) < 2 || record[1]%flagsSpecial > 0 { // as the script decides
				l.Token = special
			}
			l.Task, l.Err = readTask(queues[at], key, record, state)
			tasks = append(tasks, l)
		}
	}
	return tasks, again, true
}

// packedHead is the size of the lengths before a task in the claim script's reply.
const packedHead = 10

// unpackTask takes the first task off what the claim script has packed.
func unpackTask(packed string) (key, record, state, rest string, ok bool) {
	if len(packed) < packedHead {
		return "", "", "", "", false
	}
	r := reader{rest: packed}
	lengths := [3]int{int(r.number(2)), int(r.number(4)), int(r.number(4))}
	key, record, state = r.take(lengths[0]), r.take(lengths[1]), r.take(lengths[2])
	return key, record, state, r.rest, r.err == nil
}

// giveBack releases tasks that nobody waited for any more, so that they do not have to wait for their lease to end.
func (d *queueDriver) giveBack(tasks []queue.Leased) {
	if len(tasks) == 0 {
		return
	}
	items := make([]queue.Settlement, len(tasks))
	for i, l := range tasks {
		items[i] = queue.Settlement{Ref: l.Ref(), Outcome: queue.Release}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.t.life), askAgain)
	defer cancel()
	if _, err := d.settle(ctx, queue.Settlements{Worker: "-", Items: items}); err != nil {
		d.t.log.Warn("queue: tasks of an abandoned claim come back when their leases end", "tasks", len(tasks), "error", err)
	}
}
