package memory

import (
	"runtime"
	"sync"
)

// courier takes what is sent to it, without ever blocking the sender, and hands it in order to one function on one
// goroutine of its own. What it may hold is bounded; beyond that, overflow decides.
type courier[T any] struct {
	deliver  func([]T)
	capacity int         // most items held
	weight   func(T) int // bytes of an item; nil: not counted
	bytes    int         // most bytes held
	overflow func(held []T, refused T) []T

	mu     sync.Mutex
	sent   sync.Cond
	held   []T
	heavy  int // bytes held
	closed bool
	self   string // the name of the goroutine
	done   chan struct{}
}

// start begins delivery. The other fields must be set before.
func (c *courier[T]) start() {
	c.sent.L = &c.mu
	c.done = make(chan struct{})
	go c.run()
}

// send hands one item over. The courier owns it from now on.
func (c *courier[T]) send(v T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	weight := 0
	if c.weight != nil {
		weight = c.weight(v)
	}
	if len(c.held) >= c.capacity || len(c.held) > 0 && c.heavy+weight > c.bytes && c.weight != nil {
		c.held = c.overflow(c.held, v)
		c.heavy = max(c.heavy, c.bytes+1) // full until it is taken, so that what was refused and what was not stay in order
	} else {
		c.held = append(c.held, v)
		c.heavy += weight
	}
	c.sent.Signal()
}

// hasRoom says whether an item of some weight would be taken now.
func (c *courier[T]) hasRoom(weight int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed && (len(c.held) == 0 || len(c.held) < c.capacity && c.heavy+weight <= c.bytes)
}

func (c *courier[T]) run() {
	defer close(c.done)
	name := goroutine()
	for {
		c.mu.Lock()
		c.self = name
		for len(c.held) == 0 && !c.closed {
			c.sent.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		batch := c.held
		c.held, c.heavy = nil, 0
		c.mu.Unlock()
		c.deliver(batch)
	}
}

// shut ends delivery after the call of deliver that may be running; what is still held is dropped.
func (c *courier[T]) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.held = nil
	c.sent.Signal()
}

// ended is closed when deliver will not be called, and is not running, any more. It is nil when asked from within
// deliver, which cannot wait for itself.
func (c *courier[T]) ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.self == goroutine() {
		return nil
	}
	return c.done
}

// goroutine names the calling goroutine, as the head of its stack trace does: "goroutine 18 ". Go gives no other way to
// tell that Close was called from within the function which it has to wait for.
func goroutine() string {
	var head [32]byte
	n := runtime.Stack(head[:], false)
	for i := len("goroutine "); i < n; i++ {
		if head[i] == ' ' {
			return string(head[:i])
		}
	}
	return string(head[:n])
}
