package saboteurs

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/gobackplane/backplane/queue"
)

func enqueueSaboteurs() []Saboteur {
	return []Saboteur{
		{
			Name: "tasks-lose-their-timeout",
			Case: "queue/enqueue/a-task-comes-back-with-every-field", Collateral: []string{"queue/admin/lists-show-whole-tasks"},
			sabotage: changingTasks(func(t *queue.Task) { t.Timeout = min(t.Timeout, 0) }),
		},
		{
			Name: "task-headers-are-lower-cased",
			Case: "queue/enqueue/headers-keep-case-and-bytes", Collateral: []string{"queue/enqueue/a-task-comes-back-*", "queue/admin/lists-show-*"},
			sabotage: changingTasks(func(t *queue.Task) {
				headers := map[string]string{}
				for key, value := range t.Headers {
					headers[strings.ToLower(key)] = value
				}
				t.Headers = headers
			}),
		},
		{
			Name: "task-payloads-end-at-a-nul",
			Case: "queue/enqueue/every-payload-survives", Collateral: []string{"queue/enqueue/the-largest-payload-*", "queue/enqueue/headers-count-*", "queue/claim/many-large-tasks-all-come", "queue/admin/lists-show-*"},
			sabotage: changingTasks(func(t *queue.Task) {
				t.Payload, _, _ = bytes.Cut(t.Payload, []byte{0})
			}),
		},
		{
			Name: "task-names-are-trimmed",
			Case: "queue/enqueue/unusual-ids-are-their-own-tasks", Collateral: []string{"queue/enqueue/ids-that-*", "queue/enqueue/unusual-*"},
			sabotage: changingTasks(func(t *queue.Task) { t.ID = strings.TrimSpace(t.ID) }),
		},
		{
			Name: "large-tasks-are-cut",
			Case: "queue/enqueue/the-largest-payload-and-not-one-byte-more", Collateral: []string{"queue/enqueue/headers-count-*"},
			sabotage: queuing(func(honest queue.Backend, l *line) {
				l.enqueue = func(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
					return honest.Enqueue(ctx, altered(tasks, func(t *queue.Task) {
						most := honest.Capabilities.MaxPayload
						for key, value := range t.Headers {
							most -= len(key) + len(value)
						}
						if most >= 0 && len(t.Payload) > most {
							t.Payload = t.Payload[:most]
						}
					}))
				}
			}),
		},
		{
			Name: "claims-share-their-payload",
			Case: "queue/enqueue/what-is-returned-is-the-callers",
			sabotage: func(s *sabotaged) {
				shown := &shared[[]byte]{of: map[string][]byte{}}
				changingClaimed(func(_ context.Context, _ queue.Backend, claimed []queue.Leased) []queue.Leased {
					for i := range claimed {
						claimed[i].Payload = shown.first(claimed[i].Queue+"\x00"+claimed[i].ID, claimed[i].Payload)
					}
					return claimed
				})(s)
			},
		},
		{
			Name: "the-last-of-a-batch-is-dropped",
			Case: "queue/enqueue/a-batch-has-a-receipt-for-each", Collateral: []string{"queue"},
			sabotage: queuing(func(honest queue.Backend, l *line) {
				l.enqueue = func(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
					if len(tasks) < 2 {
						return honest.Enqueue(ctx, tasks)
					}
					last := len(tasks) - 1
					receipts, err := honest.Enqueue(ctx, tasks[:last])
					if err != nil {
						return nil, err
					}
					return append(receipts, queue.Receipt{ID: tasks[last].ID}), nil
				}
			}),
		},
		{
			Name: "one-task-in-a-hundred-is-lost",
			Case: "queue/admin/no-task-is-lost-or-doubled-under-load", Collateral: []string{"queue"},
			sabotage: func(s *sabotaged) {
				n := &counter{}
				queuing(func(honest queue.Backend, l *line) {
					l.enqueue = func(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
						if len(tasks) == 1 && n.next()%100 == 0 {
							return []queue.Receipt{{ID: tasks[0].ID}}, nil
						}
						return honest.Enqueue(ctx, tasks)
					}
				})(s)
			},
		},
		{
			Name: "duplicates-are-not-told",
			Case: "queue/enqueue/an-id-is-taken-once", Collateral: []string{"queue/history", "queue/enqueue", "queue/unique", "queue/settle", "queue/admin/totals-*", "queue/lease/lost-too-often-*"},
			sabotage: changingReceipts(func(_ queue.Task, r *queue.Receipt) { r.Duplicate = false }),
		},
		{
			Name: "callers-ids-are-forgotten",
			Case: "queue/enqueue/a-callers-id-stays-known-when-done", Collateral: []string{"queue/enqueue/*", "queue/clock/a-callers-id-*", "queue/admin/lists-show-*"},
			sabotage: changingTasks(func(t *queue.Task) { t.CallerID = false }),
		},
		{
			Name: "unique-keys-are-ignored",
			Case: "queue/unique/held-while-scheduled-pending-and-active", Collateral: []string{
				"queue/unique", "queue/enqueue/a-task-comes-back-*", "queue/enqueue/a-batch-*", "queue/enqueue/unusual-*", "queue/enqueue/the-longest-*",
				"queue/lease/lost-too-often-*", "queue/settle/stale-*",
			},
			sabotage: changingTasks(func(t *queue.Task) {
				if len(t.UniqueKey) <= 500 {
					t.UniqueKey = ""
				}
			}),
		},
		{
			Name: "a-refused-task-takes-its-id",
			Case: "queue/unique/a-refused-task-does-not-take-its-id", Collateral: []string{"queue/unique", "queue/enqueue/a-batch-*", "queue/settle/stale-*", "queue/lease/lost-*"},
			sabotage: func(s *sabotaged) {
				taken := &shared[string]{of: map[string]string{}}
				changingReceipts(func(t queue.Task, r *queue.Receipt) {
					if r.Duplicate && r.ID != t.ID {
						taken.first(t.Queue+"\x00"+t.ID, r.ID)
					} else if _, is := taken.get(t.Queue + "\x00" + t.ID); is && r.Err == nil {
						*r = queue.Receipt{ID: t.ID, Duplicate: true}
					}
				})(s)
			},
		},
		{
			Name: "scheduled-tasks-run-early", // by a fifth of their time
			Case: "queue/schedule/not-before-its-time-and-soon-after", Collateral: []string{"queue/schedule", "queue/claim/a-wait-*", "queue/clock/*", "queue/admin/lists-*"},
			sabotage: changingTasks(func(t *queue.Task) {
				if left := time.Until(t.RunAt); left > 0 {
					t.RunAt = t.RunAt.Add(-left / 5)
				}
			}),
		},
		{
			Name: "times-are-cut-to-seconds",
			Case: "queue/schedule/parts-of-a-second-count", Collateral: []string{"queue/schedule", "queue/claim/a-wait-*"},
			sabotage: changingTasks(func(t *queue.Task) {
				if time.Until(t.RunAt) > 0 {
					t.RunAt = t.RunAt.Truncate(time.Second)
				}
			}),
		},
		{
			Name: "priorities-are-ignored",
			Case: "queue/claim/highest-priority-first-then-oldest", Collateral: []string{"queue/enqueue/a-task-comes-back-*", "queue/enqueue/bad-tasks-*", "queue/settle/released-keeps-*"},
			sabotage: changingTasks(func(t *queue.Task) { t.Priority = min(t.Priority, 0) }),
		},
		{
			Name: "a-task-is-lost-for-ever-without-end", // it never dies of it
			Case: "queue/lease/lost-too-often-is-dead-with-the-reason", Collateral: []string{"queue/enqueue", "queue/lease/a-lost-*", "queue/settle/*", "queue/admin/lists-show-*"},
			sabotage: func(s *sabotaged) {
				queuing(func(honest queue.Backend, l *line) {
					const many = 1000
					l.enqueue = func(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
						return honest.Enqueue(ctx, altered(tasks, func(t *queue.Task) { t.MaxLost *= many }))
					}
					l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
						claimed, err := honest.Claim(ctx, c)
						for i := range claimed.Tasks {
							claimed.Tasks[i].MaxLost /= many
						}
						return claimed, err
					}
				})(s)
			},
		},
	}
}
