package memory

import (
	"context"
	"strings"

	"github.com/gobackplane/backplane/cache"
)

// watchCapacity is how many changes a watch holds for a slow watcher before it says Resync instead.
const watchCapacity = 4096

// watch is a running cache.Watch.
type watch struct {
	courier[cache.Change]
	node *Transport
}

// Watch follows the entries under a prefix.
func (d *cacheDriver) Watch(ctx context.Context, prefix string, deliver func([]cache.Change)) (cache.Watch, error) {
	const op = "cache: watch"
	if err := d.node.ready(ctx, op, prefix); err != nil {
		return nil, err
	}
	if err := d.check.Watch(prefix, deliver); err != nil {
		return nil, err
	}
	w := &watch{node: d.node}
	w.deliver, w.capacity, w.overflow = deliver, watchCapacity, resync
	w.start()
	d.entries.mu.Lock()
	d.entries.watches[w] = prefix
	d.entries.mu.Unlock()
	if !d.node.keep(w) { // after it was added, so that a Close at the same time finds it there
		_ = w.Close()
		return nil, closedFault(op, prefix)
	}
	return w, nil
}

// resync stands for all changes that could not be held, and for those that were.
func resync([]cache.Change, cache.Change) []cache.Change { return []cache.Change{{Resync: true}} }

// changed tells the watches of a change. The entries are locked, so that changes of a key come in order.
func (e *entries) changed(c cache.Change) {
	for w, prefix := range e.watches {
		if strings.HasPrefix(c.Key, prefix) {
			w.send(c)
		}
	}
}

// Close ends the watch, and waits for the call of deliver that may be running.
func (w *watch) Close() error {
	w.shut()
	w.node.drop(w)
	if done := w.ended(); done != nil {
		<-done
	}
	return nil
}

// shut also takes the watch off the entries.
func (w *watch) shut() {
	e := w.node.space.entries
	e.mu.Lock()
	delete(e.watches, w)
	e.mu.Unlock()
	w.courier.shut()
}
