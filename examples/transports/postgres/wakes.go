package postgres

import (
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// wakes rings the bells of those on this node who wait for a lock or for tasks. A notification says "l LOCK" or
// "q COUNT QUEUE", with the name in hex.
//
// Losing one is no harm: who waits asks again by itself, for a lock after lockAgain and for tasks after claimAgain.
type wakes struct {
	t *Transport

	mu    sync.Mutex
	bells map[string][]*bell // by what they wait for
	asked bool               // the receiver was asked to listen
}

// bell is what somebody waits on.
type bell struct {
	ring  chan struct{} // 1
	names []string      // "l" or "q" with what is waited for
}

func newWakes(t *Transport) *wakes { return &wakes{t: t, bells: map[string][]*bell{}} }

// join makes a bell for locks (kind "l") or queues ("q").
func (w *wakes) join(kind string, names []string) *bell {
	b := &bell{ring: make(chan struct{}, 1)}
	for _, name := range names {
		b.names = append(b.names, kind+name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range b.names {
		w.bells[name] = append(w.bells[name], b)
	}
	return b
}

// leave takes a bell away. A ring that it owes, because it did not look since, goes to another.
func (w *wakes) leave(b *bell, owed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-b.ring:
		owed = true
	default:
	}
	for _, name := range b.names {
		left := slices.DeleteFunc(w.bells[name], func(other *bell) bool { return other == b })
		if len(left) == 0 {
			delete(w.bells, name)
		} else {
			w.bells[name] = left
		}
		if owed {
			ring(left, 1)
		}
	}
}

// listen has wake-ups come. It waits for that until ctx ends, and for most: waiting works without, only later.
func (w *wakes) listen(ctx context.Context, most time.Duration) {
	w.mu.Lock()
	asked := w.asked
	w.asked = true
	w.mu.Unlock()
	if asked {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := w.t.receiver.listen(ctx, []string{w.t.receiver.channels.wake}, w, nil); err != nil {
		w.mu.Lock()
		w.asked = false // but the receiver knows the channel now, and listens to it as soon as it can
		w.mu.Unlock()
	}
}

func (w *wakes) note(_, payload string) {
	fields := strings.Fields(payload)
	count := 1
	switch {
	case len(fields) == 3 && fields[0] == "q":
		count, _ = strconv.Atoi(fields[1])
	case len(fields) == 2 && fields[0] == "l":
	default:
		return // of a newer node
	}
	name, err := hex.DecodeString(fields[len(fields)-1])
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	ring(w.bells[fields[0]+string(name)], count)
}

// ring wakes up to n of those who wait, the first first. Who is awake already has the next turn.
func ring(bells []*bell, n int) {
	for _, b := range bells {
		if n == 0 {
			return
		}
		select {
		case b.ring <- struct{}{}:
			n--
		default:
		}
	}
}

// gap wakes all: something may have been missed.
func (w *wakes) gap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, bells := range w.bells {
		ring(bells, len(bells))
	}
}

// sleep waits for the bell, which it tells, for d, or for the end of ctx or of the transport.
func (w *wakes) sleep(ctx context.Context, b *bell, d time.Duration) (rung bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-b.ring:
		return true
	case <-timer.C:
	case <-ctx.Done():
	case <-w.t.life.Done():
	}
	return false
}
