package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/envelope"
)

// The lanes of a node's frames.
const (
	laneInbox     = 1 // to all inboxes
	laneBroadcast = 2
)

const (
	maxBatchFrames = 512     // of one Send; pub/sub drivers take 1,000 at least
	maxBatchBytes  = 1 << 20 // so that small frames do not wait long behind large ones
	maxPosted      = 8192    // frames that nobody waits for: cancels, credits, answers to a joining node

	// sendTimeout is how long a Send that stands for several callers may take. One that stands for a single caller ends
	// with that caller's context.
	sendTimeout = 5 * time.Second
)

// outgoing is a frame before it is sealed. Its payload is head and body together.
type outgoing struct {
	to         Address
	kind       kind
	head, body []byte
}

func (o *outgoing) size() int { return len(o.head) + len(o.body) }

// writer is the one place that seals and sends: at most one Send is in flight, so sequences leave in the order in which
// they were given out, and what one caller sends before another frame arrives before it.
//
// It writes at once when idle, on the caller's goroutine; what comes while a Send is in flight waits and goes out
// together, in the next one. That costs one caller nothing, and sixty-four callers one round trip.
type writer struct {
	driver           Driver
	lifetime         context.Context // of frames that nobody waits for, and of batches
	inbox, broadcast *envelope.Lane
	failed           func(error) // told of frames that nobody waits for and that could not be sent
	dropped          atomic.Uint64

	mu     sync.Mutex
	busy   bool
	closed bool
	queue  []*waiting
	posted int
	idle   sync.WaitGroup // one while busy

	// Used by whoever made it busy.
	buffer []byte
	frames []Frame
}

// waiting is a frame in the queue.
type waiting struct {
	outgoing
	done chan error // nil: posted, nobody waits. Has room for the answer.
	left bool       // the caller waits no more
}

// send sends a frame and returns when the transport has taken it, or ctx is over.
func (w *writer) send(ctx context.Context, out outgoing) error {
	if err := fault.FromContext(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	if !w.busy {
		w.begin()
		w.mu.Unlock()
		err := w.write(ctx, out)
		w.next()
		return err
	}
	waits := &waiting{outgoing: out, done: make(chan error, 1)}
	w.queue = append(w.queue, waits)
	w.mu.Unlock()
	select {
	case err := <-waits.done:
		return err
	case <-ctx.Done():
		w.mu.Lock()
		waits.left = true
		w.mu.Unlock()
		return fault.FromContext(ctx)
	}
}

// post sends a frame that nobody waits for, and never blocks. With maxPosted of them waiting it is dropped and counted:
// each of them is repeated, or asked for again, when it did not arrive.
func (w *writer) post(out outgoing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if w.posted >= maxPosted {
		w.dropped.Add(1)
		return
	}
	w.posted++
	w.queue = append(w.queue, &waiting{outgoing: out})
	if !w.busy {
		w.begin()
		go w.drain()
	}
}

// close waits until what was accepted is sent, and refuses the rest.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.idle.Wait()
}

func (w *writer) begin() { // with mu held
	w.busy = true
	w.idle.Add(1)
}

// next lets go of the writer, or leaves it to a goroutine that sends what has come meanwhile.
func (w *writer) next() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		go w.drain()
		return
	}
	w.busy = false
	w.idle.Done()
}

func (w *writer) drain() {
	for {
		batch := w.take()
		if batch == nil {
			return
		}
		w.writeAll(batch)
	}
}

// take is the next batch; without one the writer is idle again.
func (w *writer) take() []*waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	var batch []*waiting
	size := 0
	for len(w.queue) > 0 && len(batch) < maxBatchFrames {
		first := w.queue[0]
		if size += first.size(); len(batch) > 0 && size > maxBatchBytes {
			break
		}
		w.queue[0] = nil
		w.queue = w.queue[1:]
		if first.done == nil {
			w.posted--
		}
		if !first.left {
			batch = append(batch, first)
		}
	}
	if len(batch) == 0 {
		w.queue = nil
		w.busy = false
		w.idle.Done()
	}
	return batch
}

func (w *writer) writeAll(batch []*waiting) {
	ctx, cancel := context.WithTimeout(w.lifetime, sendTimeout)
	defer cancel()
	w.reset()
	for _, b := range batch {
		w.seal(b.outgoing)
	}
	errs, err := w.driver.Send(ctx, w.frames)
	if err != nil && ctx.Err() != nil && w.lifetime.Err() == nil {
		err = &fault.Error{Code: fault.Unavailable, Retryable: true, Err: err,
			Message: "the transport did not take the frames within " + sendTimeout.String()}
	}
	for i, b := range batch {
		one := err
		if err == nil {
			one = errs[i]
		}
		switch {
		case b.done != nil:
			b.done <- one
		case one != nil:
			w.failed(one)
		}
	}
}

func (w *writer) write(ctx context.Context, out outgoing) error {
	w.reset()
	w.seal(out)
	errs, err := w.driver.Send(ctx, w.frames)
	if err != nil {
		return err
	}
	return errs[0]
}

func (w *writer) reset() {
	if cap(w.buffer) > 2*maxBatchBytes {
		w.buffer = nil
	}
	w.buffer, w.frames = w.buffer[:0], w.frames[:0]
}

// seal adds a frame to those to be sent. Should the buffer move, earlier frames keep the bytes where they were.
func (w *writer) seal(out outgoing) {
	lane := w.inbox
	if out.to == Broadcast {
		lane = w.broadcast
	}
	start := len(w.buffer)
	w.buffer = lane.Seal(w.buffer, byte(out.kind), string(out.to), out.head, out.body)
	w.frames = append(w.frames, Frame{To: out.to, Payload: w.buffer[start:len(w.buffer):len(w.buffer)]})
}
