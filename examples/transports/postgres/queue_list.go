package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

// A page of tasks ends after this many, or this many bytes of them.
const (
	taskPageLimit = 500
	taskPageBytes = 8 << 20
)

// shown are the columns of a task as an operator sees it, and its place in the listing of its state.
type shown struct {
	id, body, err, result, worker []byte
	state                         int16
	rank                          int16
	turn                          int64
	attempts, lost                int
	since                         time.Time
	due, runAt                    *time.Time
}

const shownColumns = "t.id, t.body, t.error, t.result, t.worker, t.state, t.rank, t.turn, t.attempts, t.lost, t.since, t.due, t.run_at"

func (s *shown) into() []any {
	return []any{&s.id, &s.body, &s.err, &s.result, &s.worker, &s.state, &s.rank, &s.turn, &s.attempts, &s.lost, &s.since, &s.due, &s.runAt}
}

// info shows the task. What was scanned is the caller's: pgx copies.
func (s *shown) info(name string) queue.Info {
	i := queue.Info{State: stateOf(s.state), Since: s.since}
	i.ID, i.Queue = string(s.id), name
	if i.Err = decodeTask(s.body, &i.Task); i.Err != nil {
		i.Task = queue.Task{ID: i.ID, Queue: name}
		return i
	}
	i.Attempts, i.Lost, i.LastError = s.attempts, s.lost, string(s.err)
	if s.runAt != nil {
		i.RunAt = *s.runAt
	}
	switch i.State {
	case queue.Active:
		i.Holder, i.Expires = string(s.worker), *s.due
	case queue.Completed:
		i.Result, i.Expires = slices.Clone(s.result), *s.due
	}
	return i
}

// listed gives, for each state, the order of its listing: by three columns, of which a cursor holds the last values.
var listed = map[queue.State]string{
	queue.Pending:    "t.rank::bigint, 0::bigint, t.turn",
	queue.Scheduled:  "0::bigint, " + microsecondsOf("t.due") + ", t.turn",
	queue.Active:     "0::bigint, " + microsecondsOf("t.since") + ", t.turn",
	queue.Completed:  "0::bigint, " + microsecondsOf("t.since") + ", t.turn",
	queue.DeadLetter: "0::bigint, " + microsecondsOf("t.since") + ", t.turn",
	queue.Cancelled:  "0::bigint, " + microsecondsOf("t.since") + ", t.turn",
}

func microsecondsOf(column string) string {
	return "(extract(epoch FROM " + column + ") * 1000000)::bigint"
}

// plainOrder is the same order in the columns of an index, and plainAfter what lies at or behind a place in it, so that a
// page begins there and does not pass over all before it.
var (
	plainOrder = map[queue.State]string{queue.Pending: "t.rank, t.turn", queue.Scheduled: "t.due, t.turn"}
	plainAfter = map[queue.State]string{
		queue.Pending:   "(t.rank, t.turn) > ($3::bigint::smallint, $5::bigint) AND $4::bigint IS NOT NULL",
		queue.Scheduled: "(t.due, t.turn) > ('epoch'::timestamptz + $4::bigint * interval '1 microsecond', $5::bigint) AND $3::bigint IS NOT NULL",
	}
)

const (
	sinceOrder = "t.since, t.turn"
	sinceAfter = "(t.since, t.turn) > ('epoch'::timestamptz + $4::bigint * interval '1 microsecond', $5::bigint) AND $3::bigint IS NOT NULL"
)

// List shows tasks of one state, pending ones as they stand in line, so by priority first.
func (a admin) List(ctx context.Context, l queue.List) (queue.Tasks, error) {
	const op = "queue: list"
	if err := a.begin(ctx, op, l.Queue); err != nil {
		return queue.Tasks{}, err
	}
	at := check{op, l.Queue}
	if err := at.atLeast("the page's limit", l.Limit, 0); err != nil {
		return queue.Tasks{}, err
	}
	state := slices.Index(states, l.State)
	if state < 0 {
		return queue.Tasks{}, at.refuse(fault.Invalid, "%q is no state; use scheduled, pending, active, completed, dead or cancelled", l.State)
	}
	var rank, when, turn int64 = -1 << 15, 0, 0
	if l.Cursor != "" {
		if n, err := fmt.Sscanf(l.Cursor, "%d.%d.%d", &rank, &when, &turn); err != nil || n != 3 || fmt.Sprintf("%d.%d.%d", rank, when, turn) != l.Cursor || rank != int64(int16(rank)) {
			return queue.Tasks{}, at.refuse(fault.Invalid, "%q is no cursor of this listing; begin without one, and go on with Next", l.Cursor)
		}
	}
	limit := l.Limit
	if limit == 0 || limit > taskPageLimit {
		limit = taskPageLimit
	}
	order, after := plainOrder[l.State], plainAfter[l.State]
	if order == "" {
		order, after = sinceOrder, sinceAfter
	}
	// The state is written into the statement, so that the planner sees which partial index has it. The page is cut before
	// anything large is read.
	sql := fmt.Sprintf(`SELECT %s, %s, p.total FROM (
		SELECT n.id, sum(n.size) OVER (ROWS UNBOUNDED PRECEDING) - n.size AS before, count(*) OVER () AS total FROM (
			SELECT t.id, t.size FROM task t
			WHERE t.q = (SELECT id FROM queue WHERE ns = $1 AND name = $2) AND t.state = %d AND %s
			AND NOT (t.state = 3 AND t.due <= clock_timestamp()) ORDER BY %s LIMIT $6 + 1) n) p
		JOIN task t ON t.q = (SELECT id FROM queue WHERE ns = $1 AND name = $2) AND t.id = p.id AND t.state = %[3]d
		WHERE p.before < $7 ORDER BY %[5]s LIMIT $6`, shownColumns, listed[l.State], state, after, order)
	return a.list(ctx, op, l.Queue, sql, []any{a.t.ns, []byte(l.Queue), rank, when, turn, limit, taskPageBytes})
}

func (a admin) list(ctx context.Context, op, name, sql string, args []any) (page queue.Tasks, err error) {
	var s shown
	var at [3]int64
	var total int
	err = a.t.store.rows(ctx, sql, args, append(s.into(), &at[0], &at[1], &at[2], &total), func() error {
		page.Next = fmt.Sprintf("%d.%d.%d", at[0], at[1], at[2])
		page.Tasks = append(page.Tasks, s.info(name))
		return nil
	})
	if err != nil {
		return queue.Tasks{}, a.t.fault(err, op, name)
	}
	if len(page.Tasks) == total {
		page.Next = ""
	}
	return page, nil
}

// Find shows one task.
func (a admin) Find(ctx context.Context, name, id string) (queue.Info, error) {
	const op = "queue: find"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Info{}, err
	}
	at := check{op, id}
	if err := at.name("task's ID", id, queueCapabilities.MaxName); err != nil {
		return queue.Info{}, err
	}
	var s shown
	sql := "SELECT " + shownColumns + ` FROM task t WHERE t.q = (SELECT id FROM queue WHERE ns = $1 AND name = $2) AND t.id = $3
		AND NOT (t.state = 3 AND t.due <= clock_timestamp())`
	err := a.t.store.row(ctx, sql, []any{a.t.ns, []byte(name), []byte(id)}, s.into()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return queue.Info{}, at.refuse(fault.NotFound, "there is no such task in queue %q", name)
	}
	if err != nil {
		return queue.Info{}, a.t.fault(err, op, id)
	}
	return s.info(name), nil
}
