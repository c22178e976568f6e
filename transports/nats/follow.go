package nats

import "github.com/nats-io/nats.go"

// follower learns from the client what happens to a connection that the application has made: the handlers of such a
// connection are the application's.
type follower struct {
	core   *core
	status chan nats.Status
	done   chan struct{}
}

func follow(c *core) *follower {
	f := &follower{core: c, status: c.nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED), done: make(chan struct{})}
	go f.run()
	return f
}

func (f *follower) run() {
	defer close(f.done)
	for {
		select {
		case status := <-f.status:
			if status == nats.RECONNECTING {
				f.core.losses.tell()
			} else {
				f.core.restored()
			}
		case <-f.core.life.Done():
			return
		}
	}
}

func (f *follower) close() {
	<-f.done
	f.core.nc.RemoveStatusListener(f.status)
}
