package nats

import "sync"

// reconnections tells whoever asked that the link was lost and is back. The zero value is ready.
type reconnections struct {
	mu    sync.Mutex
	next  int
	calls map[int]func()
}

// add calls f after every reconnection, once the server has the node's subscriptions again. f must not block. The
// function that it returns ends that.
func (r *reconnections) add(f func()) (remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = map[int]func(){}
	}
	id := r.next
	r.next++
	r.calls[id] = f
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.calls, id)
	}
}

// tell calls all that were added.
func (r *reconnections) tell() {
	r.mu.Lock()
	calls := make([]func(), 0, len(r.calls))
	for _, f := range r.calls {
		calls = append(calls, f)
	}
	r.mu.Unlock()
	for _, f := range calls {
		f()
	}
}
