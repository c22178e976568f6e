package nats

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// Erase removes the namespace's streams, with entries, locks, lists, tasks and counters. The node's queue is at its end
// with them: close the node. Where there is no JetStream nothing is kept, and nothing is done.
func (t *Transport) Erase(ctx context.Context) error {
	const op = "nats: erase"
	if err := t.core.usable(ctx); err != nil {
		return t.core.fault(err, op, t.core.ns)
	}
	names := queueSubjectsOf(t.core.ns)
	for _, stream := range []string{newStore(t.core, nil).stream, names.stream, names.counts} {
		err := t.core.js.DeleteStream(ctx, stream)
		switch {
		case err == nil, errors.Is(err, jetstream.ErrStreamNotFound):
		case isWithoutJetStream(err):
			return nil
		default:
			return t.core.fault(err, op, stream)
		}
	}
	return nil
}
