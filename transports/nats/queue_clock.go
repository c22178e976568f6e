package nats

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// timeCheck is how often the server is asked for its time.
const timeCheck = 30 * time.Second

// serverClock reckons the store's time: leases and run times are absolute times that the server compares with its clock,
// and this node's may be another. The reckoning is as good as half a round trip.
type serverClock struct {
	ahead atomic.Int64 // of ours, in ns
}

func (c *serverClock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())).Round(0) }

// ask asks the stream's leader for its time.
func (c *serverClock) ask(ctx context.Context, d *queueDriver) error {
	var told time.Time
	var failed error
	sent := time.Now()
	err := d.wire.ask(ctx, 1, func(int) *nats.Msg {
		return &nats.Msg{Subject: d.api + "STREAM.INFO." + d.names.stream}
	}, func(_ int, m *nats.Msg) bool {
		var answer struct {
			Time  time.Time           `json:"ts"`
			Error *jetstream.APIError `json:"error"`
		}
		if failed = json.Unmarshal(m.Data, &answer); failed == nil && answer.Error != nil {
			failed = answer.Error
		}
		told = answer.Time
		return true
	})
	took := time.Since(sent)
	if err == nil {
		err = failed
	}
	if err == nil && !told.IsZero() {
		c.ahead.Store(int64(told.Sub(sent.Add(took / 2))))
	}
	return err
}

// keepTime asks again now and then, until the transport's life ends.
func (d *queueDriver) keepTime() {
	tick := time.NewTicker(timeCheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ctx, cancel := context.WithTimeout(d.core.life, courierPatience)
			_ = d.clock.ask(ctx, d) // the old reckoning is good enough
			cancel()
		case <-d.core.life.Done():
			return
		}
	}
}

// nuidToken is a few random characters.
func nuidToken() string {
	id := nuid.Next()
	return id[:6] + id[len(id)-4:]
}
