package servers

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is a TCP link to a server that can be made to fail: silently, loudly, or only slowly. Its switches hold for all
// connections, those that exist and those that come, and may be turned at any time.
type Proxy struct {
	target   string
	listener net.Listener
	life     context.Context
	end      context.CancelFunc
	running  sync.WaitGroup

	swallow atomic.Bool
	refuse  atomic.Bool
	delay   atomic.Int64 // nanoseconds each way

	mu      sync.Mutex
	links   map[*link]struct{}
	flowing chan struct{} // closed while nothing is swallowed
	closed  bool
}

// StartProxy listens on a free loopback port and forwards to target, a host:port.
func StartProxy(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("servers: start proxy: %w", err)
	}
	p := &Proxy{target: target, listener: listener, links: map[*link]struct{}{}, flowing: make(chan struct{})}
	close(p.flowing)
	p.life, p.end = context.WithCancel(context.Background()) // ended by Close
	p.running.Add(1)
	go p.accept()
	return p, nil
}

// Addr is where the proxy listens, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Swallow makes the link silent, as a broken switch does: connections stay up and can be made, and every byte in either
// direction is eaten. An end of a connection does not get through either, until the link is back; the bytes eaten do
// not come back.
func (p *Proxy) Swallow(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.swallow.Swap(on) == on {
		return
	}
	if on {
		p.flowing = make(chan struct{})
	} else {
		close(p.flowing)
	}
}

// Cut resets every connection that exists; new ones can be made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// Refuse resets every new connection at once; those that exist stay.
func (p *Proxy) Refuse(on bool) { p.refuse.Store(on) }

// Delay adds a latency to each direction: a round trip takes 2 d more. It costs no bandwidth: what was sent at once
// arrives at once.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Close ends the proxy and all its connections, and waits until they are gone. Closing twice is fine.
func (p *Proxy) Close() {
	p.end()
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.reset()
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	defer p.running.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if p.life.Err() != nil {
				return
			}
			time.Sleep(time.Millisecond) // out of file descriptors, for one
			continue
		}
		if p.refuse.Load() {
			abort(client)
			continue
		}
		p.running.Add(1)
		go p.serve(client)
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.running.Done()
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(p.life, "tcp", p.target)
	if err != nil {
		abort(client)
		return
	}
	l := &link{proxy: p, client: client, server: server}
	l.life, l.end = context.WithCancel(p.life)
	defer l.end()
	p.mu.Lock()
	if p.closed {
		l.reset()
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()

	var directions sync.WaitGroup
	directions.Go(func() { l.forward(client, server) })
	directions.Go(func() { l.forward(server, client) })
	directions.Wait()
	client.Close()
	server.Close()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// untilFlowing waits until nothing is swallowed, or ctx ends.
func (p *Proxy) untilFlowing(ctx context.Context) {
	p.mu.Lock()
	flowing := p.flowing
	p.mu.Unlock()
	select {
	case <-flowing:
	case <-ctx.Done():
	}
}

// abort closes with a reset, as a host does on which nobody listens.
func abort(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
