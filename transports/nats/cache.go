package nats

import (
	"context"

	"github.com/gobackplane/backplane/cache"
)

// newCache makes the cache over JetStream, or nothing where there is no JetStream.
func newCache(context.Context, *core) (*cache.Backend, closer, error) { return nil, nil, nil }
