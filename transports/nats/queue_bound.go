package nats

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobackplane/backplane/fault"
)

// bound keeps tasks from filling the store (option queue_max_bytes). A claim and a settlement need room too, for a moment:
// in a store without any nothing can be done with the tasks that fill it. JetStream has no such bound: at its own limit a
// stream with schedules drops its oldest messages, and at the account's or the server's it takes nothing at all.
//
// How much the stream holds is asked, not reckoned, since other nodes store tasks too: the more rarely the more room there
// is. It may be exceeded by what a few nodes store in the meantime.
type bound struct {
	most   int64         // bytes; 0: none
	asking chan struct{} // held by who asks

	mu     sync.Mutex
	credit int64     // bytes that may be stored before the stream is asked again
	full   time.Time // when it was last found to be full
}

const (
	// fullPause is how long a full stream is taken to be full without asking.
	fullPause = 100 * time.Millisecond
	// shareOfRoom is what part of the room that is left a node takes for itself: so many can do so at once.
	shareOfRoom = 16
	// leastBound leaves room for the largest task, beside the share that a claim of it takes.
	leastBound = 16 << 20
	// aroundTask is about what the stream keeps of a task beside its record.
	aroundTask = 256
)

func newBound(most int64) *bound { return &bound{most: most, asking: make(chan struct{}, 1)} }

// take gives room for so many bytes. False: the queue is full.
func (b *bound) take(ctx context.Context, bytes int64, stored func(context.Context) (int64, error)) (bool, error) {
	if b.most == 0 {
		return true, nil
	}
	if ok, known := b.spend(bytes); known {
		return ok, nil
	}
	select {
	case b.asking <- struct{}{}:
		defer func() { <-b.asking }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if ok, known := b.spend(bytes); known { // another has asked meanwhile
		return ok, nil
	}
	has, err := stored(ctx)
	if err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := b.most - has; left >= bytes {
		b.credit = max(left/shareOfRoom, bytes) - bytes
		return true, nil
	}
	b.credit, b.full = 0, time.Now()
	return false, nil
}

// spend takes from what is known to be left. known is false when the stream has to be asked.
func (b *bound) spend(bytes int64) (ok, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.credit >= bytes {
		b.credit -= bytes
		return true, true
	}
	return false, time.Since(b.full) < fullPause
}

// admit gives those for which there is room, and refuses the others.
func (d *queueDriver) admit(ctx context.Context, all []*arrival) ([]*arrival, error) {
	admitted := all[:0]
	for _, a := range all {
		ok, err := d.bound.take(ctx, int64(len(a.record)+aroundTask), d.stored)
		if err != nil {
			return nil, err
		}
		if ok {
			admitted = append(admitted, a)
			continue
		}
		a.receipt.Err = d.core.fault(fault.New(fault.Exhausted,
			"the queues hold as much as they may, %d bytes (queue_max_bytes); run more workers, remove tasks, or raise it", d.bound.most),
			"queue: enqueue", a.task.ID)
	}
	return admitted, nil
}

// stored asks how many bytes the stream has.
func (d *queueDriver) stored(ctx context.Context) (bytes int64, err error) {
	var failed error
	err = d.wire.ask(ctx, 1, func(int) *nats.Msg {
		return &nats.Msg{Subject: d.api + "STREAM.INFO." + d.names.stream}
	}, func(_ int, m *nats.Msg) bool {
		var answer struct {
			Error *jetstream.APIError `json:"error"`
			State struct {
				Bytes int64 `json:"bytes"`
			} `json:"state"`
		}
		if failed = json.Unmarshal(m.Data, &answer); failed == nil && answer.Error != nil {
			failed = answer.Error
		}
		bytes = answer.State.Bytes
		return true
	})
	if err == nil {
		err = failed
	}
	return bytes, err
}

// checkLimits refuses a stream of tasks that an operator has given a limit: it would drop tasks at it, silently.
func checkLimits(have jetstream.StreamConfig) error {
	for _, limit := range []struct {
		isSet bool
		name  string
	}{
		{have.MaxBytes > 0, "max_bytes"},
		{have.MaxMsgs > 0, "max_msgs"},
		{have.MaxAge > 0, "max_age"},
	} {
		if limit.isSet {
			return fault.New(fault.Invalid, "it has %s, at which it would drop tasks; take that out, and bound the queue with option queue_max_bytes", limit.name)
		}
	}
	return nil
}
