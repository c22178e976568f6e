package rpc

import (
	"sync"
	"sync/atomic"
)

// maxIdle is how many goroutines a crew keeps for the next task.
const maxIdle = 64

// crew runs each task at once, on a goroutine that has run one before if there is an idle one: its stack has grown
// already, which for a short handler is a good part of the cost. How many run is bounded by whoever calls do.
type crew struct {
	tasks chan func() // without room: taken by an idle goroutine, or by none
	idle  atomic.Int64
	over  <-chan struct{} // closed when idle goroutines are to end
	all   sync.WaitGroup
}

func (c *crew) do(task func()) {
	select {
	case c.tasks <- task:
	default:
		c.all.Add(1)
		go c.work(task)
	}
}

func (c *crew) work(task func()) {
	defer c.all.Done() // deferred, because a handler may call runtime.Goexit
	for {
		task()
		if c.idle.Add(1) > maxIdle {
			c.idle.Add(-1)
			return
		}
		select {
		case task = <-c.tasks:
			c.idle.Add(-1)
		case <-c.over:
			return
		}
	}
}
