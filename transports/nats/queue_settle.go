package nats

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash/crc64"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

// settleTries is how often a settlement is sent that finds its lease moved by a heartbeat or a request to cancel.
const settleTries = 8

// Settle ends leases; see [queue.Driver].
//
// First come the settlements, then the answer is stored, so that a repeat gets it; a repeat that comes before it was
// stored finds out from the tasks themselves which of the settlements were made.
func (d *queueDriver) Settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	const op = "queue: settle"
	if err := d.begin(ctx, op, s.Worker); err != nil {
		return nil, err
	}
	if err := d.check.Settlements(s); err != nil {
		return nil, err
	}
	answers, isRepeat, err := d.repeated(ctx, &s)
	if err != nil || isRepeat {
		return answers, d.core.fault(err, op, s.Worker)
	}
	answers, err = d.settle(ctx, s)
	if err != nil {
		return nil, d.core.fault(err, op, s.Worker)
	}
	return answers, nil
}

// settle makes the settlements, counts them, and stores the answer if the batch has a number. An error means that not
// everything was done: the same batch can be given again.
func (d *queueDriver) settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	const op = "queue: settle"
	errs := make([]error, len(s.Items))
	var counted tally
	var open, strange []*grip
	all := make([]*grip, 0, len(s.Items))
	stale := map[string]int64{}
	for i := range s.Items {
		item := &s.Items[i]
		if errs[i] = d.check.Settlement(item); errs[i] != nil {
			continue
		}
		h, ok := d.hold(i, item.Ref)
		h.mark = settlementMark(s.Worker, s.Number, i, h.token.n)
		all = append(all, h)
		if ok {
			open = append(open, h)
		} else {
			strange = append(strange, h)
		}
	}
	if _, err := d.find(ctx, op, strange); err != nil {
		return nil, err
	}
	for try := 0; len(open) > 0; try++ {
		if try == settleTries {
			return nil, fault.New(fault.Unavailable, "the leases of %d tasks are being changed all the time; try again", len(open))
		}
		var err error
		if open, err = d.trySettle(ctx, &s, open); err != nil {
			return nil, err
		}
	}
	for _, h := range all {
		errs[h.index] = h.err
		switch {
		case h.err == nil:
			counted.add(h.queue, d.outcomeCount(&s.Items[h.index], h), 1)
			d.moved.forget(h.token.n)
		case fault.CodeOf(h.err) == fault.LeaseLost:
			stale[h.queue]++
		}
	}
	if err := d.countStale(ctx, stale, &counted); err != nil {
		return nil, err
	}
	if err := d.conclude(ctx, &s, errs, counted); err != nil {
		return nil, err
	}
	d.freeKeys(&s, all)
	return errs, nil
}

// countStale adds refused settlements to the counts of queues that exist.
func (d *queueDriver) countStale(ctx context.Context, stale map[string]int64, counted *tally) error {
	for q, n := range stale {
		known, err := d.settingOf(ctx, q)
		if err != nil {
			return err
		}
		if known.known() {
			counted.add(q, countStale, n)
		}
	}
	return nil
}

// trySettle sends settlements once, and gives those that must be sent again.
func (d *queueDriver) trySettle(ctx context.Context, s *queue.Settlements, all []*grip) (again []*grip, err error) {
	var ready, unknown, missed []*grip
	for _, h := range all {
		if !h.known && needsRecord(&s.Items[h.index], h) {
			unknown = append(unknown, h)
		} else {
			ready = append(ready, h)
		}
	}
	if len(unknown) > 0 {
		there, gone, err := d.learn(ctx, unknown)
		if err != nil {
			return nil, err
		}
		ready, missed = append(ready, there...), gone
	}
	writes := make([]write, len(ready))
	for i, h := range ready {
		writes[i] = d.settlement(&s.Items[h.index], h)
	}
	answers, err := d.write(ctx, writes)
	if err != nil {
		return nil, err
	}
	var leftovers []uint64
	for i, a := range answers {
		h := ready[i]
		switch {
		case a.err != nil:
			return nil, a.err
		case a.refused:
			missed = append(missed, h)
		default:
			h.err = nil
			if seq := h.leftover(); seq > 0 {
				leftovers = append(leftovers, seq)
			}
		}
	}
	if err := d.remove(ctx, leftovers...); err != nil {
		d.core.log.Debug("queue: leftovers are dropped when they are claimed", "error", err)
	}
	if len(missed) == 0 {
		return nil, nil
	}
	found, err := d.find(ctx, "queue: settle", missed)
	if err != nil {
		return nil, err
	}
	for _, h := range found {
		if h.at.isReady && s.Items[h.index].Outcome == queue.Release {
			h.err = d.leaseLost("queue: settle", h.ref) // the server has given it back already, and that counts as lost
			continue
		}
		again = append(again, h)
	}
	return again, nil
}

