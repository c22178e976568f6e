package cache

import (
	"context"
	"sync"

	"github.com/gobackplane/backplane/fault"
)

// Watch delivers changes of entries whose key begins with prefix, made after it returned, until the watch or the Cache
// is closed. deliver must not block, and is not called concurrently. Changes of one key come in order, and several may
// be merged into the last. After a Change with Resync some may have been missed: read again what matters. That an entry
// has ended by its lifetime is not a change. ctx is for the call, not for the watch.
//
// It is Unsupported where the transport offers no watching.
func (c *Cache) Watch(ctx context.Context, prefix string, deliver func([]Change)) (Watch, error) {
	const op = "cache: watch"
	if err := c.offered(c.backend.Watcher != nil, op, prefix, "watching"); err != nil {
		return nil, err
	}
	if deliver == nil {
		return nil, c.fault(fault.Invalid, op, prefix, "the function to deliver to is nil; give one")
	}
	inner, err := c.backend.Watcher.Watch(ctx, prefix, deliver)
	if err != nil {
		return nil, c.at(err, op, prefix)
	}
	w := &watch{inner: inner}
	w.forget = context.AfterFunc(c.life, func() { w.end() })
	return w, nil
}

// watch is a driver's watch that also ends with the Cache.
type watch struct {
	inner  Watch
	forget func() bool
	once   sync.Once
	err    error
}

func (w *watch) Close() error {
	w.forget()
	w.end()
	return w.err
}

func (w *watch) end() { w.once.Do(func() { w.err = w.inner.Close() }) }
