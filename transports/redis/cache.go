package redis

import "github.com/gobackplane/backplane/cache"

func newCache(t *Transport) *cache.Backend { return nil }
