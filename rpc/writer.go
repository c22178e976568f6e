package rpc

import (
	"context"
	"runtime"
	"slices"
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

	// What may wait to be sent. Beyond it, calls, answers and chunks wait for their turn; frames that are repeated, or
	// asked for again, when they do not arrive (cancels, credits, answers to a joining node) are dropped and counted.
	maxQueueFrames = 8192
	maxQueueBytes  = 32 << 20

	// sendTimeout is how long a Send of several frames may take.
	sendTimeout = 5 * time.Second
)

// outgoing is a frame before it is sealed. Its payload is head and body together, and belongs to the writer.
type outgoing struct {
	to         Address
	kind       kind
	head, body []byte
	failed     func(error) // told when it could not be sent; nil: it is counted and logged
	sent       chan error  // has room for one; nil: nobody waits
}

func (o *outgoing) size() int { return len(o.head) + len(o.body) }

// writer is the one goroutine that seals and sends, so sequences leave in the order in which they were given out, and
// what is sent before another frame arrives before it.
//
// A frame that comes while it is idle is sent at once, alone; those that come while a Send is in flight go out together
// in the next. Callers do not wait for it but for their answers: handing over costs one wake-up, as waiting for the
// transport would, but a caller can leave at any moment, and is woken once.
type writer struct {
	driver           Driver
	lifetime         context.Context
	endless          context.Context // lifetime, without its end
	inbox, broadcast *envelope.Lane
	notSent          func(error) // told of frames that have nobody to tell
	dropped          atomic.Uint64
	done             chan struct{} // closed when the goroutine has ended; nil: it was not started

	mu     sync.Mutex
	news   sync.Cond // of mu: the queue is not empty, or closed is set
	queue  []outgoing
	bytes  int
	closed bool

	// The goroutine's own.
	buffer []byte
	frames []Frame
}

func (w *writer) start() {
	w.news.L = &w.mu
	w.done = make(chan struct{})
	go w.run()
}

// hand gives a frame to the writer. It returns at once unless more is waiting than may; then when the frame is sent, or
// ctx is over.
func (w *writer) hand(ctx context.Context, out outgoing) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	if out.sent == nil && w.isFull() {
		out.sent = make(chan error, 1)
	}
	w.put(out)
	w.mu.Unlock()
	if out.sent == nil {
		return nil
	}
	select {
	case err := <-out.sent:
		return err
	case <-ctx.Done():
		w.withdraw(out.sent)
		return fault.FromContext(ctx)
	}
}

// withdraw takes a frame that nobody waits for any more out of the queue, if it is there still: while the transport
// hangs, callers who come and go must not fill the memory.
func (w *writer) withdraw(sent chan error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.queue, func(out outgoing) bool { return out.sent == sent })
	if i >= 0 {
		w.bytes -= w.queue[i].size()
		w.queue = slices.Delete(w.queue, i, i+1)
	}
}

// send is hand, but returns when the transport has taken the frame.
func (w *writer) send(ctx context.Context, out outgoing) error {
	out.sent = make(chan error, 1)
	return w.hand(ctx, out)
}

// post hands over a frame that may be dropped, and never waits.
func (w *writer) post(out outgoing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
	case w.isFull():
		w.dropped.Add(1)
	default:
		w.put(out)
	}
}

func (w *writer) isFull() bool { return len(w.queue) >= maxQueueFrames || w.bytes >= maxQueueBytes }

func (w *writer) put(out outgoing) {
	w.queue = append(w.queue, out)
	w.bytes += out.size()
	if len(w.queue) == 1 {
		w.news.Signal()
	}
}

// close refuses new frames, and waits until what was handed over is sent, or the driver has had twice its time.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	if w.done == nil {
		return
	}
	w.news.Signal()
	timer := time.NewTimer(2 * sendTimeout)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
}

func (w *writer) run() {
	defer close(w.done)
	var batch []outgoing
	for {
		if batch = w.take(batch[:0]); len(batch) == 0 {
			return
		}
		w.write(batch)
		clear(batch) // lets go of the payloads
	}
}

// take waits for frames, and adds what fits one Send to batch. After close it takes what is left, and then nothing.
func (w *writer) take(batch []outgoing) []outgoing {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 {
		if w.closed {
			return batch
		}
		w.news.Wait()
		// Those who were just answered often call again, and those whose handlers have just ended answer together: one
		// turn for them makes one batch of what would be many.
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
	size := 0
	for _, out := range w.queue {
		if size += out.size(); len(batch) == maxBatchFrames || len(batch) > 0 && size > maxBatchBytes {
			break
		}
		w.bytes -= out.size()
		batch = append(batch, out)
	}
	rest := copy(w.queue, w.queue[len(batch):])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	return batch
}

func (w *writer) write(batch []outgoing) {
	// A lone frame goes with a context that does not end: a driver can then write on this very goroutine, which is what
	// makes a lone caller fast, and nobody waits for this goroutine in particular. A link that hangs is the driver's to
	// notice (Capabilities.Silence).
	ctx := w.endless
	if len(batch) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(w.lifetime, sendTimeout)
		defer cancel()
	}
	w.reset()
	for i := range batch {
		w.seal(&batch[i])
	}
	errs, err := w.driver.Send(ctx, w.frames)
	if err != nil && ctx.Err() != nil && w.lifetime.Err() == nil {
		err = &fault.Error{Code: fault.Unavailable, Retryable: true, Err: err,
			Message: "the transport did not take the frames within " + sendTimeout.String()}
	}
	for i := range batch {
		one := err
		if err == nil {
			one = errs[i]
		}
		w.tell(&batch[i], one)
	}
}

// tell says what became of a frame.
func (w *writer) tell(out *outgoing, err error) {
	if out.sent != nil {
		out.sent <- err
	}
	switch {
	case err == nil:
	case out.failed != nil:
		out.failed(err)
	case out.sent == nil:
		w.notSent(err)
	}
}

func (w *writer) reset() {
	if cap(w.buffer) > 2*maxBatchBytes {
		w.buffer = nil
	}
	w.buffer, w.frames = w.buffer[:0], w.frames[:0]
}

// seal adds a frame to those to be sent. Should the buffer move, earlier frames keep the bytes where they were.
func (w *writer) seal(out *outgoing) {
	lane := w.inbox
	if out.to == Broadcast {
		lane = w.broadcast
	}
	start := len(w.buffer)
	w.buffer = lane.Seal(w.buffer, byte(out.kind), string(out.to), out.head, out.body)
	w.frames = append(w.frames, Frame{To: out.to, Payload: w.buffer[start:len(w.buffer):len(w.buffer)]})
}
