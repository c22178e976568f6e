package redis

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/fault"
)

// lane carries this node's commands to the server: at once when nothing is under way, and collected into one pipeline
// while something is. So a lone caller pays no batching delay, and many share round trips.
type lane struct {
	client *redis.Client
	life   context.Context
	end    context.CancelFunc
	calls  chan *call
	done   sync.WaitGroup
}

type call struct {
	cmds []redis.Cmder
	err  error
	done chan struct{}
}

func newLane(client *redis.Client) *lane {
	l := &lane{client: client, calls: make(chan *call, 1024)}
	l.life, l.end = context.WithCancel(context.Background())
	for range 2 {
		l.done.Go(l.send)
	}
	return l
}

// do runs commands and returns when they are answered, ctx ends, or the lane is closed. Each command then holds its own
// reply or error; the error returned is that of the link (nothing is known of any command), or the first command's own
// error when there is only one.
func (l *lane) do(ctx context.Context, cmds ...redis.Cmder) error {
	c := &call{cmds: cmds, done: make(chan struct{})}
	select {
	case l.calls <- c:
	case <-ctx.Done():
		return fault.FromContext(ctx)
	case <-l.life.Done():
		return errClosed
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fault.FromContext(ctx)
	case <-l.life.Done():
		return errClosed
	}
}

func (l *lane) send() {
	for {
		select {
		case <-l.life.Done():
			return
		case c := <-l.calls:
			l.exec(c)
		}
	}
}

func (l *lane) exec(c *call) {
	pipe := l.client.Pipeline()
	_ = pipe.BatchProcess(l.life, c.cmds...)
	_, err := pipe.Exec(l.life)
	var server redis.Error
	if err != nil && (!errors.As(err, &server) || len(c.cmds) == 1) {
		c.err = err
	}
	close(c.done)
}

func (l *lane) close() {
	l.end()
	l.done.Wait()
}
