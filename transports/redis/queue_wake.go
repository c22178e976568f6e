package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync"
	"time"
)

// waitingRoom holds this node's claims that wait for tasks, each in a numbered seat, and wakes them by its channel. A
// seat is used again as soon as it is free: a wake-up meant for a claim that has just ended then reaches the next one.
type waitingRoom struct {
	t       *Transport
	channel string
	node    string

	mu      sync.Mutex
	seats   []*seat // by number
	cancel  func()  // ends the subscription; nil: there is none
	opening chan struct{}
	retry   time.Time
	closed  bool
	running sync.WaitGroup
}

// seat is the place of one waiting claim.
type seat struct {
	number int
	taken  bool          // under the room's lock
	wake   chan struct{} // a token when it is woken

	registered time.Time // until when the store may have it registered; for whoever sits here
}

const subscribePause = time.Second // between attempts to open the channel

func newWaitingRoom(t *Transport, prefix string) *waitingRoom {
	var node [8]byte
	_, _ = rand.Read(node[:]) // crypto/rand does not fail
	r := &waitingRoom{t: t, node: hex.EncodeToString(node[:])}
	r.channel = prefix + "wake:" + r.node
	return r
}

// sit takes a seat.
func (r *waitingRoom) sit() *seat {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seats {
		if !s.taken {
			s.taken = true
			return s
		}
	}
	s := &seat{number: len(r.seats), taken: true, wake: make(chan struct{}, 1)}
	r.seats = append(r.seats, s)
	return s
}

// rise leaves a seat. A wake-up that came too late for it goes to somebody else here.
func (r *waitingRoom) rise(s *seat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.taken = false
	select {
	case <-s.wake:
		r.wakeOne()
	default:
	}
}

// waiter is how the store knows a seat.
func (r *waitingRoom) waiter(s *seat) string { return r.node + "/" + strconv.Itoa(s.number) }

// deliver takes what the channel brings: a seat's number. After a gap all are woken, because a wake-up may be lost.
func (r *waitingRoom) deliver(payload string, gap bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if gap {
		for _, s := range r.seats {
			if s.taken {
				s.call()
			}
		}
		return
	}
	i, err := strconv.Atoi(payload)
	if err == nil && i >= 0 && i < len(r.seats) && r.seats[i].taken {
		r.seats[i].call()
		return
	}
	r.wakeOne()
}

// wakeOne wakes anybody. r.mu is held.
func (r *waitingRoom) wakeOne() {
	for _, s := range r.seats {
		if s.taken {
			s.call()
			return
		}
	}
}

func (s *seat) call() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// openWait is how long a claim waits at most for the channel: it has to ask in time, although it may not be woken.
const openWait = askAgain / 2

// open has the channel subscribed before the first claim waits, and returns then, or when ctx or the claim's wait ends.
// When it fails, or takes long, claims ask once a second, and it is tried again.
func (r *waitingRoom) open(ctx context.Context, wait time.Duration) {
	r.mu.Lock()
	if r.cancel != nil || r.closed || time.Now().Before(r.retry) {
		r.mu.Unlock()
		return
	}
	if r.opening == nil {
		r.opening = make(chan struct{})
		r.running.Go(r.subscribe)
	}
	opening := r.opening
	r.mu.Unlock()
	enough := time.NewTimer(min(wait, openWait))
	defer enough.Stop()
	select {
	case <-opening:
	case <-enough.C:
	case <-ctx.Done():
	}
}

func (r *waitingRoom) subscribe() {
	cancel, err := r.t.receiver.subscribe(r.t.life, r.channel, r.deliver)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.opening)
	r.opening = nil
	if err != nil {
		r.retry = time.Now().Add(subscribePause)
		if r.t.life.Err() == nil {
			r.t.log.Warn("queue: workers are not woken, they ask once a second", "error", err)
		}
		return
	}
	if r.closed {
		cancel()
		return
	}
	r.cancel = cancel
}

// start runs f on a goroutine that is waited for. After close it does not.
func (r *waitingRoom) start(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.running.Go(f)
	return true
}

// close ends the subscription, and lets nothing new begin. Whoever closes waits for running.
func (r *waitingRoom) close() {
	r.mu.Lock()
	r.closed = true
	cancel := r.cancel
	r.cancel = nil
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
