package nats

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// link makes the connections under the client. They do what the client by itself does not:
//
//   - a link that was lost is told of before the next one is made, at a moment when nothing can come in;
//   - nothing is read faster than the intake takes it in, so the client never has to drop a message;
//   - a write does not wait. The client writes under its lock, and a link that hangs would hold up every caller there,
//     whatever his context says. What the socket does not take soon is written behind the client's back.
//
// An application's own connection is made without it, and has none of these.
type link struct {
	dial    func(network, address string) (net.Conn, error)
	silence time.Duration // how long a write may take before the link is given up
	lost    observers     // told before each further connection is made; they must not block
	hold    atomic.Pointer[func()]
}

// Dial makes a connection. The client calls it with its lock held, and when nothing of an earlier connection is read any
// more.
func (l *link) Dial(network, address string) (net.Conn, error) {
	l.lost.tell()
	plain, err := l.dial(network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: plain, link: l}
	c.room.L = &c.mu
	return c, nil
}

// conn is one connection.
type conn struct {
	net.Conn
	link *link

	mu      sync.Mutex
	room    sync.Cond // of mu: the backlog has become shorter, or the connection has ended
	backlog []byte    // what the socket has not taken yet
	behind  bool      // a goroutine writes the backlog
	failed  error     // of that goroutine
	writeBy time.Time // the deadline that is set
}

const (
	// writePatience is how long the client is held up by a socket that takes nothing.
	writePatience = 50 * time.Millisecond
	// backlogSize is a little more than the largest message that servers allow by default, eight times over.
	backlogSize = 8 << 20
)

// Read waits while the intake has enough to do.
func (c *conn) Read(b []byte) (int, error) {
	if hold := c.link.hold.Load(); hold != nil {
		(*hold)()
	}
	return c.Conn.Read(b)
}

// Write writes at once, or adds to what is to be written.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return 0, c.failed
	}
	n := 0
	if !c.behind {
		// A deadline costs more than a small write, so it is moved only when it is near.
		if left := time.Until(c.writeBy); left < writePatience || left > 2*writePatience {
			c.writeBy = time.Now().Add(2 * writePatience)
			if err := c.Conn.SetWriteDeadline(c.writeBy); err != nil {
				return 0, err
			}
		}
		var err error
		if n, err = c.Conn.Write(b); err == nil || !os.IsTimeout(err) {
			return n, err
		}
		c.behind = true
		go c.writeBehind()
	}
	for len(c.backlog) > 0 && len(c.backlog)+len(b)-n > backlogSize && c.failed == nil {
		c.room.Wait() // writeBehind ends in bounded time
	}
	if c.failed != nil {
		return 0, c.failed
	}
	c.backlog = append(c.backlog, b[n:]...)
	return len(b), nil
}

// writeBehind writes the backlog until it is empty. A socket that takes nothing for the whole of silence ends the
// connection.
func (c *conn) writeBehind() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.backlog) > 0 {
		piece := c.backlog[:min(len(c.backlog), behindPiece)]
		c.mu.Unlock()
		err := c.Conn.SetWriteDeadline(time.Now().Add(c.link.silence))
		if err == nil {
			_, err = c.Conn.Write(piece)
		}
		c.mu.Lock()
		if err != nil {
			c.failed, c.backlog = err, nil
			_ = c.Conn.Close() // so that the client's reading ends, and it makes a new one
			break
		}
		c.backlog = c.backlog[len(piece):]
		c.room.Broadcast()
	}
	c.backlog, c.behind, c.writeBy = nil, false, time.Time{}
	c.room.Broadcast()
}

// behindPiece is written in one go, and must get through within silence.
const behindPiece = 64 << 10

// SetWriteDeadline is what the client calls around each write; Write has a deadline of its own.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is called around the handshake; its part for writing is Write's own.
func (c *conn) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

// Close ends the connection, and what is written behind.
func (c *conn) Close() error { return c.Conn.Close() }
