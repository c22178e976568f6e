package nats

import "sync"

// observers are told, one after the other, that something has happened. The zero value is ready.
type observers struct {
	mu    sync.Mutex
	next  int
	calls map[int]func()
}

// add has f called every time. f must not block. The function that it returns ends that.
func (o *observers) add(f func()) (remove func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls == nil {
		o.calls = map[int]func(){}
	}
	id := o.next
	o.next++
	o.calls[id] = f
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.calls, id)
	}
}

// tell calls all that were added.
func (o *observers) tell() {
	o.mu.Lock()
	calls := make([]func(), 0, len(o.calls))
	for _, f := range o.calls {
		calls = append(calls, f)
	}
	o.mu.Unlock()
	for _, f := range calls {
		f()
	}
}
