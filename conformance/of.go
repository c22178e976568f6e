package conformance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports"
)

// Of is a harness for any registered transport: nodes are opened from the settings, whose namespace the suite replaces.
// It has no hooks. What a case leaves in a store is removed when it is over: all of it where the transport is a
// [transports.Eraser], and otherwise its entries and lists.
func Of(s transports.Settings) Harness {
	return OfFunc(func(ctx context.Context, namespace string) (transports.Transport, error) {
		here := s // one copy for each call: they run at the same time
		here.Namespace = namespace
		return transports.Open(ctx, here)
	})
}

// OfFunc is Of for nodes that are opened in another way. open is called concurrently.
func OfFunc(open func(ctx context.Context, namespace string) (transports.Transport, error)) Harness {
	return Harness{New: func(t T) Cluster {
		c := &opened{open: open, namespaces: map[string]bool{}}
		t.Cleanup(func() { c.sweep(t) })
		return c
	}}
}

// opened remembers which namespaces were opened, to sweep them.
type opened struct {
	open func(ctx context.Context, namespace string) (transports.Transport, error)

	mu         sync.Mutex
	namespaces map[string]bool
}

func (c *opened) Open(t T, namespace string) transports.Transport {
	t.Helper()
	node, err := c.open(t.Context(), namespace)
	require.NoError(t, err, "open a node")
	if p, ok := node.(transports.InProcess); !ok || !p.InProcess() {
		c.mu.Lock()
		c.namespaces[namespace] = true
		c.mu.Unlock()
	}
	return node
}

// sweep removes what a case left in the store. It runs after the case's nodes were closed, and its failures are notes:
// they say nothing of a promise.
func (c *opened) sweep(t T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	for namespace := range c.namespaces {
		node, err := c.open(ctx, namespace)
		if err != nil {
			t.Logf("sweeping %s: %v", namespace, err)
			continue
		}
		if err := errors.Join(erase(ctx, node), node.Close()); err != nil {
			t.Logf("sweeping %s: %v", namespace, err)
		}
	}
}

// erase removes what it can of a namespace.
func erase(ctx context.Context, node transports.Transport) error {
	if e, ok := node.(transports.Eraser); ok {
		if err := e.Erase(ctx); !errors.Is(err, fault.Unsupported) {
			return err
		}
	}
	if b := node.Cache(); b != nil {
		return sweepCache(ctx, b)
	}
	return nil
}

func sweepCache(ctx context.Context, b *cache.Backend) error {
	if err := sweepAll(ctx, b.Keys, b.Delete); err != nil || b.Lists == nil {
		return err
	}
	return sweepAll(ctx, b.Lists.Names, b.Lists.Drop)
}

func sweepAll(
	ctx context.Context,
	list func(context.Context, cache.Page) (cache.Keys, error),
	remove func(context.Context, []cache.Removal) ([]cache.Removed, error),
) error {
	var page cache.Page
	for {
		found, err := list(ctx, page)
		if err != nil {
			return err
		}
		removals := make([]cache.Removal, len(found.Keys))
		for i, key := range found.Keys {
			removals[i].Key = key
		}
		if len(removals) > 0 {
			if _, err := remove(ctx, removals); err != nil {
				return err
			}
		}
		if page.Cursor = found.Next; page.Cursor == "" {
			return nil
		}
	}
}
