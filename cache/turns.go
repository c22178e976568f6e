package cache

import (
	"context"
	"sync"

	"github.com/gobackplane/backplane/fault"
)

// turns lets those who wait for the same lock in this process ask the store one after the other, in the order in which
// they came: one question at a time a name, however many wait. The zero turns is ready.
type turns struct {
	mu    sync.Mutex
	lines map[string]*line // of names that somebody asks for now
}

// line holds those who wait behind the one that asks; each is called by closing its channel.
type line struct {
	waiting []chan struct{}
}

// enter waits for the caller's turn at name, while both contexts live. leave passes it on, and must be called.
func (t *turns) enter(ctx, life context.Context, name string) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, fault.FromContext(ctx)
	}
	t.mu.Lock()
	queue := t.lines[name]
	if queue == nil {
		if t.lines == nil {
			t.lines = map[string]*line{}
		}
		t.lines[name] = &line{}
		t.mu.Unlock()
		return func() { t.leave(name) }, nil
	}
	mine := make(chan struct{})
	queue.waiting = append(queue.waiting, mine)
	t.mu.Unlock()

	select {
	case <-mine:
		return func() { t.leave(name) }, nil
	case <-ctx.Done():
		t.giveUp(name, mine)
		return nil, fault.FromContext(ctx)
	case <-life.Done():
		t.giveUp(name, mine)
		return nil, fault.FromContext(life)
	}
}

func (t *turns) leave(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := t.lines[name]
	if len(queue.waiting) == 0 {
		delete(t.lines, name)
		return
	}
	close(queue.waiting[0])
	queue.waiting = queue.waiting[1:]
}

func (t *turns) giveUp(name string, mine chan struct{}) {
	t.mu.Lock()
	for i, other := range t.lines[name].waiting {
		if other == mine {
			queue := t.lines[name]
			queue.waiting = append(queue.waiting[:i], queue.waiting[i+1:]...)
			t.mu.Unlock()
			return
		}
	}
	t.mu.Unlock()
	t.leave(name) // it was called just now: pass the turn on
}
