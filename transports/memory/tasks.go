package memory

import (
	"cmp"
	"sync"
	"time"

	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports"
)

const (
	// idMemory is how long the ID that a caller chose is known after its task is gone.
	idMemory = 5 * time.Minute
	// answerMemory is how long the last answer to a worker's settlements is kept.
	answerMemory = 10 * time.Minute
	// moved is how many tasks of each sort one call moves at most when their time has come.
	moved = 1000
)

// tasks are the queues of a namespace. One mutex guards them: nothing here waits.
type tasks struct {
	clock transports.Clock

	mu      sync.Mutex
	random  lottery
	lines   map[string]*line
	waiters waitlist       // by queue
	answers mortal[answer] // by worker
}

// answer is what a worker was told of its last batch of settlements.
type answer struct {
	number uint64
	errs   []error
}

func newTasks(c transports.Clock) *tasks {
	return &tasks{clock: c, lines: map[string]*line{}, waiters: waitlist{}, answers: newMortal[answer]()}
}

// line finds or makes a queue.
func (s *tasks) line(name string) *line {
	l := s.lines[name]
	if l == nil {
		l = newLine(name)
		s.lines[name] = l
	}
	return l
}

// begin locks the tasks and tells the time.
func (s *tasks) begin() instant {
	s.mu.Lock()
	now := now(s.clock)
	s.answers.sweep(now, swept(1))
	return now
}

// line is one queue: its tasks by ID and, in each state, in order. Every task is in all, and in the order of its state.
type line struct {
	name   string
	paused bool
	set    bool // its properties were set
	lease  time.Duration
	totals queue.Totals

	all    map[string]*task
	states map[queue.State]*ordered[*task]
	leases ordered[*task] // active ones, by the end of their lease
	kept   ordered[*task] // completed ones that will be forgotten, by when

	unique mortal[*task]    // who holds a unique key
	gone   mortal[struct{}] // IDs that callers chose, of tasks that are gone
	turns  uint64           // given out so far
}

// task is one task in the store. Its payload, headers and result are never changed, only replaced.
type task struct {
	queue.Task
	state    queue.State
	since    instant // when it came into the state
	accepted instant // when it was enqueued, by the store's clock
	turn     uint64  // its number in the line of pending tasks, kept while it is active
	place    place   // in the order of its state
	ends     instant // active: its lease; completed: what is known of it
	token    string  // active: the claim
	worker   string  // active: who claimed it
	cancel   bool    // active: somebody asked to cancel it
	result   []byte
}

// place orders the tasks of one state: pending ones by priority and turn, scheduled ones by their time, all others by
// when they came.
type place struct {
	rank int // pending: the higher the priority, the lower
	at   instant
	turn uint64
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.rank, q.rank), cmp.Compare(p.at, q.at), cmp.Compare(p.turn, q.turn))
}

func newLine(name string) *line {
	l := &line{
		name: name, lease: queue.DefaultLease,
		all: map[string]*task{}, states: map[queue.State]*ordered[*task]{},
		unique: newMortal[*task](), gone: newMortal[struct{}](),
	}
	byEnd := func(a, b *task) int { return cmp.Or(cmp.Compare(a.ends, b.ends), a.place.compare(b.place)) }
	l.leases.compare, l.kept.compare = byEnd, byEnd
	for _, s := range []queue.State{
		queue.Pending, queue.Scheduled, queue.Active, queue.Completed, queue.DeadLetter, queue.Cancelled,
	} {
		l.states[s] = &ordered[*task]{compare: func(a, b *task) int { return a.place.compare(b.place) }}
	}
	return l
}

// next gives out a turn.
func (l *line) next() uint64 {
	l.turns++
	return l.turns
}

