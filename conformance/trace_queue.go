package conformance

import (
	"context"

	"github.com/gobackplane/backplane/queue"
)

func (t tracer) queueOf(b *queue.Backend) *queue.Backend {
	if b == nil {
		return nil
	}
	traced := *b
	traced.Driver = tracedQueue{t, b.Driver}
	if b.Admin != nil {
		traced.Admin = tracedAdmin{t, b.Admin}
	}
	return &traced
}

type tracedQueue struct {
	tracer
	inner queue.Driver
}

func (q tracedQueue) Enqueue(ctx context.Context, t []queue.Task) ([]queue.Receipt, error) {
	return batch(q.tracer, ctx, "queue.Enqueue", t, q.inner.Enqueue)
}

func (q tracedQueue) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	return single(q.tracer, ctx, "queue.Claim", c, q.inner.Claim)
}

func (q tracedQueue) Settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	done := q.calls(ctx, "queue.Settle", described(s))
	errs, err := q.inner.Settle(ctx, s)
	done(listed(errs), err)
	return errs, err
}

func (q tracedQueue) Extend(ctx context.Context, r []queue.Ref) ([]error, error) {
	return batch(q.tracer, ctx, "queue.Extend", r, q.inner.Extend)
}

type tracedAdmin struct {
	tracer
	inner queue.Admin
}

func (a tracedAdmin) Queues(ctx context.Context) ([]string, error) {
	done := a.calls(ctx, "queue.Queues", nil)
	names, err := a.inner.Queues(ctx)
	done(listed(names), err)
	return names, err
}

func (a tracedAdmin) Stats(ctx context.Context, queue string) (queue.Stats, error) {
	return single(a.tracer, ctx, "queue.Stats", queue, a.inner.Stats)
}

func (a tracedAdmin) List(ctx context.Context, l queue.List) (queue.Tasks, error) {
	return single(a.tracer, ctx, "queue.List", l, a.inner.List)
}

func (a tracedAdmin) Find(ctx context.Context, name, id string) (queue.Info, error) {
	return single(a.tracer, ctx, "queue.Find", queue.Ref{Queue: name, ID: id}, func(ctx context.Context, r queue.Ref) (queue.Info, error) {
		return a.inner.Find(ctx, r.Queue, r.ID)
	})
}

func (a tracedAdmin) Remove(ctx context.Context, queue string, ids []string) ([]error, error) {
	return a.each(ctx, "queue.Remove", queue, ids, a.inner.Remove)
}

func (a tracedAdmin) Requeue(ctx context.Context, queue string, ids []string) ([]error, error) {
	return a.each(ctx, "queue.Requeue", queue, ids, a.inner.Requeue)
}

func (a tracedAdmin) Cancel(ctx context.Context, queue string, ids []string) ([]error, error) {
	return a.each(ctx, "queue.Cancel", queue, ids, a.inner.Cancel)
}

// each traces what is asked of several tasks of one queue.
func (a tracedAdmin) each(
	ctx context.Context, method, queue string, ids []string, do func(context.Context, string, []string) ([]error, error),
) ([]error, error) {
	tasks := listed(ids)
	done := a.calls(ctx, method, func() string { return quoted(queue) + ", " + tasks() })
	errs, err := do(ctx, queue, ids)
	done(listed(errs), err)
	return errs, err
}

func (a tracedAdmin) Pause(ctx context.Context, queue string) error {
	done := a.calls(ctx, "queue.Pause", described(queue))
	err := a.inner.Pause(ctx, queue)
	done(fine, err)
	return err
}

func (a tracedAdmin) Resume(ctx context.Context, queue string) error {
	done := a.calls(ctx, "queue.Resume", described(queue))
	err := a.inner.Resume(ctx, queue)
	done(fine, err)
	return err
}

func (a tracedAdmin) Configure(ctx context.Context, name string, p queue.Properties) error {
	properties := described(p)
	done := a.calls(ctx, "queue.Configure", func() string { return quoted(name) + ", " + properties() })
	err := a.inner.Configure(ctx, name, p)
	done(fine, err)
	return err
}

func (a tracedAdmin) Properties(ctx context.Context, queue string) (queue.Properties, error) {
	return single(a.tracer, ctx, "queue.Properties", queue, a.inner.Properties)
}
