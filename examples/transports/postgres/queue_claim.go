package postgres

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gobackplane/backplane/queue"
)

const (
	// claimAgain is how often a waiting claim asks at least, in case that a notification was lost. It is what Lateness
	// declares.
	claimAgain = 900 * time.Millisecond
	// askPause keeps claims that are woken in a row from asking more often.
	askPause = time.Millisecond
	// claimBytes is about how many bytes of tasks one claim gives.
	claimBytes = 8 << 20
)

// Claim leases due tasks. With none it says that it waits, and asks again when it is notified, when the earliest due time
// that it knows has come, and after claimAgain.
func (d *tasks) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	const op = "queue: claim"
	if err := d.t.ready(ctx, op, c.Worker); err != nil {
		return queue.Claimed{}, err
	}
	if err := checkTaskClaim(&c); err != nil {
		return queue.Claimed{}, err
	}
	if !d.t.waiting() {
		return queue.Claimed{}, d.t.fault(errClosed, op, c.Worker)
	}
	defer d.t.calls.Done()
	c.Max = min(c.Max, queueCapabilities.MaxClaim)
	leased, err := d.claim(ctx, c)
	if err != nil && ctx.Err() == nil {
		return queue.Claimed{}, d.t.fault(err, op, c.Worker)
	}
	return queue.Claimed{Tasks: leased}, nil
}

func (d *tasks) claim(ctx context.Context, c queue.Claim) ([]queue.Leased, error) {
	end := time.Now().Add(c.Wait)
	leased, due, err := d.look(ctx, c)
	if err != nil || len(leased) > 0 || c.Wait == 0 {
		return leased, err
	}
	b := d.t.wakes.join("q", c.Queues)
	rung := false
	defer func() { d.t.wakes.leave(b, rung) }()
	d.t.wakes.listen(ctx, min(c.Wait, claimAgain))
	for {
		fresh, err := d.sayWaiting(ctx, c.Queues)
		if err != nil {
			return nil, err
		}
		if !fresh { // otherwise something may have come between the last look and now
			left := time.Until(end)
			if left <= 0 || ctx.Err() != nil {
				return nil, nil
			}
			rung = d.t.wakes.sleep(ctx, b, min(left, due, claimAgain))
			if ctx.Err() != nil {
				return nil, nil
			}
			if d.t.life.Err() != nil {
				return nil, errClosed
			}
		}
		if leased, due, err = d.look(ctx, c); err != nil || len(leased) > 0 {
			rung = rung && err != nil
			return leased, err
		}
		rung = false
		due = max(due, askPause)
	}
}

