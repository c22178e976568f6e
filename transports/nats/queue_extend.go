package nats

import (
	"context"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// Extend makes leases longer; see [queue.Driver]. Each heartbeat reads the task and writes it again: the lease is the
// message that becomes the task if nobody does.
func (d *queueDriver) Extend(ctx context.Context, refs []queue.Ref) ([]error, error) {
	const op = "queue: extend"
	if err := d.begin(ctx, op, ""); err != nil {
		return nil, err
	}
	if err := d.check.Batch(op, len(refs)); err != nil {
		return nil, err
	}
	errs := make([]error, len(refs))
	var all, open, strange []*grip
	for i, ref := range refs {
		if errs[i] = d.check.Ref(op, ref); errs[i] != nil {
			continue
		}
		h, ok := d.hold(i, ref)
		if all = append(all, h); ok {
			open = append(open, h)
		} else {
			strange = append(strange, h)
		}
	}
	if _, err := d.find(ctx, op, strange); err != nil {
		return nil, d.core.fault(err, op, "")
	}
	for try := 0; len(open) > 0; try++ {
		if try == settleTries {
			return nil, d.core.fault(fault.New(fault.Unavailable, "the leases of %d tasks are being changed all the time; try again", len(open)), op, "")
		}
		var err error
		if open, err = d.tryExtend(ctx, open); err != nil {
			return nil, d.core.fault(err, op, "")
		}
	}
	for _, h := range all {
		errs[h.index] = h.err
	}
	return errs, nil
}

// tryExtend sends heartbeats once, and gives those that must be sent again.
func (d *queueDriver) tryExtend(ctx context.Context, all []*grip) (again []*grip, err error) {
	const op = "queue: extend"
	there, missed, err := d.learn(ctx, all)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(there))
	for i, h := range there {
		names[i] = h.queue
	}
	settings, err := d.settingsOf(ctx, names)
	if err != nil {
		return nil, err
	}
	writes, to := make([]write, len(there)), make([]position, len(there))
	now := d.clock.now()
	for i, h := range there {
		to[i].n = d.nonces.next()
		p := h.p
		p.ends = now.Add(settings[i].lease())
		writes[i] = d.lease(h, &p, to[i].n)
	}
	answers, err := d.write(ctx, writes)
	if err != nil {
		return nil, err
	}
	var leftovers []uint64
	for i, a := range answers {
		h := there[i]
		switch {
		case a.err != nil:
			return nil, a.err
		case a.refused:
			missed = append(missed, h)
			continue
		}
		if seq := h.leftover(); seq > 0 {
			leftovers = append(leftovers, seq)
		}
		to[i].seq = a.seq
		d.moved.put(h.token.n, to[i])
		if h.err = nil; h.p.cancel {
			h.err = d.core.fault(fault.New(fault.Canceled, "somebody asked to cancel the task; its lease was extended"), op, h.ref.ID)
		}
	}
	if err := d.remove(ctx, leftovers...); err != nil {
		d.core.log.Debug("queue: leftovers are dropped when they are claimed", "error", err)
	}
	if len(missed) == 0 {
		return nil, nil
	}
	return d.find(ctx, op, missed)
}

// lease is the write that puts another lease in a grip's place.
func (d *queueDriver) lease(h *grip, p *progress, n string) write {
	priority := int(h.token.flags >> claimPriority)
	w := write{
		subject: d.names.held(h.queue, heldLease, h.id, n), data: appendTaskRecord(nil, p, h.record),
		at: p.ends, target: d.names.ready(h.queue, laneOf(priority, true), h.id, n),
	}
	d.from(h, &w)
	return w
}
