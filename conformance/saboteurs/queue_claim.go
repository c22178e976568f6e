package saboteurs

import (
	"context"
	"slices"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

func claimSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "claims-are-youngest-first",
			Case: "queue/claim/oldest-first", Collateral: []string{"queue"},
			sabotage: changingClaimed(func(_ context.Context, _ queue.Backend, claimed []queue.Leased) []queue.Leased {
				slices.Reverse(claimed)
				return claimed
			}),
		},
		{
			Name: "queues-are-taken-by-name",
			Case: "queue/claim/queues-in-the-order-given", Collateral: []string{"queue/settle/a-batch-may-be-*"},
			sabotage: changingClaims(func(c *queue.Claim) { c.Queues = slices.Sorted(slices.Values(c.Queues)) }),
		},
		{
			Name: "a-claim-takes-one-more",
			Case: "queue/claim/at-most-max", Collateral: []string{"queue"},
			sabotage: changingClaims(func(c *queue.Claim) {
				if c.Max > 0 {
					c.Max++
				}
			}),
		},
		{
			Name: "what-is-large-together-is-lost-on-the-way", // as where a reply has a bound that claims do not know
			Case: "queue/claim/many-large-tasks-all-come",
			sabotage: queuing(func(honest queue.Backend, l *line) {
				l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
					claimed, err := honest.Claim(ctx, c)
					size := 0
					for _, each := range claimed.Tasks {
						size += len(each.Payload)
					}
					if len(claimed.Tasks) > 1 && size > 2<<20 {
						return queue.Claimed{}, &fault.Error{Code: fault.Unavailable, Op: "queue: claim"}
					}
					return claimed, err
				}
			}),
		},
		{
			Name:     "a-claim-without-max-gets-one",
			Case:     "queue/claim/bad-claims-are-invalid",
			sabotage: changingClaims(func(c *queue.Claim) { c.Max = max(c.Max, 1) }),
		},
		{
			Name: "a-wait-that-is-over-is-an-error",
			Case: "queue/claim/waiting-ends-when-it-is-over", Collateral: []string{"queue/claim/*", "queue/lease/a-lost-task-*", "queue/stack"},
			sabotage: queuing(func(honest queue.Backend, l *line) {
				l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
					claimed, err := honest.Claim(ctx, c)
					if err == nil && len(claimed.Tasks) == 0 && c.Wait > 0 && ctx.Err() == nil {
						err = &fault.Error{Code: fault.DeadlineExceeded, Op: "queue: claim"}
					}
					return claimed, err
				}
			}),
		},
		{
			Name: "a-context-that-ends-a-wait-is-an-error",
			Case: "queue/claim/waiting-ends-with-its-context", Collateral: []string{"queue/claim/a-wait-that-gave-up-*", "queue/stack"},
			sabotage: queuing(func(honest queue.Backend, l *line) {
				l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
					claimed, err := honest.Claim(ctx, c)
					if err == nil && len(claimed.Tasks) == 0 {
						err = fault.FromContext(ctx)
					}
					return claimed, err
				}
			}),
		},
		{
			Name: "nothing-wakes-a-wait",
			Case: "queue/claim/a-wait-gets-what-another-node-enqueues", Collateral: []string{"queue/claim/*", "queue/lease/a-lost-task-*", "queue/stack", "transport/namespaces/queues-*"},
			sabotage: queuing(func(honest queue.Backend, l *line) {
				l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
					wait := c.Wait
					c.Wait = min(c.Wait, 0)
					claimed, err := honest.Claim(ctx, c)
					if err != nil || len(claimed.Tasks) > 0 || wait <= 0 {
						return claimed, err
					}
					over := time.NewTimer(wait)
					defer over.Stop()
					select {
					case <-over.C:
						return honest.Claim(ctx, c)
					case <-ctx.Done():
						return queue.Claimed{}, nil
					}
				}
			}),
		},
		{
			Name: "a-wait-that-gave-up-takes-a-task-all-the-same", // as a blocking read does that nobody can call back
			Case: "queue/claim/a-cancelled-claim-loses-no-task", Collateral: []string{"queue/history", "queue/claim/*", "queue/stack", "queue/nodes"},
			sabotage: queuing(func(honest queue.Backend, l *line) {
				l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
					if ctx.Err() != nil || c.Wait <= 0 {
						return honest.Claim(ctx, c)
					}
					type answer struct {
						claimed queue.Claimed
						err     error
					}
					answers := make(chan answer)
					go func() {
						c.Wait = min(c.Wait, time.Second)
						claimed, err := honest.Claim(endless(ctx), c)
						select {
						case answers <- answer{claimed, err}:
						case <-ctx.Done():
							finish(endless(ctx), honest, claimed.Tasks)
						}
					}()
					select {
					case a := <-answers:
						return a.claimed, a.err
					case <-ctx.Done():
						return queue.Claimed{}, nil
					}
				}
			}),
		},
		{
			Name: "a-task-in-hand-is-given-again",
			Case: "queue/lease/a-task-in-hand-is-nobody-elses", Collateral: []string{"queue"},
			sabotage: func(s *sabotaged) {
				last := &shared[queue.Leased]{of: map[string]queue.Leased{}}
				queuing(func(honest queue.Backend, l *line) {
					l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
						claimed, err := honest.Claim(ctx, c)
						if err != nil {
							return claimed, err
						}
						for _, name := range c.Queues {
							if again, is := last.take(name); is && len(claimed.Tasks) == 0 {
								claimed.Tasks = append(claimed.Tasks, again)
							}
						}
						for _, t := range claimed.Tasks {
							last.first(t.Queue, t)
						}
						return claimed, nil
					}
				})(s)
			},
		},
		{
			Name: "task-leases-end-early", // after nine tenths
			Case: "queue/lease/lasts-its-time-and-no-longer", Collateral: []string{"queue/lease", "queue/claim/a-wait-gets-what-loses-*", "queue/stack", "queue/admin/*", "queue/links", "queue/nodes", "queue/unique/held-when-*", "queue/settle/*"},
			sabotage: func(s *sabotaged) {
				said := &shared[time.Duration]{of: map[string]time.Duration{}}
				s.queue = func(b *queue.Backend) {
					honest := *b
					b.Admin = hasty{b.Admin, said}
					b.Driver = &line{Driver: honest.Driver, claim: func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
						claimed, err := honest.Claim(ctx, c)
						for i := range claimed.Tasks {
							if lease, is := said.get(claimed.Tasks[i].Queue); is {
								claimed.Tasks[i].Lease = lease
							}
						}
						return claimed, err
					}}
				}
			},
		},
		{
			Name: "a-lost-task-is-dropped",
			Case: "queue/lease/a-lost-one-counts-as-lost-not-as-an-attempt", Collateral: []string{"queue"},
			sabotage: changingClaimed(func(ctx context.Context, honest queue.Backend, claimed []queue.Leased) []queue.Leased {
				return slices.DeleteFunc(claimed, func(l queue.Leased) bool {
					if l.Lost > 0 {
						finish(ctx, honest, []queue.Leased{l})
					}
					return l.Lost > 0
				})
			}),
		},
		{
			Name: "claiming-is-settling", // so a worker's crash loses its tasks
			Case: "queue/lease/many-lost-at-once-all-come-back", Collateral: []string{"queue"},
			sabotage: func(s *sabotaged) {
				hands := &shared[string]{of: map[string]string{}}
				queuing(func(honest queue.Backend, l *line) {
					l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
						claimed, err := honest.Claim(ctx, c)
						for _, t := range claimed.Tasks {
							hands.set(t.Queue+"\x00"+t.ID, t.Token)
						}
						finish(ctx, honest, claimed.Tasks)
						return claimed, err
					}
					l.settle = func(ctx context.Context, batch queue.Settlements) ([]error, error) {
						errs, err := honest.Settle(ctx, batch)
						for i := range errs {
							item := &batch.Items[i]
							key := item.Queue + "\x00" + item.ID
							if token, is := hands.get(key); is && token == item.Token && fault.CodeOf(errs[i]) == fault.LeaseLost {
								hands.take(key)
								errs[i] = nil
							}
						}
						return errs, err
					}
				})(s)
			},
		},
		{
			Name: "a-lost-lease-counts-as-an-attempt",
			Case: "queue/lease/a-lost-one-counts-as-lost-not-as-an-attempt", Collateral: []string{"queue/lease/attempts-*", "queue/links", "queue/nodes"},
			sabotage: changingClaimed(func(_ context.Context, _ queue.Backend, claimed []queue.Leased) []queue.Leased {
				for i := range claimed {
					claimed[i].Attempts += claimed[i].Lost
				}
				return claimed
			}),
		},
		{
			Name: "a-node-reckons-with-its-own-lease",
			Case: "queue/lease/is-a-property-of-the-queue", Collateral: []string{"queue/lease", "queue/unique/*", "queue/settle/stale-*", "queue/links", "queue/nodes", "queue/stack", "queue/claim/a-wait-gets-what-loses-*", "queue/admin/a-worker-hears-*"},
			sabotage: changingClaimed(func(_ context.Context, _ queue.Backend, claimed []queue.Leased) []queue.Leased {
				for i := range claimed {
					claimed[i].Lease = queue.DefaultLease
				}
				return claimed
			}),
		},
	}
}

// hasty makes leases shorter than it says.
type hasty struct {
	queue.Admin
	said *shared[time.Duration]
}

func (h hasty) Configure(ctx context.Context, name string, p queue.Properties) error {
	if p.Lease > 50*time.Millisecond {
		h.said.set(name, p.Lease)
		p.Lease -= p.Lease / 10
	}
	return h.Admin.Configure(ctx, name, p)
}

func (h hasty) Properties(ctx context.Context, name string) (queue.Properties, error) {
	p, err := h.Admin.Properties(ctx, name)
	if lease, is := h.said.get(name); is && p.Lease != queue.DefaultLease {
		p.Lease = lease
	}
	return p, err
}

// finish completes claims behind everybody's back.
func finish(ctx context.Context, honest queue.Backend, claimed []queue.Leased) {
	for _, l := range claimed {
		_, _ = honest.Settle(ctx, queue.Settlements{
			Worker: "saboteur of " + l.Token[:min(len(l.Token), 100)], Number: 1, Items: []queue.Settlement{{Ref: l.Ref(), Outcome: queue.Done}},
		})
	}
}