// look leases what there is now. due is how long it is until something may be.
//
// The statement does not end with the caller's context: what it has leased would be lost until the leases end. Where
// nobody waits for it any more it is given back.
func (d *tasks) look(ctx context.Context, c queue.Claim) ([]queue.Leased, time.Duration, error) {
	type found struct {
		leased []queue.Leased
		due    time.Duration
		err    error
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	c.Queues = slices.Clone(c.Queues) // it may be read after this has returned
	come, left := make(chan found), make(chan struct{})
	d.t.calls.Add(1) // the caller is counted too, so nobody has finished waiting
	go func() {
		defer d.t.calls.Done()
		apart := context.WithoutCancel(ctx)
		var f found
		f.leased, f.due, f.err = d.take(apart, c)
		select {
		case come <- f:
		case <-left:
			d.giveBack(apart, f.leased)
		}
	}()
	select {
	case f := <-come:
		return f.leased, f.due, f.err
	case <-ctx.Done():
		close(left)
		return nil, 0, ctx.Err()
	}
}

// giveBack ends leases of which nobody knows.
func (d *tasks) giveBack(ctx context.Context, leased []queue.Leased) {
	if len(leased) == 0 {
		return
	}
	all := upTo(len(leased))
	args := append([]any{d.t.ns}, refArgs(all, func(i int) *queue.Ref { r := leased[i].Ref(); return &r })...)
	if err := d.t.store.exec(ctx, "SELECT queue_give_back($1, $2, $3, $4, $5)", append(args, d.t.receiver.channels.wake)...); err != nil {
		d.t.log.Warn("postgres: tasks of an abandoned claim could not be given back; they come back when their leases end",
			"tasks", len(leased), "error", d.t.fault(err, "", ""))
	}
}

// take is the claim itself.
func (d *tasks) take(ctx context.Context, c queue.Claim) (leased []queue.Leased, due time.Duration, err error) {
	due = time.Hour
	token := drawn()
	var r struct {
		queue          int
		id, body, err  []byte
		token          *string
		lease, turn    *int64
		rank           *int16
		attempts, lost *int
		runAt          *time.Time
		dueIn          *int64
	}
	type place struct {
		queue int
		rank  int16
		turn  int64
	}
	places := map[string]place{}
	args := []any{d.t.ns, pick(upTo(len(c.Queues)), func(i int) []byte { return []byte(c.Queues[i]) }), c.Max, claimBytes, []byte(c.Worker), token}
	into := []any{&r.queue, &r.id, &r.token, &r.lease, &r.body, &r.rank, &r.turn, &r.attempts, &r.lost, &r.err, &r.runAt, &r.dueIn}
	err = d.t.store.rows(ctx, "SELECT * FROM queue_claim($1, $2, $3, $4, $5, $6)", args, into, func() error {
		if r.queue == 0 {
			if r.dueIn != nil {
				due = time.Duration(min(*r.dueIn, time.Hour.Microseconds())+1) * time.Microsecond
			}
			return nil
		}
		l := queue.Leased{Token: *r.token, Lease: time.Duration(*r.lease) * time.Microsecond}
		l.ID, l.Queue = string(r.id), c.Queues[r.queue-1]
		if l.Err = decodeTask(r.body, &l.Task); l.Err != nil {
			l.Task = queue.Task{ID: l.ID, Queue: l.Queue}
		} else {
			l.Attempts, l.Lost, l.LastError = *r.attempts, *r.lost, string(r.err)
			if r.runAt != nil {
				l.RunAt = *r.runAt
			}
		}
		places[l.Token] = place{r.queue, *r.rank, *r.turn}
		leased = append(leased, l)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	d.vacuum.after(d.t, len(leased))
	slices.SortFunc(leased, func(a, b queue.Leased) int {
		x, y := places[a.Token], places[b.Token]
		return cmp.Or(cmp.Compare(x.queue, y.queue), cmp.Compare(x.rank, y.rank), cmp.Compare(x.turn, y.turn))
	})
	return leased, due, nil
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// said remembers for how long this node has said that it waits for tasks of each queue.
type said struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func newSaid() *said { return &said{until: map[string]time.Time{}} }

// A node is notified for sayFor after it said that it waits, and says it again when less than sayAgain of that is left.
const (
	sayFor   = 10 * time.Second
	sayAgain = 4 * time.Second
)

// sayWaiting says that this node waits for tasks of the queues, unless it did of late. It is fresh when it was not
// waiting for one of them just before.
func (d *tasks) sayWaiting(ctx context.Context, queues []string) (fresh bool, err error) {
	now := time.Now()
	var names [][]byte
	d.said.mu.Lock()
	for _, name := range queues {
		until := d.said.until[name]
		if until.Sub(now) < sayAgain {
			names = append(names, []byte(name))
			fresh = fresh || until.Before(now)
		}
	}
	d.said.mu.Unlock()
	if len(names) == 0 {
		return false, nil
	}
	slices.SortFunc(names, slices.Compare)
	names = slices.CompactFunc(names, slices.Equal)
	if err := d.t.store.exec(ctx, "SELECT queue_wait($1, $2, $3, $4)", d.t.ns, names, d.node, sayFor.Milliseconds()); err != nil {
		return false, err
	}
	d.said.mu.Lock()
	defer d.said.mu.Unlock()
	if len(d.said.until) > 10_000 { // of a node that has waited for ever new queues
		clear(d.said.until)
	}
	for _, name := range names {
		d.said.until[string(name)] = now.Add(sayFor)
	}
	return fresh, nil
}
