package redis

import "github.com/gobackplane/backplane/queue"

func newQueue(t *Transport) (*queue.Backend, closer) { return nil, nil }
