package nats

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A cluster may need several elections until it has made a stream, and a busy disk its time to sync.
const (
	streamWithin  = 30 * time.Second
	attemptWithin = time.Second
	noLeaderPause = 100 * time.Millisecond
)

// insist tries until it succeeds, or fails for good. A cluster that is about to choose a leader, to hear of its servers, or
// to make a stream for another node, is asked again.
func (c *core) insist(ctx context.Context, try func(context.Context) error) error {
	for {
		within, cancel := context.WithTimeout(ctx, attemptWithin)
		err := try(within)
		cancel()
		if err == nil || !passing(err) || ctx.Err() != nil {
			return err
		}
		if c.pause(ctx, noLeaderPause) != nil {
			return err
		}
	}
}

// passing says whether an error may be another, or none, a moment later.
func passing(err error) bool {
	var refusal *jetstream.APIError
	if errors.As(err, &refusal) {
		switch refusal.ErrorCode {
		case jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeStreamNameInUse,
			apiClusterNotAvail, apiClusterNotLeader, apiClusterNoPeers, apiClusterIncomplete, apiStreamOffline:
			return true
		}
		return false
	}
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded)
}

func (c *core) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.life.Done():
		return errClosed
	}
}
