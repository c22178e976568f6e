package nats

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// budget bounds the bytes that are under way. A server keeps up to 64 MiB for a client that reads too slowly and then cuts
// it off, and takes up to 128 MiB and 10,000 messages for a stream before it refuses more.
type budget struct {
	largest atomic.Int64 // of the latest answers

	mu      sync.Mutex
	left    int64
	waiters list.List // of *turn, first come, first served
}

type turn struct {
	weight int64
	ready  chan struct{}
}

const (
	inFlight  = 32 << 20
	leastSize = 64 << 10 // so that there are at most 512 requests
)

func newBudget() *budget { return &budget{left: inFlight} }

// guess is what an answer is taken for before it is there.
func (b *budget) guess() int64 { return max(b.largest.Load(), leastSize) }

// saw learns from an answer: at once that they are large, and slowly that they are not.
func (b *budget) saw(size int) {
	known := b.largest.Load()
	if next := max(int64(size), known-known/64); next != known {
		b.largest.Store(next)
	}
}

// take waits until there is room for a weight, at most everything.
func (b *budget) take(ctx, life context.Context, stalled <-chan struct{}, weight int64) error {
	b.mu.Lock()
	if weight = withinBudget(weight); b.left >= weight && b.waiters.Len() == 0 {
		b.left -= weight
		b.mu.Unlock()
		return nil
	}
	w := &turn{weight: weight, ready: make(chan struct{})}
	place := b.waiters.PushBack(w)
	b.mu.Unlock()
	var err error
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-life.Done():
		err = errClosed
	case <-stalled:
		err = nats.ErrTimeout
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // meanwhile
		b.left += weight
	default:
		b.waiters.Remove(place)
	}
	b.serve()
	return err
}

// give returns what take took.
func (b *budget) give(weight int64) {
	b.mu.Lock()
	b.left += withinBudget(weight)
	b.serve()
	b.mu.Unlock()
}

func withinBudget(weight int64) int64 { return min(max(weight, leastSize), inFlight) }

// serve lets those go on for whom there is room, in turn.
func (b *budget) serve() {
	for b.waiters.Len() > 0 {
		first := b.waiters.Front()
		w := first.Value.(*turn)
		if b.left < w.weight {
			return
		}
		b.left -= w.weight
		b.waiters.Remove(first)
		close(w.ready)
	}
}
