package redis

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/gobackplane/backplane/transports"
)

// Open connects to the server that s.URL names.
func Open(ctx context.Context, s transports.Settings) (transports.Transport, error) {
	opt, err := redis.ParseURL(s.URL)
	if err != nil {
		return nil, err
	}
	t := assemble(redis.NewClient(opt), opt.Addr, s)
	t.owned = true
	return t, t.Health(ctx)
}

// New makes a transport of an application's own client, which Close leaves open. Of the settings only Namespace and
// Logger are used.
func New(client *redis.Client, s transports.Settings) (*Transport, error) {
	if err := transports.CheckNamespace(s.Namespace); err != nil {
		return nil, err
	}
	return assemble(client, client.Options().Addr, s), nil
}
