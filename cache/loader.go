package cache

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/gobackplane/backplane/fault"
)

// loadingKey is found in the context of a key's loader.
type loadingKey struct {
	c   *Cache
	key string
}

// inItsOwnLoader refuses a load that would wait for itself.
func (l *loading) inItsOwnLoader(ctx context.Context) error {
	if ctx.Value(loadingKey{l.c, l.key}) == nil {
		return nil
	}
	return l.c.fault(fault.Invalid, l.op, l.key, "the loader of this key asks for the same key; have it read the source")
}

// run calls the loader, and makes a fault of its panic.
func (l *loading) run(ctx context.Context) (value []byte, err error) {
	l.c.stats.loads.Add(1)
	defer func() {
		if p := recover(); p != nil {
			l.c.stats.loaderPanics.Add(1)
			l.c.log.Error("cache: a loader panicked", "key", l.key, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			value, err = nil, l.c.fault(fault.Internal, l.op, l.key, "the loader panicked: %v", p)
		}
	}()
	return l.load(context.WithValue(ctx, loadingKey{l.c, l.key}, true))
}
