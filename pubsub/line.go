package pubsub

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// lines keep, for each subject, the number of the sender's last message and who sends. A subject that was long not used
// is forgotten, but never while someone sends on it.
type lines struct {
	seq atomic.Uint64 // of the sender's last message on any subject

	mu    sync.Mutex
	known *simplelru.LRU[string, *line]
	spare map[string]*line // forgotten by known while in use

	waiters sync.Pool // of those that were served
}

// line is one subject's: whoever has entered it holds it until he leaves, and only he may touch last.
type line struct {
	subject string
	last    uint64 // the number of the last message

	held    bool
	waiting []*waiter
}

// waiter waits in a line, to be sent by the drainer, or to be given the line if it has no messages.
type waiter struct {
	messages []Message
	taken    bool          // it is being sent, or has been given the line
	done     chan struct{} // receives one token when it was served
	receipts []Receipt
	err      error
}

// served reads the answer of a waiter, and recycles it.
func (ls *lines) served(w *waiter) ([]Receipt, error) {
	receipts, err := w.receipts, w.err
	*w = waiter{done: w.done}
	ls.waiters.Put(w)
	return receipts, err
}

func newLines(capacity int) *lines {
	ls := &lines{spare: map[string]*line{}}
	ls.waiters.New = func() any { return &waiter{done: make(chan struct{}, 1)} }
	known, err := simplelru.NewLRU(capacity, func(subject string, l *line) {
		if l.held {
			ls.spare[subject] = l
		}
	})
	if err != nil {
		panic("pubsub: " + err.Error()) // only for a capacity that New has excluded
	}
	ls.known = known
	return ls
}

// enter gives the caller the line of a subject, to hold it if it is free.
func (ls *lines) enter(subject string) (l *line, free bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l, known := ls.known.Get(subject)
	if !known {
		if l = ls.spare[subject]; l == nil {
			l = &line{subject: subject}
		}
		delete(ls.spare, subject)
		ls.known.Add(subject, l)
	}
	free = !l.held
	l.held = true
	return l, free
}

// wait gives a place in a line that someone holds, for messages to be sent or, with none, to be given the line. It is
// nil when the line has become free, and may be forgotten: the caller enters again.
func (ls *lines) wait(l *line, messages []Message) *waiter {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if !l.held {
		return nil
	}
	w := ls.waiters.Get().(*waiter)
	w.messages = messages
	l.waiting = append(l.waiting, w)
	return w
}

// abandon gives up a place; false when it was served already.
func (ls *lines) abandon(l *line, w *waiter) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if w.taken {
		return false
	}
	l.waiting = slices.DeleteFunc(l.waiting, func(other *waiter) bool { return other == w })
	return true
}

// leave gives the line to the next one who wants it as a whole, or frees it. It is true when messages are next: the
// caller still holds it and must see that they are sent.
func (ls *lines) leave(l *line) (more bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(l.waiting) == 0 {
		l.held, l.waiting = false, l.waiting[:0]
		delete(ls.spare, l.subject)
		return false
	}
	first := l.waiting[0]
	if first.messages != nil {
		return true
	}
	l.waiting = slices.Delete(l.waiting, 0, 1)
	first.taken = true
	first.done <- struct{}{}
	return false
}

// A batch made of several calls has at most so many bytes: what waits behind a large one is not held up much longer.
const maxTaken = 1 << 20

// take removes from a line those at its head that have messages, as many as fit a batch.
func (ls *lines) take(l *line, maxBatch int) (batch []*waiter, messages []Message) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	bytes := 0
	for _, w := range l.waiting {
		if w.messages == nil || len(batch) > 0 && (len(messages)+len(w.messages) > maxBatch || bytes > maxTaken) {
			break
		}
		for i := range w.messages {
			bytes += len(w.messages[i].Payload)
		}
		w.taken = true
		batch = append(batch, w)
		messages = append(messages, w.messages...)
	}
	rest := copy(l.waiting, l.waiting[len(batch):])
	clear(l.waiting[rest:])
	l.waiting = l.waiting[:rest]
	return batch, messages
}
