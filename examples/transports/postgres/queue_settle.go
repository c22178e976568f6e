package postgres

import (
	"context"
	"math"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// Settle ends leases. What is done and not kept is one DELETE, all else one UPDATE, and the sender's last answer is stored
// in the same transaction.
func (d *tasks) Settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	const op = "queue: settle"
	at := check{op, s.Worker}
	if err := d.begin(ctx, op, len(s.Items)); err != nil {
		return nil, err
	}
	if err := at.name("worker", s.Worker, queueCapabilities.MaxName); err != nil {
		return nil, err
	}
	if s.Number == 0 {
		return nil, at.refuse(fault.Invalid, "the batch has number 0; they count from 1")
	}
	errs := make([]error, len(s.Items))
	for i := range s.Items {
		errs[i] = checkSettlement(&s.Items[i])
	}
	items := s.Items
	order := inOrder(len(items), func(i int) bool { return errs[i] != nil }, func(i int) string { return items[i].Queue + "\x00" + items[i].ID })
	args := append([]any{d.t.ns, []byte(s.Worker), int64(min(s.Number, math.MaxInt64)), len(items)},
		refArgs(order, func(i int) *queue.Ref { return &items[i].Ref })...)
	args = append(args,
		pick(order, func(i int) int16 { return int16(items[i].Outcome) }),
		pick(order, func(i int) int64 { return micros(items[i].Delay) }),
		pick(order, func(i int) []byte { return nullable(cut(items[i].Error, maxError)) }),
		pick(order, func(i int) []byte { return items[i].Result }),
		d.t.receiver.channels.wake,
	)
	var verdict int
	var last int64
	var stale []int32
	err := d.t.store.row(ctx, "SELECT * FROM queue_settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", args, &verdict, &last, &stale)
	if err != nil {
		return nil, d.t.fault(err, op, s.Worker)
	}
	switch verdict {
	case 2:
		return nil, at.refuse(fault.Conflict, "batch %d is old: the last one was %d", s.Number, last)
	case 3:
		return nil, at.refuse(fault.Conflict, "batch %d was another one, which had not %d settlements", s.Number, len(items))
	}
	for _, n := range stale {
		if int(n) <= len(order) {
			i := order[n-1]
			errs[i] = leaseLost(op, items[i].ID)
		}
	}
	return errs, nil
}

func leaseLost(op, id string) error {
	return check{op, id}.refuse(fault.LeaseLost, "the claim has ended: the task was settled, or its lease was lost and it was given to another; nothing was changed")
}

// refArgs are queues, IDs and tokens of claims. A token that the store could not have given is none.
func refArgs(order []int, ref func(i int) *queue.Ref) []any {
	return []any{
		pick(order, func(i int) []byte { return []byte(ref(i).Queue) }),
		pick(order, func(i int) []byte { return []byte(ref(i).ID) }),
		pick(order, func(i int) string { return tokenOf(ref(i).Token) }),
	}
}

func tokenOf(token string) string {
	for i := range len(token) {
		if c := token[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && c != '-' {
			return ""
		}
	}
	return token
}

// Extend makes leases last on.
func (d *tasks) Extend(ctx context.Context, refs []queue.Ref) ([]error, error) {
	const op = "queue: extend"
	if err := d.begin(ctx, op, len(refs)); err != nil {
		return nil, err
	}
	errs := make([]error, len(refs))
	for i := range refs {
		errs[i] = checkRef(op, &refs[i])
	}
	order := inOrder(len(refs), func(i int) bool { return errs[i] != nil }, func(i int) string { return refs[i].Queue + "\x00" + refs[i].ID })
	var i, code int
	args := append([]any{d.t.ns}, refArgs(order, func(i int) *queue.Ref { return &refs[i] })...)
	err := d.t.store.rows(ctx, "SELECT * FROM queue_extend($1, $2, $3, $4)", args, []any{&i, &code}, func() error {
		id := refs[order[i-1]].ID
		if code == codeCancelled {
			errs[order[i-1]] = check{op, id}.refuse(fault.Canceled, "somebody asked to cancel the task; its lease was extended")
		} else {
			errs[order[i-1]] = leaseLost(op, id)
		}
		return nil
	})
	if err != nil {
		return nil, d.t.fault(err, op, "")
	}
	return errs, nil
}
