package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// conn is a connection of ours under go-redis. It spares system calls and timers that go-redis spends on each command,
// which together are a tenth of what a lone caller costs, and it can be interrupted.
type conn struct {
	net.Conn
	raw         syscall.RawConn // nil where the socket must not be looked at: below TLS
	readBy      deadline        // the deadlines that are set
	writeBy     deadline
	heard       time.Time // when something was last received
	interrupted atomic.Bool
}

// fresh is how long a connection is trusted after it was heard, without a look at the socket before the next command.
const fresh = 10 * time.Millisecond

// keepAlive is that of go-redis' own dialer.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3}

// dialer makes connections for go-redis, wrapped. Its own dialer does not heed the context while it shakes hands for TLS.
// opened is told of each, and may be nil. A dial that fails gives a connection too, of which see stillborn.
func dialer(o *redis.Options, opened func(*conn)) func(ctx context.Context, network, address string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: o.DialTimeout, KeepAliveConfig: keepAlive}
	dial := plain.DialContext
	if o.TLSConfig != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: o.TLSConfig}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		made, err := dial(ctx, network, address)
		if err != nil {
			return stillborn{&dialFailure{dialError(err, network)}}, nil
		}
		c := &conn{Conn: made}
		if socket, ok := made.(syscall.Conn); ok {
			if c.raw, err = socket.SyscallConn(); err != nil {
				_ = made.Close()
				return nil, err
			}
		}
		if opened != nil {
			opened(c)
		}
		return c, nil
	}
}

// dialError tells a dial that took too long from a caller's context that is over: Go says context.DeadlineExceeded of
// both, but the time that a dial may take is ours. No caller's deadline comes here, since go-redis dials for itself.
func dialError(err error, network string) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	late := &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
	if at, ok := errors.AsType[*net.OpError](err); ok {
		late.Addr = at.Addr
	}
	return late
}

// stillborn is a connection that could not be made: whatever is done with it tells why. To a pool of go-redis it is one
// that failed at its first use. Of failed dials a pool keeps count, and after as many as it has places it does not dial
// for up to a second, but gives the last one's error: even when the server is back, and with one place after each.
type stillborn struct{ why error }

func (s stillborn) Read([]byte) (int, error)              { return 0, s.why }
func (s stillborn) Write([]byte) (int, error)             { return 0, s.why }
func (s stillborn) Close() error                          { return nil }
func (s stillborn) LocalAddr() net.Addr                   { return &net.TCPAddr{} }
func (s stillborn) RemoteAddr() net.Addr                  { return &net.TCPAddr{} }
func (s stillborn) SetDeadline(time.Time) error           { return s.why }
func (s stillborn) SetReadDeadline(time.Time) error       { return s.why }
func (s stillborn) SetWriteDeadline(time.Time) error      { return s.why }
func (s stillborn) SyscallConn() (syscall.RawConn, error) { return nil, s.why } // when it was idle: it is not used then

// dialFailure is the layer that go-redis takes off an error in a connection's first use; what matters is below.
type dialFailure struct{ error }

func (f *dialFailure) Unwrap() error { return f.error }

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard = time.Now()
	}
	return n, err
}

// SetReadDeadline leaves a deadline that is only a little earlier than asked.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.readBy.near(t) {
		return nil
	}
	c.readBy = newDeadline(t)
	return c.unlessInterrupted(c.Conn.SetReadDeadline(t))
}

// SetWriteDeadline leaves a deadline that is only a little earlier than asked.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.writeBy.near(t) {
		return nil
	}
	c.writeBy = newDeadline(t)
	return c.unlessInterrupted(c.Conn.SetWriteDeadline(t))
}

// SetDeadline is what go-redis calls to have none while it looks at the socket. One that is still to come does no harm
// there, and is what the next command sets anyway.
func (c *conn) SetDeadline(t time.Time) error {
	if t.IsZero() && time.Since(c.heard) < fresh {
		return nil
	}
	c.readBy = newDeadline(t)
	c.writeBy = c.readBy
	return c.unlessInterrupted(c.Conn.SetDeadline(t))
}

// deadline is one that is set, and how much later one may be wanted without setting it: a tenth of the time it left. That
// is reckoned once, because each look at the clock takes as long as an allocation. The zero deadline is none.
type deadline struct {
	at    time.Time
	slack time.Duration
}

func newDeadline(at time.Time) deadline {
	if at.IsZero() {
		return deadline{}
	}
	return deadline{at: at, slack: time.Until(at) / 10}
}

// near reports whether the deadline comes only a little before the one that is wanted.
func (d deadline) near(want time.Time) bool {
	if d.at.IsZero() || want.IsZero() {
		return false
	}
	early := want.Sub(d.at)
	return early >= 0 && early < d.slack
}

// unlessInterrupted sets the deadline that interrupt has set again, if both came at the same time.
func (c *conn) unlessInterrupted(err error) error {
	if c.interrupted.Load() {
		return c.Conn.SetDeadline(time.Unix(1, 0))
	}
	return err
}

// interrupt makes reads and writes, those under way too, fail from now on.
func (c *conn) interrupt() {
	c.interrupted.Store(true)
	_ = c.Conn.SetDeadline(time.Unix(1, 0)) // fails only when closed, which has the same effect
}

// SyscallConn is asked for by go-redis to see whether the server has closed an idle connection.
func (c *conn) SyscallConn() (syscall.RawConn, error) { return (*look)(c), nil }

// look is a conn as go-redis looks at it.
type look conn

// Read calls f, which peeks at the socket, unless that can be spared. Encrypted bytes would mislead it.
func (l *look) Read(f func(fd uintptr) bool) error {
	switch {
	case l.interrupted.Load():
		return net.ErrClosed
	case l.raw == nil, time.Since(l.heard) < fresh:
		return nil
	}
	return l.raw.Read(f)
}

// Write and Control are not asked for.
func (l *look) Write(func(fd uintptr) bool) error { return syscall.ENOTSUP }
func (l *look) Control(func(fd uintptr)) error    { return syscall.ENOTSUP }
