package memory

import "container/list"

// waitlist is who waits for what: for each name the waiters, first come, first woken. A wake-up is given to one waiter
// at a time, and handed on by whoever leaves, so that a thousand waiters are not all woken for one lock or task, and
// none is lost with a waiter that gave up.
type waitlist map[string]*list.List

// waiter is one waiting call.
type waiter struct {
	bell   bell
	names  []string
	places []*list.Element // in the lists of names, while it stands there; nil when not joined
}

// join puts a waiter at the end of each of its lists. One that has looked in vain keeps its places.
func (l waitlist) join(w *waiter) {
	if len(w.places) > 0 {
		return
	}
	for _, name := range w.names {
		if l[name] == nil {
			l[name] = list.New()
		}
		w.places = append(w.places, l[name].PushBack(w))
	}
}

// leave takes a waiter out, and lets the next ones look: what it was woken for may still be there, and the times it
// watched for are now theirs to watch.
func (l waitlist) leave(w *waiter) {
	for i, place := range w.places {
		name := w.names[i]
		if waiting := l[name]; waiting != nil {
			waiting.Remove(place)
			if waiting.Len() == 0 {
				delete(l, name)
			}
		}
	}
	w.places = nil
	for _, name := range w.names {
		l.wake(name)
	}
}

// wake rings for the first who waits for a name. When it looks in vain, all others would.
func (l waitlist) wake(name string) {
	if waiting := l[name]; waiting != nil {
		waiting.Front().Value.(*waiter).bell.ring()
	}
}
