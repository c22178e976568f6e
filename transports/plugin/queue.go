package plugin

import (
	"context"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// queueDriver is a plugin's queue, with the checks of [cacheDriver].
type queueDriver struct {
	node  *node
	check limits.Queue
}

func (n *node) queueBackend() *queue.Backend {
	if n.offer.Queue == nil {
		return nil
	}
	d := &queueDriver{node: n, check: limits.Queue{Transport: Kind, Capabilities: *n.offer.Queue}}
	b := &queue.Backend{Driver: d, Capabilities: *n.offer.Queue}
	if n.offer.Admin {
		b.Admin = (*adminDriver)(d)
	}
	return b
}

var enqueueTasks = batch[queue.Task, queue.Receipt, pb.Task, pb.Enqueued]{
	lane: queueLane, op: "queue: enqueue", to: translate.ToTask, from: translate.FromEnqueued,
	ask: func(m []*pb.Task, r *pb.Request) {
		r.Call = &pb.Request_EnqueueTasks{EnqueueTasks: &pb.EnqueueTasks{Tasks: m}}
	},
	answers: func(a *pb.Answer) []*pb.Enqueued { return a.GetEnqueueTasks().GetResults() },
	errOf:   func(r *queue.Receipt) *error { return &r.Err },
}

func (d *queueDriver) Enqueue(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
	if err := d.batch(ctx, enqueueTasks.op, len(tasks)); err != nil {
		return nil, err
	}
	return enqueueTasks.call(ctx, d.node, tasks, d.check.Task, how{})
}

// Claim leases tasks. A claim whose context ends is told to the plugin, which answers what it had leased by then.
func (d *queueDriver) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	const op = "queue: claim"
	if _, err := d.node.ready(ctx, op, c.Worker); err != nil {
		return queue.Claimed{}, err
	}
	if err := d.check.Claim(c); err != nil {
		return queue.Claimed{}, err
	}
	r := &pb.Request{Call: &pb.Request_ClaimTasks{ClaimTasks: translate.ToClaim(c)}}
	// A second claim gets other tasks, and those of the first come back when their leases end.
	answer, err := d.node.call(ctx, queueLane, r, about{op: op, subject: c.Worker, harmless: true, how: how{waits: c.Wait > 0}})
	switch code := fault.CodeOf(err); {
	case (code == fault.Canceled || code == fault.DeadlineExceeded) && ctx.Err() != nil:
		return queue.Claimed{}, nil
	case err != nil:
		return queue.Claimed{}, err
	}
	m := answer.GetClaimTasks()
	if m == nil {
		return queue.Claimed{}, d.node.garbled(errNoResult, op)
	}
	leased, err := translate.Unpack(m.GetTasks(), translate.FromLeased)
	if err != nil {
		return queue.Claimed{}, d.node.garbled(err, op)
	}
	return queue.Claimed{Tasks: leased}, nil
}

// Settle ends leases. The batch is numbered, so that it may be sent twice.
func (d *queueDriver) Settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	if _, err := d.node.ready(ctx, "queue: settle", s.Worker); err != nil {
		return nil, err
	}
	if err := d.check.Settlements(s); err != nil {
		return nil, err
	}
	settle := batch[queue.Settlement, error, pb.Settlement, pb.Done]{
		lane: queueLane, op: "queue: settle", harmless: true, to: translate.ToSettlement, from: translate.FromDone,
		ask: func(m []*pb.Settlement, r *pb.Request) {
			r.Call = &pb.Request_SettleTasks{SettleTasks: &pb.SettleTasks{Worker: translate.Raw(s.Worker), Number: s.Number, Items: m}}
		},
		answers: func(a *pb.Answer) []*pb.Done { return a.GetSettleTasks().GetResults() },
		errOf:   itself,
	}
	return settle.call(ctx, d.node, s.Items, d.check.Settlement, how{})
}

var extendTasks = batch[queue.Ref, error, pb.Ref, pb.Done]{
	lane: queueLane, op: "queue: extend", harmless: true, to: translate.ToRef, from: translate.FromDone,
	ask: func(m []*pb.Ref, r *pb.Request) {
		r.Call = &pb.Request_ExtendTasks{ExtendTasks: &pb.ExtendTasks{Refs: m}}
	},
	answers: func(a *pb.Answer) []*pb.Done { return a.GetExtendTasks().GetResults() },
	errOf:   itself,
}

func (d *queueDriver) Extend(ctx context.Context, refs []queue.Ref) ([]error, error) {
	if err := d.batch(ctx, extendTasks.op, len(refs)); err != nil {
		return nil, err
	}
	return extendTasks.call(ctx, d.node, refs, func(r *queue.Ref) error { return d.check.Ref(extendTasks.op, *r) }, how{})
}

// batch refuses a call of too many elements, after what comes before that.
func (d *queueDriver) batch(ctx context.Context, op string, elements int) error {
	if elements <= d.check.MaxBatch {
		return nil // the call itself finds out whether the node can be used
	}
	if _, err := d.node.ready(ctx, op, ""); err != nil {
		return err
	}
	return d.check.Batch(op, elements)
}
