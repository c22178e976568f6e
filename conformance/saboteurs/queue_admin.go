package saboteurs

import (
	"context"
	"slices"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// desk is a queue.Admin with single methods replaced; nil is the honest one.
type desk struct {
	queue.Admin
	queues  func(context.Context) ([]string, error)
	stats   func(context.Context, string) (queue.Stats, error)
	list    func(context.Context, queue.List) (queue.Tasks, error)
	find    func(context.Context, string, string) (queue.Info, error)
	remove  func(context.Context, string, []string) ([]error, error)
	requeue func(context.Context, string, []string) ([]error, error)
	cancel  func(context.Context, string, []string) ([]error, error)
}

func administering(f func(honest queue.Admin, d *desk)) func(*sabotaged) {
	return func(s *sabotaged) {
		s.queue = func(b *queue.Backend) {
			d := &desk{Admin: b.Admin}
			f(b.Admin, d)
			b.Admin = d
		}
	}
}

func (d *desk) Queues(ctx context.Context) ([]string, error) {
	if d.queues != nil {
		return d.queues(ctx)
	}
	return d.Admin.Queues(ctx)
}

func (d *desk) Stats(ctx context.Context, name string) (queue.Stats, error) {
	if d.stats != nil {
		return d.stats(ctx, name)
	}
	return d.Admin.Stats(ctx, name)
}

func (d *desk) List(ctx context.Context, l queue.List) (queue.Tasks, error) {
	if d.list != nil {
		return d.list(ctx, l)
	}
	return d.Admin.List(ctx, l)
}

func (d *desk) Find(ctx context.Context, name, id string) (queue.Info, error) {
	if d.find != nil {
		return d.find(ctx, name, id)
	}
	return d.Admin.Find(ctx, name, id)
}

func (d *desk) Remove(ctx context.Context, name string, ids []string) ([]error, error) {
	if d.remove != nil {
		return d.remove(ctx, name, ids)
	}
	return d.Admin.Remove(ctx, name, ids)
}

func (d *desk) Requeue(ctx context.Context, name string, ids []string) ([]error, error) {
	if d.requeue != nil {
		return d.requeue(ctx, name, ids)
	}
	return d.Admin.Requeue(ctx, name, ids)
}

func (d *desk) Cancel(ctx context.Context, name string, ids []string) ([]error, error) {
	if d.cancel != nil {
		return d.cancel(ctx, name, ids)
	}
	return d.Admin.Cancel(ctx, name, ids)
}

// passing makes errors of a code no error.
func passing(code fault.Code, errs []error, err error) ([]error, error) {
	for i := range errs {
		if fault.CodeOf(errs[i]) == code {
			errs[i] = nil
		}
	}
	return errs, err
}

func adminSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "active-tasks-are-not-counted",
			Case: "queue/admin/every-task-is-counted-in-one-state", Collateral: []string{"queue/admin", "queue/stack"},
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.stats = func(ctx context.Context, name string) (queue.Stats, error) {
					s, err := honest.Stats(ctx, name)
					s.Active = 0
					return s, err
				}
			}),
		},
		{
			Name: "totals-forget-retries",
			Case: "queue/admin/totals-count-what-has-happened", Collateral: []string{"queue/stack"},
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.stats = func(ctx context.Context, name string) (queue.Stats, error) {
					s, err := honest.Stats(ctx, name)
					s.Totals.Retried = 0
					return s, err
				}
			}),
		},
		{
			Name: "lists-end-after-a-page",
			Case: "queue/admin/every-state-is-listed-in-pages", Collateral: []string{"queue/admin"},
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.list = func(ctx context.Context, l queue.List) (queue.Tasks, error) {
					page, err := honest.List(ctx, l)
					page.Next = ""
					return page, err
				}
			}),
		},
		{
			Name: "lists-are-youngest-first",
			Case: "queue/admin/lists-are-oldest-first-scheduled-by-run-time",
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.list = func(ctx context.Context, l queue.List) (queue.Tasks, error) {
					page, err := honest.List(ctx, l)
					slices.Reverse(page.Tasks)
					return page, err
				}
			}),
		},
		{
			Name: "active-tasks-are-not-found",
			Case: "queue/admin/find-shows-a-task-in-whatever-state", Collateral: []string{"queue"},
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.find = func(ctx context.Context, name, id string) (queue.Info, error) {
					info, err := honest.Find(ctx, name, id)
					if err == nil && info.State == queue.Active {
						return queue.Info{}, &fault.Error{Code: fault.NotFound, Op: "queue: find", Subject: id}
					}
					return info, err
				}
			}),
		},
		{
			Name: "removing-what-is-active-seems-to-work",
			Case: "queue/admin/remove-in-each-state", Collateral: []string{"queue/admin/operations-*"},
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.remove = func(ctx context.Context, name string, ids []string) ([]error, error) {
					errs, err := honest.Remove(ctx, name, ids)
					return passing(fault.Conflict, errs, err)
				}
			}),
		},
		{
			Name: "requeuing-what-is-pending-seems-to-work",
			Case: "queue/admin/requeue-in-each-state", Collateral: []string{"queue/admin/a-requeued-*", "queue/admin/operations-*", "queue/unique/requeued-*"},
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.requeue = func(ctx context.Context, name string, ids []string) ([]error, error) {
					errs, err := honest.Requeue(ctx, name, ids)
					return passing(fault.Conflict, errs, err)
				}
			}),
		},
		{
			Name: "cancelling-is-removing",
			Case: "queue/admin/cancel-in-each-state", Collateral: []string{"queue"},
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.cancel = func(ctx context.Context, name string, ids []string) ([]error, error) {
					errs, err := honest.Cancel(ctx, name, ids)
					if err != nil {
						return nil, err
					}
					for i, id := range ids {
						if info, err := honest.Find(ctx, name, id); errs[i] == nil && err == nil && info.State == queue.Cancelled {
							_, _ = honest.Remove(ctx, name, []string{id})
						}
					}
					return errs, nil
				}
			}),
		},
		{
			Name: "a-pause-is-for-one-node",
			Case: "queue/admin/a-paused-queue-gives-nothing-on-any-node", Collateral: []string{"queue/admin/pausing-*", "queue/admin/pause-*", "queue/claim/a-wait-gets-what-is-resumed"},
			sabotage: func(s *sabotaged) {
				s.queue = func(b *queue.Backend) {
					here := &shared[bool]{of: map[string]bool{}}
					honest := *b
					b.Admin = pausingHere{honest.Admin, here}
					b.Driver = &line{Driver: honest.Driver, claim: func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
						left := slices.DeleteFunc(slices.Clone(c.Queues), func(name string) bool { paused, _ := here.get(name); return paused })
						if len(left) == 0 && len(c.Queues) > 0 {
							return queue.Claimed{}, nil
						}
						c.Queues = left
						return honest.Claim(ctx, c)
					}}
				}
			},
		},
		{
			Name: "queues-that-are-empty-are-not-listed",
			Case: "queue/admin/queues-are-listed",
			sabotage: administering(func(honest queue.Admin, d *desk) {
				d.queues = func(ctx context.Context) ([]string, error) {
					names, err := honest.Queues(ctx)
					return slices.DeleteFunc(names, func(name string) bool {
						s, err := honest.Stats(ctx, name)
						return err == nil && s.Pending+s.Scheduled+s.Active+s.Completed+s.Dead+s.Cancelled == 0
					}), err
				}
			}),
		},
	}
}

// pausingHere keeps to itself what is paused.
type pausingHere struct {
	queue.Admin
	here *shared[bool]
}

func (p pausingHere) Pause(ctx context.Context, name string) error {
	if err := p.Admin.Resume(ctx, name); err != nil {
		return err
	}
	p.here.set(name, true)
	return nil
}

func (p pausingHere) Resume(ctx context.Context, name string) error {
	if err := p.Admin.Resume(ctx, name); err != nil {
		return err
	}
	p.here.take(name)
	return nil
}

func (p pausingHere) Stats(ctx context.Context, name string) (queue.Stats, error) {
	s, err := p.Admin.Stats(ctx, name)
	_, s.Paused = p.here.get(name)
	return s, err
}
