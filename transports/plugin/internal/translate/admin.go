package translate

import (
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/queue"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

var states = map[pb.TaskState]queue.State{
	pb.TaskState_TASK_STATE_SCHEDULED: queue.Scheduled,
	pb.TaskState_TASK_STATE_PENDING:   queue.Pending,
	pb.TaskState_TASK_STATE_ACTIVE:    queue.Active,
	pb.TaskState_TASK_STATE_COMPLETED: queue.Completed,
	pb.TaskState_TASK_STATE_DEAD:      queue.DeadLetter,
	pb.TaskState_TASK_STATE_CANCELLED: queue.Cancelled,
}

// toState is a state as the wire has it; none for what is no state.
func toState(s queue.State) pb.TaskState {
	for m, state := range states {
		if state == s {
			return m
		}
	}
	return pb.TaskState_TASK_STATE_UNSPECIFIED
}

// ToList is a request for a page of tasks.
func ToList(l queue.List) *pb.ListTasks {
	return &pb.ListTasks{Queue: Raw(l.Queue), State: toState(l.State), Cursor: Raw(l.Cursor), Limit: int64(l.Limit)}
}

// FromList reads a request for a page of tasks.
func FromList(m *pb.ListTasks) queue.List {
	return queue.List{
		Queue: Text[string](m.GetQueue()), State: states[m.GetState()], Cursor: Text[string](m.GetCursor()), Limit: Whole(m.GetLimit()),
	}
}

// ToInfo fills in a task as an operator sees it.
func ToInfo(m *pb.TaskInfo, i *queue.Info) {
	m.Fault, m.Task, m.State, m.Since = ToFault(i.Err), &pb.Task{}, toState(i.State), Moment(i.Since)
	m.Result, m.Holder, m.Expires = i.Result, Raw(i.Holder), Moment(i.Expires)
	ToTask(m.Task, &i.Task)
}

// FromInfo reads a task as an operator sees it.
func FromInfo(m *pb.TaskInfo, i *queue.Info) error {
	if m.GetTask() == nil {
		return fault.New(fault.Corrupt, "a listed task is empty")
	}
	i.Err, i.State, i.Since = FromFault(m.GetFault()), states[m.GetState()], Time(m.GetSince())
	i.Result, i.Holder, i.Expires = m.GetResult(), Text[string](m.GetHolder()), Time(m.GetExpires())
	return FromTask(m.GetTask(), &i.Task)
}

// ToStats is what is counted of a queue.
func ToStats(s queue.Stats) *pb.CountQueueResult {
	t := s.Totals
	return &pb.CountQueueResult{
		Paused: s.Paused, Pending: s.Pending, Scheduled: s.Scheduled, Active: s.Active, Completed: s.Completed, Dead: s.Dead,
		Cancelled: s.Cancelled, OldestPending: int64(s.OldestPending),
		Totals: &pb.Totals{
			Enqueued: t.Enqueued, Duplicates: t.Duplicates, Completed: t.Completed, Retried: t.Retried, Snoozed: t.Snoozed,
			Released: t.Released, Dead: t.Dead, Cancelled: t.Cancelled, Lost: t.Lost, Stale: t.Stale,
		},
	}
}

// FromStats reads what is counted of the queue of that name.
func FromStats(m *pb.CountQueueResult, name string) queue.Stats {
	t := m.GetTotals()
	return queue.Stats{
		Queue: name, Paused: m.GetPaused(), Pending: m.GetPending(), Scheduled: m.GetScheduled(), Active: m.GetActive(),
		Completed: m.GetCompleted(), Dead: m.GetDead(), Cancelled: m.GetCancelled(), OldestPending: duration(m.GetOldestPending()),
		Totals: queue.Totals{
			Enqueued: t.GetEnqueued(), Duplicates: t.GetDuplicates(), Completed: t.GetCompleted(), Retried: t.GetRetried(),
			Snoozed: t.GetSnoozed(), Released: t.GetReleased(), Dead: t.GetDead(), Cancelled: t.GetCancelled(), Lost: t.GetLost(),
			Stale: t.GetStale(),
		},
	}
}

// ToProperties is the properties of a queue.
func ToProperties(p queue.Properties) *pb.QueueProperties {
	return &pb.QueueProperties{Lease: int64(p.Lease)}
}

// FromProperties reads the properties of a queue.
func FromProperties(m *pb.QueueProperties) queue.Properties {
	return queue.Properties{Lease: duration(m.GetLease())}
}
