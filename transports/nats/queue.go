package nats

import (
	"context"

	"github.com/gobackplane/backplane/queue"
)

// newQueue makes the task queue over JetStream, or nothing where there is no JetStream.
func newQueue(context.Context, *core) (*queue.Backend, closer, error) { return nil, nil, nil }
