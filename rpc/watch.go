package rpc

import (
	"context"
	"iter"
	"sync"
)

// EventKind says what happened to the membership.
type EventKind string

// The kinds of events.
const (
	Joined  EventKind = "joined"  // a member is new, or is heard again after it was taken for dead
	Updated EventKind = "updated" // its metadata or methods changed
	Left    EventKind = "left"    // it said goodbye
	Dead    EventKind = "dead"    // it was not heard for Options.DeadAfter

	Fenced   EventKind = "fenced"   // this node does not hear itself: it takes itself for dead, and calls are Unavailable
	Returned EventKind = "returned" // this node hears itself again
	Missed   EventKind = "missed"   // Lost events are not told, because they were not read in time: read Members again
)

// Event is a change of the membership.
type Event struct {
	Kind   EventKind
	Member Member // whose; of this node for Fenced and Returned
	Lost   int    // with Missed
}

// maxEvents is how many events wait for one watcher.
const maxEvents = 1024

// Watch tells of every change to the membership: first every member there is as Joined, this node among them, and then
// what happens, in order, until ctx ends, the peer is closed or the loop is left. Nobody waits for a slow watcher: with
// more than 1,024 unread events the oldest are dropped, and a Missed event says how many.
func (p *Peer) Watch(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		w := p.members.watch()
		defer p.members.events.remove(w)
		for {
			events := w.take()
			for _, e := range events {
				if !yield(e) {
					return
				}
			}
			if len(events) > 0 {
				continue
			}
			select {
			case <-w.news:
			case <-ctx.Done():
				return
			case <-p.closing:
				return
			}
		}
	}
}

// watch begins with the members there are, in one step with what follows.
func (m *membership) watch() *watcher {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &watcher{news: make(chan struct{}, 1)}
	for _, member := range m.roster().list() {
		w.events = append(w.events, Event{Kind: Joined, Member: member})
	}
	m.events.add(w)
	return w
}

// fanout hands events to every watcher, without waiting for any.
type fanout struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

func (f *fanout) add(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[*watcher]struct{}{}
	}
	f.watchers[w] = struct{}{}
}

func (f *fanout) remove(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watchers, w)
}

func (f *fanout) send(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.put(e)
	}
}

type watcher struct {
	news chan struct{} // has room for one: there is something to take

	mu     sync.Mutex
	events []Event
	lost   int
}

func (w *watcher) put(e Event) {
	w.mu.Lock()
	if len(w.events) >= maxEvents {
		w.events = w.events[1:]
		w.lost++
	}
	w.events = append(w.events, e)
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.events
	if w.lost > 0 {
		events = append([]Event{{Kind: Missed, Lost: w.lost}}, events...)
	}
	w.events, w.lost = nil, 0
	return events
}
