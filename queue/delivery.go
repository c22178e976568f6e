package queue

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gobackplane/backplane/fault"
)

// Delivery is one task in the hands of this worker, under one lease: what handlers and middleware are given.
//
// Its Attempts tell how often the task has failed before, its Lost how many workers died over it.
type Delivery struct {
	Task
	result    []byte
	maxResult int

	token   string
	corrupt error // the record could not be decoded
	// overlaps says that an earlier delivery of the task was still running here when this one came, its lease lost.
	overlaps bool

	ctx    context.Context
	cancel context.CancelCauseFunc
	phase  atomic.Uint32

	// Of the set of held leases, and guarded by it. All times are of this node's monotonic clock.
	index      int           // in the set; -1 outside
	lease      time.Duration // one lease length
	received   time.Time
	expires    time.Time // when the lease may have ended
	due        time.Time // when it is to be extended
	over       bool      // the lease is lost, or not worth extending
	until      time.Time // when the timeout or deadline ends the handler's context; zero: never
	ended      time.Time // when something else ended it; zero: not yet
	complained bool      // about a handler that does not end
}

// The phases of a delivery. Whoever moves it from waiting owns what follows.
const (
	waiting   uint32 = iota // for a slot
	running                 // its handler has not returned
	settling                // its settlement has not been answered
	givenBack               // no slot was free in time; its release is under way
)

// Attempt is the number of this attempt, from 1.
func (d *Delivery) Attempt() int { return d.Attempts + 1 }

// SetResult keeps a result with the completed task, for its Retention; without Retention it is forgotten. The bytes
// must not be changed afterwards. TooLarge over [Capabilities].MaxPayload.
func (d *Delivery) SetResult(result []byte) error {
	if over(len(result), d.maxResult) {
		return fault.In(fault.New(fault.TooLarge, "the result has %d bytes, the transport takes %d; store it elsewhere and keep its key",
			len(result), d.maxResult), "queue: result", d.ID)
	}
	d.result = result
	return nil
}

// name tells its task from all others.
func (d *Delivery) name() string { return d.Queue + "\x00" + d.ID }

func (d *Delivery) ref() Ref { return Ref{Queue: d.Queue, ID: d.ID, Token: d.token} }

// Job is a delivery with its payload decoded. (The encoded one is at Delivery.Payload.)
type Job[T any] struct {
	*Delivery
	Payload T
}
