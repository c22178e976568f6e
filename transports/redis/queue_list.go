package redis

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
)

var (
	findScript = newScript("queue_find", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_where", "queue_show", "queue_find")
	listScript = newScript("queue_list", "when_full", "queue_keys", "queue_member", "queue_time", "queue_line", "queue_task", "queue_show", "queue_list")
)

const (
	defaultPage = 100
	largestPage = 1000
	infoFields  = 7
)

// kinds are the keys that hold a state's tasks.
var kinds = map[queue.State]string{
	queue.Scheduled: "s", queue.Pending: "p", queue.Active: "a",
	queue.Completed: "c", queue.DeadLetter: "d", queue.Cancelled: "k",
}

// List shows one page of tasks; see [queue.Admin]. Active ones are listed in the order in which their leases end.
// Pending ones are counted from the front of the line, so tasks claimed between two pages make the second begin later.
func (a *queueAdmin) List(ctx context.Context, l queue.List) (queue.Tasks, error) {
	const op = "queue: list"
	if err := a.begin(ctx, op, l.Queue); err != nil {
		return queue.Tasks{}, err
	}
	if err := a.d.check.List(l); err != nil {
		return queue.Tasks{}, err
	}
	if l.Limit == 0 {
		l.Limit = defaultPage
	}
	score, member, err := readCursor(l.Cursor)
	if err != nil {
		return queue.Tasks{}, a.d.t.fault(fault.New(fault.Invalid, "the cursor is none that List gave: %w", err), op, l.Queue)
	}
	args := []any{l.Queue, kinds[l.State], min(l.Limit, largestPage), score, member}
	reply, err := a.d.run(ctx, a.d.t.lane, op, l.Queue, listScript.cmd(ctx, a.d.prefix, args...))
	if err != nil {
		return queue.Tasks{}, err
	}
	if len(reply) < 2 || len(reply)%infoFields != 2 {
		return queue.Tasks{}, a.d.t.fault(fault.New(fault.Internal, "the reply of the list script cannot be read"), op, l.Queue)
	}
	page := queue.Tasks{Next: writeCursor(reply[0], reply[1])}
	for rest := reply[2:]; len(rest) > 0; rest = rest[infoFields:] {
		page.Tasks = append(page.Tasks, readInfo(l.Queue, l.State, rest[:infoFields]))
	}
	return page, nil
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
	reply, err := a.d.run(ctx, a.d.t.lane, op, id, findScript.cmd(ctx, a.d.prefix, name, taskKey(id)))
	if err != nil {
		return queue.Info{}, err
	}
	if len(reply) == 1+infoFields {
		for state, kind := range kinds {
			if kind == text(reply[0]) {
				return readInfo(name, state, reply[1:]), nil
			}
		}
	}
	return queue.Info{}, a.d.t.fault(fault.New(fault.NotFound, "queue %q has no such task", name), op, id)
}

// readInfo reads the fields that queue_show.lua gives.
func readInfo(name string, state queue.State, fields []any) queue.Info {
	info := queue.Info{State: state, Since: readMillis(fields[1]), Expires: readMillis(fields[2]), Holder: holderOf(text(fields[3]))}
	info.Task, info.Err = readTask(name, text(fields[0]), text(fields[4]), text(fields[5]))
	if result := text(fields[6]); result != "" {
		info.Result = []byte(result)
	}
	return info
}

// readMillis reads a score: ms since 1970, or empty for no time.
func readMillis(score any) time.Time {
	ms, err := strconv.ParseFloat(text(score), 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// A cursor is the script's two parts, in characters that survive a command line.
func writeCursor(score, member any) string {
	if member == "" {
		return ""
	}
	m, ok := member.(string)
	if !ok {
		m = strconv.FormatInt(number(member), 10)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text(score) + " " + m))
}

func readCursor(cursor string) (score, member string, err error) {
	if cursor == "" {
		return "", "", nil
	}
	decoded, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", "", err
	}
	score, member, found := strings.Cut(string(decoded), " ")
	if _, err := strconv.ParseFloat(score, 64); err != nil || !found {
		return "", "", errors.New("it was cut off")
	}
	return score, member, nil
}
