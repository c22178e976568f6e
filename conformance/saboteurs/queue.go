package saboteurs

import (
	"context"
	"slices"

	"github.com/gobackplane/backplane/queue"
)

func queueSaboteurs() []Saboteur {
	return slices.Concat(enqueueSaboteurs(), claimSaboteurs(), settleSaboteurs(), adminSaboteurs())
}

// line is a queue driver with single methods replaced; nil is the honest one.
type line struct {
	queue.Driver
	enqueue func(context.Context, []queue.Task) ([]queue.Receipt, error)
	claim   func(context.Context, queue.Claim) (queue.Claimed, error)
	settle  func(context.Context, queue.Settlements) ([]error, error)
	extend  func(context.Context, []queue.Ref) ([]error, error)
}

// queuing makes a saboteur's function from one that replaces methods of every node, and is given the honest backend.
func queuing(f func(honest queue.Backend, l *line)) func(*sabotaged) {
	return func(s *sabotaged) {
		s.queue = func(b *queue.Backend) {
			l := &line{Driver: b.Driver}
			f(*b, l)
			b.Driver = l
		}
	}
}

func (l *line) Enqueue(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
	if l.enqueue != nil {
		return l.enqueue(ctx, tasks)
	}
	return l.Driver.Enqueue(ctx, tasks)
}

func (l *line) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	if l.claim != nil {
		return l.claim(ctx, c)
	}
	return l.Driver.Claim(ctx, c)
}

func (l *line) Settle(ctx context.Context, s queue.Settlements) ([]error, error) {
	if l.settle != nil {
		return l.settle(ctx, s)
	}
	return l.Driver.Settle(ctx, s)
}

func (l *line) Extend(ctx context.Context, refs []queue.Ref) ([]error, error) {
	if l.extend != nil {
		return l.extend(ctx, refs)
	}
	return l.Driver.Extend(ctx, refs)
}

// changingTasks sabotages what is stored.
func changingTasks(change func(*queue.Task)) func(*sabotaged) {
	return queuing(func(honest queue.Backend, l *line) {
		l.enqueue = func(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
			return honest.Enqueue(ctx, altered(tasks, change))
		}
	})
}

// changingReceipts sabotages what is answered.
func changingReceipts(change func(queue.Task, *queue.Receipt)) func(*sabotaged) {
	return queuing(func(honest queue.Backend, l *line) {
		l.enqueue = func(ctx context.Context, tasks []queue.Task) ([]queue.Receipt, error) {
			receipts, err := honest.Enqueue(ctx, tasks)
			for i := range receipts {
				change(tasks[i], &receipts[i])
			}
			return receipts, err
		}
	})
}

// changingClaimed sabotages what is claimed.
func changingClaimed(change func(ctx context.Context, honest queue.Backend, claimed []queue.Leased) []queue.Leased) func(*sabotaged) {
	return queuing(func(honest queue.Backend, l *line) {
		l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
			claimed, err := honest.Claim(ctx, c)
			claimed.Tasks = change(ctx, honest, claimed.Tasks)
			return claimed, err
		}
	})
}

// changingClaims sabotages what is asked for.
func changingClaims(change func(*queue.Claim)) func(*sabotaged) {
	return queuing(func(honest queue.Backend, l *line) {
		l.claim = func(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
			change(&c)
			return honest.Claim(ctx, c)
		}
	})
}