// needsRecord tells whether the new message has to repeat what the old one says.
func needsRecord(s *queue.Settlement, h *grip) bool {
	return s.Outcome != queue.Done || h.token.flags&(claimRetention|claimUnique) != 0
}

// settlement is the write that takes a task where its outcome says.
func (d *queueDriver) settlement(s *queue.Settlement, h *grip) write {
	now, n := d.clock.now(), d.nonces.next()
	w := write{at: lastPossible, target: d.names.nowhere()}
	p := h.p
	p.since, p.settled = now, h.mark
	p.claim, p.worker, p.cancel, p.due, p.ends = "", "", false, time.Time{}, time.Time{}
	priority := int(h.token.flags >> claimPriority)
	state := ""
	switch {
	case s.Outcome == queue.Done:
		if h.token.flags&claimRetention == 0 {
			w = d.tombstone(h.queue, h.id, n, h.mark, h.token.flags&claimCallerID != 0)
			d.from(h, &w)
			return w
		}
		state, p.result = heldCompleted, s.Result
		if p.result == nil {
			p.result = []byte{}
		}
		w.ttl = d.retention(h)
		p.ends = now.Add(w.ttl)
	case h.p.cancel:
		state = heldCancelled
	case s.Outcome == queue.Dead:
		state = heldDead
	case s.Outcome != queue.Release && s.Delay > 0:
		state, p.due = heldScheduled, now.Add(s.Delay)
		w.at, w.target = p.due, d.names.ready(h.queue, laneOf(priority, false), h.id, n)
	}
	switch s.Outcome {
	case queue.Retry, queue.Dead:
		p.attempts++
		p.error = limits.CutError(s.Error)
	case queue.Snooze:
		p.error = cmp.Or(limits.CutError(s.Error), p.error)
	}
	if state == "" {
		w.at, w.target = time.Time{}, ""
		w.subject = d.names.ready(h.queue, laneOf(priority, s.Outcome == queue.Release), h.id, n)
	} else {
		w.subject = d.names.held(h.queue, state, h.id, n)
	}
	w.data = appendTaskRecord(nil, &p, h.record)
	d.from(h, &w)
	return w
}

// retention is how long a completed task is kept.
func (d *queueDriver) retention(h *grip) time.Duration {
	t, err := readTask(h.record, &h.p)
	if err != nil {
		return time.Second
	}
	return t.Retention
}

// tombstone is what is left of a task for a while.
func (d *queueDriver) tombstone(q, id, n string, mark uint64, callerID bool) write {
	p := progress{since: d.clock.now(), settled: mark, callerID: callerID}
	w := write{subject: d.names.held(q, heldTombstone, id, n), data: appendTaskRecord(nil, &p, nil), ttl: graveTime}
	if callerID {
		w.ttl = d.caps.IDMemory + graveTime
	}
	return w
}

// outcomeCount names what a settlement adds to.
func (d *queueDriver) outcomeCount(s *queue.Settlement, h *grip) string {
	switch {
	case s.Outcome == queue.Done:
		return countCompleted
	case h.p.cancel:
		return countCancelled
	case s.Outcome == queue.Retry:
		return countRetried
	case s.Outcome == queue.Snooze:
		return countSnoozed
	case s.Outcome == queue.Dead:
		return countDead
	}
	return countReleased
}

// settlementMark names one settlement of one batch, for whoever asks whether it was made. It is never 0.
func settlementMark(worker string, number uint64, i int, n string) uint64 {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 64), number)
	b = binary.BigEndian.AppendUint32(b, uint32(i))
	b = append(append(append(b, n...), '.'), worker...)
	return crc64.Checksum(b, markTable) | 1
}

var markTable = crc64.MakeTable(crc64.ECMA)
