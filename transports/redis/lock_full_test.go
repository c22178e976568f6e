package redis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/testserver"
)

func TestLockIsKeptAndGivenBackOnAFullServer(t *testing.T) {
	server := testserver.Redis(t)
	driver := openURL(t, server.URL(), testserver.Namespace(t)).Cache().Driver
	ctx := t.Context()
	taken, err := driver.Acquire(ctx, []cache.Claim{{Lock: "l", Holder: "h", TTL: time.Minute}})
	lease := one(t, taken, err)
	require.NoError(t, lease.Err)
	require.NoError(t, plain(t, server.URL()).ConfigSet(ctx, "maxmemory", "1").Err())

	other, err := driver.Acquire(ctx, []cache.Claim{{Lock: "other", Holder: "h", TTL: time.Minute}})
	requireCode(t, fault.Exhausted, one(t, other, err).Err)
	renewed, err := driver.Renew(ctx, []cache.Lease{lease})
	require.NoError(t, one(t, renewed, err).Err)
	errs, err := driver.Release(ctx, []cache.Lease{lease})
	require.NoError(t, adminOne(t, errs, err))
}
