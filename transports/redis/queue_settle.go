package redis

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

var (
	settleScript = newScript("queue_settle", "when_full", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_wake", "queue_settle")
	extendScript = newScript("queue_extend", "when_full", "queue_keys", "queue_member", "queue_time", "queue_extend")
)

// answerMemory is how long the answer to a sender's last batch is kept: the contract says 10 minutes.
const answerMemory = 15 * time.Minute

// outcomes as the settlement script names them.
var outcomes = map[queue.Outcome]string{
	queue.Done: "done", queue.Retry: "retry", queue.Snooze: "snooze", queue.Dead: "dead", queue.Release: "release",
}

// Settle ends leases; see [queue.Driver].
func (d *queueDriver) Settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	if err := fault.FromContext(ctx); err != nil {
		return nil, d.t.fault(err, "queue: settle", s.Worker)
	}
	if err := d.check.Settlements(s); err != nil {
		return nil, err
	}
	return d.settle(ctx, s)
}

// settle sends a batch. Number 0 is one whose answer need not be remembered.
func (d *queueDriver) settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	const op = "queue: settle"
	errs := make([]error, len(s.Items))
	order := make([]int, 0, len(s.Items)) // of the items in the script's arguments
	for i := range s.Items {
		if errs[i] = d.check.Settlement(&s.Items[i]); errs[i] == nil {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(s.Items[a].Queue, s.Items[b].Queue) })
	call := append(settleScript.begin(d.prefix, 7+len(order)), s.Worker, strconv.FormatUint(s.Number, 10),
		answerMemory.Milliseconds(), queueCapabilities.IDMemory.Milliseconds())
	call = appendSettlements(call, s.Items, order)
	reply, err := d.run(ctx, d.settles, op, s.Worker, redis.NewCmd(ctx, call...))
	if err != nil {
		return nil, err
	}
	if len(reply) < 2 || number(reply[0]) == 0 {
		return nil, d.t.fault(fault.New(fault.Conflict, "batch %d is old, or another one: the last of this sender was %d",
			s.Number, number(reply[len(reply)-1])), op, s.Worker)
	}
	for at := range positions(text(reply[1]), len(order)) {
		errs[order[at]] = d.leaseLost(op, s.Items[order[at]].Ref)
	}
	return errs, nil
}

func (d *queueDriver) leaseLost(op string, r queue.Ref) error {
	err := fault.New(fault.LeaseLost, "the lease has ended or belongs to another claim; nothing was changed")
	return d.t.fault(err, op, r.ID)
}

// isPlain tells whether a settlement needs nothing but its lease ended and its task deleted.
func isPlain(s *queue.Settlement) bool { return s.Outcome == queue.Done && !isSpecial(s.Token) }

// appendSettlements adds the items, in an order by queue, to the script's arguments.
func appendSettlements(args []any, items []queue.Settlement, order []int) []any {
	leases := newLeaseNames(len(order), func(at int) *queue.Ref { return &items[order[at]].Ref })
	for len(order) > 0 {
		name := items[order[0]].Queue
		n := 1
		for n < len(order) && items[order[n]].Queue == name {
			n++
		}
		group := order[:n]
		order = order[n:]
		attributed := 0
		head := len(args)
		args = append(args, name, n, 0)
		for range group {
			args, leases = append(args, &leases[0]), leases[1:]
		}
		for at, i := range group {
			if s := &items[i]; !isPlain(s) {
				args = append(args, at+1, outcomes[s.Outcome], millis(s.Delay), limits.CutError(s.Error), s.Result)
				attributed++
			}
		}
		args[head+2] = attributed
	}
	return args
}

// newLeaseNames gives the store's names of leases: the task and the token. They are parts of one text, and are given to
// go-redis by their address, so that a batch takes a few allocations whatever its size.
func newLeaseNames(n int, ref func(at int) *queue.Ref) []string {
	size := 0
	for at := range n {
		size += taskKeySize(ref(at).ID) + len(ref(at).Token)
	}
	var key [3 + 512]byte // the longest there is
	var all strings.Builder
	all.Grow(size)
	for at := range n {
		all.Write(appendTaskKey(key[:0], ref(at).ID))
		all.WriteString(ref(at).Token)
	}
	names, rest := make([]string, n), all.String()
	for at := range names {
		end := taskKeySize(ref(at).ID) + len(ref(at).Token)
		names[at], rest = rest[:end], rest[end:]
	}
	return names
}

// Extend makes leases longer; see [queue.Driver].
func (d *queueDriver) Extend(ctx context.Context, refs []queue.Ref) ([]error, error) {
	const op = "queue: extend"
	if err := fault.FromContext(ctx); err != nil {
		return nil, d.t.fault(err, op, "")
	}
	if err := d.check.Batch(op, len(refs)); err != nil {
		return nil, err
	}
	errs := make([]error, len(refs))
	order := make([]int, 0, len(refs))
	for i, r := range refs {
		if errs[i] = d.check.Ref(op, r); errs[i] == nil {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(refs[a].Queue, refs[b].Queue) })
	leases := newLeaseNames(len(order), func(at int) *queue.Ref { return &refs[order[at]] })
	call := extendScript.begin(d.prefix, 2+len(order))
	head := 0 // where the count of the group is
	for at, i := range order {
		if at == 0 || refs[order[at-1]].Queue != refs[i].Queue {
			call = append(call, refs[i].Queue, 0)
			head = len(call) - 1
		}
		call[head] = call[head].(int) + 1
		call = append(call, &leases[at])
	}
	reply, err := d.run(ctx, d.settles, op, "", redis.NewCmd(ctx, call...))
	if err != nil {
		return nil, err
	}
	if len(reply) < 2 {
		return nil, d.t.fault(fault.New(fault.Internal, "the reply of the extend script cannot be read"), op, "")
	}
	for at := range positions(text(reply[0]), len(order)) {
		errs[order[at]] = d.leaseLost(op, refs[order[at]])
	}
	for at := range positions(text(reply[1]), len(order)) {
		canceled := fault.New(fault.Canceled, "somebody asked to cancel the task; its lease was extended")
		errs[order[at]] = d.t.fault(canceled, op, refs[order[at]].ID)
	}
	return errs, nil
}

// positions yields the numbers of a script's answer "3 17", which count from 1, as indices below n.
func positions(answer string, n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for field := range strings.FieldsSeq(answer) {
			at, err := strconv.Atoi(field)
			if err == nil && at >= 1 && at <= n && !yield(at-1) {
				return
			}
		}
	}
}
