package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

const (
	defaultTaskPage = 100
	largestTaskPage = 1000
	// pageBytes ends a page of large tasks.
	pageBytes = 4 << 20
	// eachBatch is how many messages are asked for at once.
	eachBatch = 200
)

// each calls see with the messages of a filter from a sequence on, in order, until it says false or none is left. A limit
// that is not 0 says how many will be wanted.
func (d *queueDriver) each(ctx context.Context, filter string, from uint64, limit int, see func(kept) bool) error {
	for {
		n := eachBatch
		if limit > 0 {
			n = min(n, limit+1)
		}
		batch, err := d.following(ctx, filter, max(from, 1), n)
		if err != nil {
			return err
		}
		for _, m := range batch {
			if !see(m) {
				return nil
			}
			from = m.seq + 1
		}
		if len(batch) == 0 {
			return nil
		}
	}
}

// following are up to n messages of a filter from a sequence on; none: there are no more.
func (d *queueDriver) following(ctx context.Context, filter string, from uint64, n int) ([]kept, error) {
	if !d.direct { // one by one, from the leader: another replica may not have what was just written
		m, err := d.readOne(ctx, d.names.stream, wanted{Seq: from, Next: filter})
		if err != nil || m.seq == 0 {
			return nil, err
		}
		return []kept{m}, nil
	}
	data, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": filter, "batch": n, "max_bytes": pageBytes})
	if err != nil {
		return nil, err
	}
	var batch []kept
	var failed error
	err = d.wire.ask(ctx, 1, func(int) *nats.Msg {
		return &nats.Msg{Subject: d.api + "DIRECT.GET." + d.names.stream, Data: data}
	}, func(_ int, m *nats.Msg) bool {
		switch m.Header.Get(headerStatus) {
		case "204", "404":
			return true
		}
		one, err := readDirect(m)
		if err != nil {
			failed = err
			return true
		}
		batch = append(batch, one)
		return false
	})
	if err == nil {
		err = failed
	}
	return batch, err
}

// List shows one page of tasks; see [queue.Admin]. Active ones are listed by their last heartbeat. A page of scheduled
// ones costs as much as there are scheduled tasks in the queue, because they are stored in the order in which they came.
func (a *queueAdmin) List(ctx context.Context, l queue.List) (queue.Tasks, error) {
	const op = "queue: list"
	d := a.d
	if err := a.begin(ctx, op, l.Queue); err != nil {
		return queue.Tasks{}, err
	}
	if err := d.check.List(l); err != nil {
		return queue.Tasks{}, err
	}
	at, err := readPlace(l.Cursor)
	if err != nil {
		return queue.Tasks{}, d.core.fault(fault.New(fault.Invalid, "the cursor is none that List gave; begin without one"), op, l.Queue)
	}
	if l.Limit == 0 {
		l.Limit = defaultTaskPage
	}
	l.Limit = min(l.Limit, largestTaskPage)
	var page queue.Tasks
	switch l.State {
	case queue.Pending:
		page, err = d.listPending(ctx, l, at)
	case queue.Scheduled:
		page, err = d.listScheduled(ctx, l, at)
	default:
		page, err = d.listHeld(ctx, l, at)
	}
	return page, d.core.fault(err, op, l.Queue)
}

// listPlace is where a page begins: after this in the order of the listing.
type listPlace struct {
	major int64 // the lane's rank, or the run time
	minor uint64
}

func (p listPlace) String() string {
	return strconv.FormatInt(p.major, 36) + "." + strconv.FormatUint(p.minor, 36)
}

func readPlace(cursor string) (p listPlace, err error) {
	if cursor == "" {
		return p, nil
	}
	major, minor, _ := strings.Cut(cursor, ".")
	if p.major, err = strconv.ParseInt(major, 36, 64); err != nil {
		return p, err
	}
	p.minor, err = strconv.ParseUint(minor, 36, 64)
	return p, err
}

// pageOf collects a page.
type pageOf struct {
	queue.Tasks
	limit, bytes int
	last         listPlace
}

// add is false when the page is full; then there is a next one.
func (p *pageOf) add(info queue.Info, at listPlace) bool {
	if len(p.Tasks.Tasks) == p.limit || p.bytes > pageBytes {
		p.Next = p.last.String()
		return false
	}
	p.Tasks.Tasks = append(p.Tasks.Tasks, info)
	p.bytes += len(info.Payload) + len(info.Result) + limits.HeaderSize(info.Headers)
	p.last = at
	return true
}

func (d *queueDriver) listHeld(ctx context.Context, l queue.List, at listPlace) (queue.Tasks, error) {
	page := pageOf{limit: l.Limit}
	now := d.clock.now()
	err := d.each(ctx, d.names.state(taskToken(l.Queue), heldState[l.State]), at.minor+1, l.Limit, func(m kept) bool {
		info := d.info(m, l.State)
		if l.State == queue.Completed && !info.Expires.IsZero() && !now.Before(info.Expires) {
			return true
		}
		return page.add(info, listPlace{minor: m.seq})
	})
	return page.Tasks, err
}

