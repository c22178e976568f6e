package redis

import "github.com/gobackplane/backplane/pubsub"

func newPubSub(t *Transport) *pubsub.Backend { return nil }
