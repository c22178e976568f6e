//go:build unix

package pgtest

import (
	"net"
	"sync"
	"time"
)

// Proxy is a link to a server that can be made to fail. What is set holds for connections that exist and that come.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	pairs   map[*pair]struct{}
	swallow bool
	refuse  bool
	closed  bool
}

// pair is one connection through the proxy.
type pair struct{ client, server net.Conn }

// NewProxy listens on a free port of the loopback and forwards to the target.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listener: l, pairs: map[*pair]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Swallow makes the link silent, as a broken switch does: connections stay up and can be made, and every byte in either
// direction is eaten. Bytes eaten do not come back.
func (p *Proxy) Swallow(on bool) { p.set(func() { p.swallow = on }) }

// Refuse resets new connections at once.
func (p *Proxy) Refuse(on bool) { p.set(func() { p.refuse = on }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// Cut resets all connections that exist.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.reset()
	}
}

func (c *pair) reset() {
	for _, conn := range []net.Conn{c.client, c.server} {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

// Close ends the proxy and waits. Closing twice is fine.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.set(func() { p.closed = true })
	p.Cut()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	c := &pair{client: client}
	p.mu.Lock()
	refuse := p.refuse || p.closed
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if refuse || err != nil {
		if err == nil {
			c.server = server
		} else {
			c.server = client
		}
		c.reset()
		return
	}
	c.server = server
	p.mu.Lock()
	if p.closed {
		c.reset()
	}
	p.pairs[c] = struct{}{}
	p.mu.Unlock()

	var directions sync.WaitGroup
	directions.Go(func() { p.forward(c, client, server) })
	directions.Go(func() { p.forward(c, server, client) })
	directions.Wait()
	p.set(func() { delete(p.pairs, c) })
}

// forward carries one direction. The end of a connection does not get through while packets are swallowed.
func (p *Proxy) forward(c *pair, from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		swallow, _ := p.state()
		if n > 0 && !swallow {
			if _, failed := to.Write(buffer[:n]); failed != nil {
				err = failed
			}
		}
		if err == nil {
			continue
		}
		for over := false; swallow && !over; swallow, over = p.state() {
			time.Sleep(5 * time.Millisecond)
		}
		c.reset()
		return
	}
}

func (p *Proxy) state() (swallow, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.swallow, p.closed
}