func (d *queueDriver) listPending(ctx context.Context, l queue.List, at listPlace) (queue.Tasks, error) {
	q := taskToken(l.Queue)
	setting, err := d.settingOf(ctx, q)
	if err != nil {
		return queue.Tasks{}, err
	}
	setting.Paused = false
	page := pageOf{limit: l.Limit}
	for rank, lane := range d.appendLanes(nil, q, setting) {
		from := uint64(0)
		switch major := int64(rank); {
		case major < at.major:
			continue
		case major == at.major:
			from = at.minor + 1
		}
		for more := true; more; {
			var some []kept
			if err := d.each(ctx, d.names.lane(q, lane.name), from, eachBatch, func(m kept) bool {
				some, from = append(some, m), m.seq+1
				return len(some) < eachBatch
			}); err != nil {
				return queue.Tasks{}, err
			}
			more = len(some) == eachBatch
			if some, err = d.withoutLeftovers(ctx, some); err != nil {
				return queue.Tasks{}, err
			}
			for _, m := range some {
				if !page.add(d.info(m, queue.Pending), listPlace{int64(rank), m.seq}) {
					return page.Tasks, nil
				}
			}
		}
	}
	return page.Tasks, nil
}

// withoutLeftovers gives those ready messages whose tasks are not held.
func (d *queueDriver) withoutLeftovers(ctx context.Context, all []kept) ([]kept, error) {
	asked := make([]wanted, len(all))
	for i, m := range all {
		if place, ok := d.names.parse(m.subject); ok {
			asked[i].Last = d.names.heldOf(place.queue, place.id)
		}
	}
	held, err := d.read(ctx, d.names.stream, asked...)
	if err != nil {
		return nil, err
	}
	pending := all[:0]
	for i, m := range all {
		if held[i].seq == 0 {
			pending = append(pending, m)
		}
	}
	return pending, nil
}

// listScheduled sorts by run time, which the tasks' subjects do not tell: it reads them all.
func (d *queueDriver) listScheduled(ctx context.Context, l queue.List, at listPlace) (queue.Tasks, error) {
	type due struct {
		listPlace
		m kept
	}
	var nearest []due // the limit+1 nearest after the place
	order := func(a, b due) int { return cmp.Or(cmp.Compare(a.major, b.major), cmp.Compare(a.minor, b.minor)) }
	trim := func() {
		slices.SortFunc(nearest, order)
		nearest = nearest[:min(len(nearest), l.Limit+1)]
	}
	if err := d.each(ctx, d.names.state(taskToken(l.Queue), heldScheduled), 0, 0, func(m kept) bool {
		info := d.info(m, queue.Scheduled)
		one := due{listPlace{info.RunAt.UnixMicro(), m.seq}, m}
		if l.Cursor == "" || order(one, due{listPlace: at}) > 0 {
			if nearest = append(nearest, one); len(nearest) > 2*(l.Limit+1) {
				trim()
			}
		}
		return true
	}); err != nil {
		return queue.Tasks{}, err
	}
	trim()
	page := pageOf{limit: l.Limit}
	for _, one := range nearest {
		if !page.add(d.info(one.m, queue.Scheduled), one.listPlace) {
			break
		}
	}
	return page.Tasks, nil
}

// info shows a task.
func (d *queueDriver) info(m kept, state queue.State) queue.Info {
	info := queue.Info{State: state}
	p, record, err := readTaskRecord(m.data)
	if err == nil {
		info.Task, err = readTask(record, &p)
	}
	if err != nil {
		place, _ := d.names.parse(m.subject)
		info.Task, info.Err = d.damaged(place), fault.In(err, "queue: read task", place.id)
	}
	info.Since = p.since
	switch state {
	case queue.Active:
		info.Holder, info.Expires = p.worker, p.ends
	case queue.Completed:
		info.Expires = p.ends
		if len(p.result) > 0 {
			info.Result = slices.Clone(p.result)
		}
	case queue.Pending:
		if p.claim != "" { // it comes from a lease that was lost, which is counted when it is claimed
			info.Lost++
			info.Since = p.ends
		} else if p.due.After(p.since) {
			info.Since = p.due
		}
	}
	return info
}

// Find shows one task.
func (a *queueAdmin) Find(ctx context.Context, name, id string) (queue.Info, error) {
	const op = "queue: find"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Info{}, err
	}
	if err := a.d.check.ID(op, id); err != nil {
		return queue.Info{}, err
	}
	f, err := a.d.look(ctx, name, id)
	if err != nil {
		return queue.Info{}, a.d.core.fault(err, op, id)
	}
	return a.d.info(f.m, f.state), nil
}