// enter puts a task that is in no state into one. What the state's order depends on must be set before.
func (l *line) enter(t *task, s queue.State, now instant) {
	t.state, t.since = s, now
	switch s {
	case queue.Pending:
		t.place = place{rank: -t.Priority, turn: t.turn}
	case queue.Scheduled:
		t.place = place{at: instantOf(t.RunAt), turn: l.next()}
	default:
		t.place = place{at: now, turn: l.next()}
	}
	l.states[s].insert(t)
	switch {
	case s == queue.Active:
		l.leases.insert(t)
	case s == queue.Completed && t.ends != never:
		l.kept.insert(t)
	}
}

// leave takes a task out of its state.
func (l *line) leave(t *task) {
	l.states[t.state].remove(t)
	switch t.state {
	case queue.Active:
		l.leases.remove(t)
		t.token, t.worker, t.cancel = "", "", false
	case queue.Completed:
		l.kept.remove(t)
		t.result = nil
	}
}

// queue puts a task, in no state, at the end of the line of pending tasks.
func (l *line) queue(t *task, now instant) {
	t.turn = l.next()
	l.enter(t, queue.Pending, now)
}

// schedule puts a task, in no state, where it waits for its time; or in line, when that has come.
func (l *line) schedule(t *task, now instant) {
	if instantOf(t.RunAt) <= now {
		l.queue(t, now)
		return
	}
	l.enter(t, queue.Scheduled, now)
}

// end moves a task into a state in which nothing more happens to it, and gives its unique key back.
func (l *line) end(t *task, s queue.State, now instant) {
	l.leave(t)
	l.yield(t)
	switch s {
	case queue.DeadLetter:
		l.totals.Dead++
	case queue.Cancelled:
		l.totals.Cancelled++
	}
	l.enter(t, s, now)
}

// drop removes a task for good, as of an instant.
func (l *line) drop(t *task, at instant) {
	l.leave(t)
	l.yield(t)
	delete(l.all, t.ID)
	if t.CallerID {
		l.gone.put(t.ID, struct{}{}, at.in(idMemory))
	}
}

// hold gives a task its unique key. It is false when another has it.
func (l *line) hold(t *task, now instant) bool {
	if t.UniqueKey == "" {
		return true
	}
	if l.unique.get(t.UniqueKey, now) != nil {
		return false
	}
	l.unique.put(t.UniqueKey, t, now.lifetime(t.UniqueFor))
	return true
}

// yield gives a task's unique key back, unless another task has it by now.
func (l *line) yield(t *task) {
	if held := l.unique.items[t.UniqueKey]; held != nil && held.value == t {
		l.unique.remove(held)
	}
}

// find is the task with an ID, or nil.
func (l *line) find(id string, now instant) *task {
	if l == nil {
		return nil
	}
	t := l.all[id]
	if t != nil && t.state == queue.Completed && t.ends <= now {
		l.drop(t, t.ends)
		return nil
	}
	return t
}

// advance moves what is due, what has lost its lease and what is to be forgotten, a bounded number of each.
func (l *line) advance(now instant) {
	scheduled := l.states[queue.Scheduled]
	for range moved {
		t, found := scheduled.first()
		if !found || t.place.at > now {
			break
		}
		l.leave(t)
		l.queue(t, now)
	}
	for range moved {
		t, found := l.leases.first()
		if !found || t.ends > now {
			break
		}
		l.lose(t, now)
	}
	l.forget(now, moved)
}

// forget drops what is not to be known any more, at most n of each sort.
func (l *line) forget(now instant, n int) {
	for range n {
		t, found := l.kept.first()
		if !found || t.ends > now {
			break
		}
		l.drop(t, t.ends)
	}
	l.gone.sweep(now, n)
	l.unique.sweep(now, n)
}

// due is when advance will have something to move next.
func (l *line) due() instant {
	next := never
	if t, found := l.states[queue.Scheduled].first(); found {
		next = min(next, t.place.at)
	}
	if t, found := l.leases.first(); found {
		next = min(next, t.ends)
	}
	return next
}

// used says whether the queue has anything to show.
func (l *line) used() bool {
	return len(l.all) > 0 || l.set || l.paused || l.totals != queue.Totals{}
}
