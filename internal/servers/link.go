package servers

import (
	"context"
	"net"
	"time"
)

// link is one connection through a proxy: two directions, each a reader, a bounded queue and a writer.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	life           context.Context
	end            context.CancelFunc
}

// chunk is what was read at once, and when the other side may see it.
type chunk struct {
	data []byte
	due  time.Time
}

const (
	chunkSize = 64 << 10
	inFlight  = 1024 // chunks of one direction; more than that and the sender is held up
)

func (l *link) reset() {
	l.end()
	abort(l.client)
	abort(l.server)
}

// forward carries one direction until either side ends. Reading and writing are apart, so that a delay shifts the
// stream instead of slowing it down.
func (l *link) forward(from, to net.Conn) {
	queue := make(chan chunk, inFlight)
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.write(to, queue)
	}()
	l.read(from, queue)
	close(queue)
	<-written
	l.proxy.untilFlowing(l.life)
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

func (l *link) read(from net.Conn, queue chan<- chunk) {
	buffer := make([]byte, chunkSize)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			c := chunk{data: append([]byte(nil), buffer[:n]...)}
			if d := l.proxy.delay.Load(); d > 0 {
				c.due = time.Now().Add(time.Duration(d))
			}
			select {
			case queue <- c:
			case <-l.life.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// write sends each chunk when it is due, and eats it while the proxy swallows. After a failed write it goes on eating,
// so that the reader never hangs on a full queue.
func (l *link) write(to net.Conn, queue <-chan chunk) {
	var clock sleeper
	defer clock.stop()
	failed := false
	for c := range queue {
		if !c.due.IsZero() {
			clock.sleepUntil(c.due)
		}
		if failed || l.proxy.swallow.Load() {
			continue
		}
		if _, err := to.Write(c.data); err != nil {
			failed = true
			l.end()
			l.client.Close()
			l.server.Close()
		}
	}
}
