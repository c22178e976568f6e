package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// delayed listens in front of target and hands every byte on after d, in each direction. What is in flight does not wait
// for what went before it: the link is long, not narrow.
func delayed(target string, d time.Duration) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var mu sync.Mutex
	var open []net.Conn
	var wg sync.WaitGroup
	keep := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
	}
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			keep(in)
			keep(out)
			wg.Go(func() { carry(out, in, d) })
			wg.Go(func() { carry(in, out, d) })
		}
	})
	return l.Addr().String(), func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	}, nil
}

type chunk struct {
	due  time.Time
	data []byte
}

func carry(to io.WriteCloser, from io.ReadCloser, d time.Duration) {
	queue := make(chan chunk, 1024)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer to.Close()
		for c := range queue {
			waitUntil(c.due)
			if _, err := to.Write(c.data); err != nil {
				from.Close()
			}
		}
	})
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if n > 0 {
			queue <- chunk{time.Now().Add(d), buf[:n]}
		}
		if err != nil {
			break
		}
	}
	close(queue)
	wg.Wait()
}
