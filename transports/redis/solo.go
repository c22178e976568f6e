package redis

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// solo runs the commands of one caller at a time on that caller's own goroutine, over a connection that nobody else uses.
// So it is known which connection to interrupt when the caller's context ends.
type solo struct {
	client *redis.Client
	conn   atomic.Pointer[conn] // the one opened last: the pool holds no more than one
	over   atomic.Bool          // the caller's context has ended: what is opened from now on is of no use to it either
}

// newSolo makes it with the options of the transport's own client.
func newSolo(o redis.Options) *solo {
	s := &solo{}
	o.PoolSize, o.MaxActiveConns = 1, 1
	o.PipelinePoolSize = -1 // pipelines too go over the one connection
	// The end of a context interrupts, at its deadline too. As a deadline of the socket it would be set at each command, and
	// a read that it ends a moment before the context would look like a server that does not answer.
	o.ContextTimeoutEnabled = false
	o.Dialer = dialer(&o, s.opened)
	s.client = redis.NewClient(&o)
	return s
}

func (s *solo) opened(c *conn) {
	s.conn.Store(c)
	if s.over.Load() {
		c.interrupt()
	}
}

// watch interrupts the connection when ctx ends. The caller calls stop when its commands are answered, and before anybody
// else may use the connection: then one that was interrupted is known to be (see look.Read), and is not used again.
func (s *solo) watch(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	interrupted := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		s.over.Store(true) // first: either it is seen by opened, or what that has stored is seen here
		if c := s.conn.Load(); c != nil {
			c.interrupt()
		}
	})
	return func() {
		if !unwatch() {
			<-interrupted
			s.over.Store(false)
		}
	}
}
