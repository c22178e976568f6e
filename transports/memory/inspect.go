package memory

import (
	"bytes"
	"context"
	"fmt"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/queue"
)

// A page of tasks ends after this many, or this many bytes of payloads and results.
const (
	taskPageLimit = 1000
	taskPageBytes = 4 << 20
)

// List shows pending tasks as they stand in line, so by priority first.
func (a admin) List(ctx context.Context, p queue.List) (queue.Tasks, error) {
	const op = "queue: list"
	if err := a.node.ready(ctx, op, p.Queue); err != nil {
		return queue.Tasks{}, err
	}
	if err := a.check.List(p); err != nil {
		return queue.Tasks{}, err
	}
	after, err := parsePlace(p.Cursor)
	if err != nil {
		return queue.Tasks{}, &fault.Error{
			Code: fault.Invalid, Op: op, Subject: p.Queue, Transport: Kind,
			Message: fmt.Sprintf("%q is no cursor of this listing; begin without one, and go on with Next", p.Cursor),
		}
	}
	if p.Limit == 0 || p.Limit > taskPageLimit {
		p.Limit = taskPageLimit
	}
	now := a.tasks.begin()
	var page queue.Tasks
	if l := a.tasks.lines[p.Queue]; l != nil {
		page = l.page(p, after, now)
	}
	a.tasks.mu.Unlock()
	for i := range page.Tasks {
		page.Tasks[i] = ownInfo(page.Tasks[i])
	}
	return page, nil
}

// page lists from a place on, which is that of the last task of the page before.
func (l *line) page(p queue.List, after place, now instant) (page queue.Tasks) {
	size := 0
	var last *task
	for t := range l.states[p.State].from(&task{place: after}) {
		if t.place == after {
			continue
		}
		if len(page.Tasks) == p.Limit || size > taskPageBytes {
			page.Next = last.place.String()
			return page
		}
		if t.state == queue.Completed && t.ends <= now {
			continue
		}
		last = t
		size += len(t.Payload) + limits.HeaderSize(t.Headers) + len(t.result)
		page.Tasks = append(page.Tasks, t.info())
	}
	return page
}

func (a admin) Find(ctx context.Context, name, id string) (queue.Info, error) {
	const op = "queue: find"
	if err := a.begin(ctx, op, name); err != nil {
		return queue.Info{}, err
	}
	if err := a.check.ID(op, id); err != nil {
		return queue.Info{}, err
	}
	now := a.tasks.begin()
	defer a.tasks.mu.Unlock()
	t := a.tasks.lines[name].find(id, now)
	if t == nil {
		return queue.Info{}, absent(op, id, "task in queue "+name)
	}
	return ownInfo(t.info()), nil
}

// info shows a task. Its bytes are still the store's.
func (t *task) info() queue.Info {
	i := queue.Info{Task: t.Task, State: t.state, Since: t.since.time()}
	switch t.state {
	case queue.Active:
		i.Holder, i.Expires = t.worker, t.ends.time()
	case queue.Completed:
		i.Result, i.Expires = t.result, t.ends.time()
	}
	return i
}

// ownInfo is an Info whose bytes are the caller's.
func ownInfo(i queue.Info) queue.Info {
	i.Task = detached(i.Task)
	i.Result = bytes.Clone(i.Result)
	return i
}

// String is the place as a cursor.
func (p place) String() string { return fmt.Sprintf("%d.%d.%d", p.rank, p.at, p.turn) }

// parsePlace reads a cursor. The empty one is before the first task.
func parsePlace(cursor string) (place, error) {
	if cursor == "" {
		return place{rank: -queueCapabilities.MaxPriority - 1}, nil
	}
	var p place
	n, err := fmt.Sscanf(cursor, "%d.%d.%d", &p.rank, &p.at, &p.turn)
	if err == nil && (n != 3 || p.String() != cursor) {
		err = fmt.Errorf("no place: %q", cursor)
	}
	return p, err
}
