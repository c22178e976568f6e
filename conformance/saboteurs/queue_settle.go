package saboteurs

import (
	"context"
	"fmt"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// changingSettlements sabotages how claims are settled.
func changingSettlements(change func(*queue.Settlement)) func(*sabotaged) {
	return queuing(func(honest queue.Backend, l *line) {
		l.settle = func(ctx context.Context, batch queue.Settlements) ([]error, error) {
			batch.Items = altered(batch.Items, change)
			return honest.Settle(ctx, batch)
		}
	})
}

// turning makes one outcome another.
func turning(from, to queue.Outcome) func(*sabotaged) {
	return changingSettlements(func(s *queue.Settlement) {
		if s.Outcome == from {
			s.Outcome = to
		}
	})
}

// hands is who has which task now, by queue and ID.
type hands struct{ shared[queue.Ref] }

func newHands() *hands { return &hands{shared[queue.Ref]{of: map[string]queue.Ref{}}} }

// watch has claims of a node noted.
func (h *hands) watch(honest queue.Backend, l *line) {
	l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
		claimed, err := honest.Claim(ctx, c)
		for _, t := range claimed.Tasks {
			h.set(t.Queue+"\x00"+t.ID, t.Ref())
		}
		return claimed, err
	}
}

// current is the newest claim of the task that a claim is of; only a claim that was given once counts.
func (h *hands) current(r queue.Ref) queue.Ref {
	if newest, is := h.get(r.Queue + "\x00" + r.ID); is && len(r.Token) == len(newest.Token) {
		return newest
	}
	return r
}

func settleSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "stale-settlements-are-taken", // whoever had the task once may settle it
			Case: "queue/settle/stale-done-changes-nothing", Collateral: []string{"queue/history",
				"queue/settle", "queue/lease", "queue/claim/a-wait-gets-what-loses-*", "queue/links", "queue/clock", "queue/admin/totals-*", "queue/stack",
			},
			sabotage: func(s *sabotaged) {
				h := newHands()
				queuing(func(honest queue.Backend, l *line) {
					h.watch(honest, l)
					l.settle = func(ctx context.Context, batch queue.Settlements) ([]error, error) {
						batch.Items = altered(batch.Items, func(s *queue.Settlement) { s.Ref = h.current(s.Ref) })
						return honest.Settle(ctx, batch)
					}
				})(s)
			},
		},
		{
			Name: "stale-claims-are-extended",
			Case: "queue/lease/extending-a-stale-claim-is-lost-and-keeps-nothing", Collateral: []string{
				"queue/settle", "queue/lease", "queue/claim/a-wait-gets-what-loses-*", "queue/links", "queue/clock", "queue/stack",
			},
			sabotage: func(s *sabotaged) {
				h := newHands()
				queuing(func(honest queue.Backend, l *line) {
					h.watch(honest, l)
					l.extend = func(ctx context.Context, refs []queue.Ref) ([]error, error) {
						return honest.Extend(ctx, altered(refs, func(r *queue.Ref) { *r = h.current(*r) }))
					}
				})(s)
			},
		},
		{
			Name: "extending-a-lost-claim-is-no-error",
			Case: "queue/lease/extending-what-has-ended-is-lost", Collateral: []string{"queue/lease", "queue/settle", "queue/claim/a-wait-gets-what-loses-*", "queue/links", "queue/clock", "queue/stack"},
			sabotage: changingExtensions(func(err error) error {
				if fault.CodeOf(err) == fault.LeaseLost {
					return nil
				}
				return err
			}),
		},
		{
			Name: "extending-does-nothing",
			Case: "queue/lease/extending-keeps-a-task", Collateral: []string{"queue/lease/*", "queue/admin/a-worker-hears-*", "queue/stack", "queue/clock"},
			sabotage: func(s *sabotaged) {
				h := newHands()
				queuing(func(honest queue.Backend, l *line) {
					h.watch(honest, l)
					l.extend = func(ctx context.Context, refs []queue.Ref) ([]error, error) {
						if len(refs) != 1 {
							return honest.Extend(ctx, refs)
						}
						info, err := honest.Admin.Find(ctx, refs[0].Queue, refs[0].ID)
						if h.current(refs[0]) == refs[0] && err == nil && info.State == queue.Active {
							return []error{nil}, nil
						}
						return honest.Extend(ctx, refs)
					}
				})(s)
			},
		},
		{
			Name: "a-request-to-cancel-is-not-passed-on",
			Case: "queue/admin/a-worker-hears-of-cancel-at-extend", Collateral: []string{"queue/stack"},
			sabotage: changingExtensions(func(err error) error {
				if fault.CodeOf(err) == fault.Canceled {
					return nil
				}
				return err
			}),
		},
		{
			Name: "results-are-thrown-away",
			Case: "queue/settle/a-result-is-kept-for-its-retention", Collateral: []string{"queue/settle/results-*", "queue/settle/stale-*", "queue/admin/cancelled-while-*", "queue/stack"},
			sabotage: changingSettlements(func(s *queue.Settlement) {
				if len(s.Result) < 1<<16 {
					s.Result = nil
				}
			}),
		},
		{
			Name: "a-retry-forgets-its-delay",
			Case: "queue/settle/retry-comes-again-after-its-delay", Collateral: []string{"queue/settle/*", "queue/claim/a-wait-gets-*", "queue/unique/held-*", "queue/admin/*", "queue/stack"},
			sabotage: changingSettlements(func(s *queue.Settlement) {
				if s.Outcome == queue.Retry {
					s.Delay = min(s.Delay, 0)
				}
			}),
		},
		{
			Name: "a-retry-counts-nothing",
			Case: "queue/settle/retry-counts-attempts-and-keeps-the-error", Collateral: []string{"queue/settle/*", "queue/lease/attempts-*", "queue/admin/*", "queue/stack"},
			sabotage: turning(queue.Retry, queue.Snooze),
		},
		{
			Name: "a-snooze-counts-an-attempt",
			Case: "queue/settle/snooze-comes-again-and-counts-nothing", Collateral: []string{"queue/settle/*", "queue/admin/totals-*", "queue/stack"},
			sabotage: turning(queue.Snooze, queue.Retry),
		},
		{
			Name: "a-snooze-forgets-its-error",
			Case: "queue/settle/snooze-keeps-its-error", Collateral: []string{"queue/stack/an-unknown-kind-stays"},
			sabotage: changingSettlements(func(s *queue.Settlement) {
				if s.Outcome == queue.Snooze {
					s.Error = ""
				}
			}),
		},
		{
			Name: "the-dead-are-thrown-away",
			Case: "queue/settle/dead-keeps-its-error", Collateral: []string{"queue"},
			sabotage: turning(queue.Dead, queue.Done),
		},
		{
			Name: "a-release-counts-an-attempt",
			Case: "queue/settle/released-counts-nothing", Collateral: []string{"queue"},
			sabotage: turning(queue.Release, queue.Retry),
		},
		{
			Name: "what-is-released-goes-to-the-end",
			Case: "queue/settle/released-is-first-in-line", Collateral: []string{"queue/settle/*", "queue/admin/totals-*", "queue/enqueue/what-is-returned-*"},
			sabotage: turning(queue.Release, queue.Snooze),
		},
		{
			Name: "one-stale-settlement-spoils-its-batch",
			Case: "queue/settle/a-batch-answers-for-each", Collateral: []string{"queue/settle/*"},
			sabotage: queuing(func(honest queue.Backend, l *line) {
				l.settle = func(ctx context.Context, batch queue.Settlements) ([]error, error) {
					errs, err := honest.Settle(ctx, batch)
					for _, one := range errs {
						if fault.CodeOf(one) == fault.LeaseLost {
							for i := range errs {
								errs[i] = one
							}
							break
						}
					}
					return errs, err
				}
			}),
		},
		{
			Name: "batches-are-not-remembered", // so the repeat of one whose answer was lost finds its claims gone
			Case: "queue/settle/a-repeated-batch-answers-the-same", Collateral: []string{"queue/settle/*", "queue/links", "queue/clock"},
			sabotage: func(s *sabotaged) {
				n := &counter{}
				queuing(func(honest queue.Backend, l *line) {
					l.settle = func(ctx context.Context, batch queue.Settlements) ([]error, error) {
						if batch.Worker != "" && batch.Number > 0 {
							batch.Worker, batch.Number = fmt.Sprint("call ", n.next()), 1
						}
						return honest.Settle(ctx, batch)
					}
				})(s)
			},
		},
		{
			Name: "a-repeat-is-always-fine", // whatever it was answered at first
			Case: "queue/settle/a-repeated-batch-answers-the-same", Collateral: []string{"queue/settle/*"},
			sabotage: func(s *sabotaged) {
				seen := &shared[bool]{of: map[string]bool{}}
				queuing(func(honest queue.Backend, l *line) {
					l.settle = func(ctx context.Context, batch queue.Settlements) ([]error, error) {
						errs, err := honest.Settle(ctx, batch)
						key := fmt.Sprint(batch.Number, batch.Worker)
						if _, again := seen.get(key); again && err == nil {
							clear(errs)
						}
						if err == nil {
							seen.set(key, true)
						}
						return errs, err
					}
				})(s)
			},
		},
		{
			Name: "old-batches-are-taken",
			Case: "queue/settle/a-lower-number-is-a-conflict-and-changes-nothing",
			sabotage: func(s *sabotaged) {
				n := &counter{}
				queuing(func(honest queue.Backend, l *line) {
					l.settle = func(ctx context.Context, batch queue.Settlements) ([]error, error) {
						errs, err := honest.Settle(ctx, batch)
						if fault.CodeOf(err) == fault.Conflict {
							batch.Worker = fmt.Sprint("old ", n.next())
							return honest.Settle(ctx, batch)
						}
						return errs, err
					}
				})(s)
			},
		},
	}
}

func changingExtensions(change func(error) error) func(*sabotaged) {
	return queuing(func(honest queue.Backend, l *line) {
		l.extend = func(ctx context.Context, refs []queue.Ref) ([]error, error) {
			errs, err := honest.Extend(ctx, refs)
			for i := range errs {
				errs[i] = change(errs[i])
			}
			return errs, err
		}
	})
}
