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
}

// newSolo makes it with the options of the transport's own client.
func newSolo(o redis.Options) *solo {
	s := &solo{}
	o.PoolSize, o.MaxActiveConns = 1, 1
	o.PipelinePoolSize = -1 // pipelines too go over the one connection
	o.Dialer = dialer(&o, func(c *conn) { s.conn.Store(c) })
	s.client = redis.NewClient(&o)
	return s
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
		if c := s.conn.Load(); c != nil {
			c.interrupt()
		}
	})
	return func() {
		if !unwatch() {
			<-interrupted
		}
	}
}
