package servers_test

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
)

func TestTheClockOfAServerCanBeMoved(t *testing.T) {
	clock := testserver.Clock(t)
	server := testserver.Redis(t, servers.RedisOptions{Clock: clock})
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
	defer client.Close()
	require.NoError(t, client.Set(t.Context(), "k", "v", time.Hour).Err())
	now := func() time.Time {
		at, err := client.Time(t.Context()).Result()
		require.NoError(t, err)
		return at
	}
	require.WithinDuration(t, time.Now(), now(), 5*time.Second)

	require.NoError(t, clock.Advance(2*time.Hour))

	require.WithinDuration(t, time.Now().Add(2*time.Hour), now(), 5*time.Second)
	require.ErrorIs(t, client.Get(t.Context(), "k").Err(), goredis.Nil, "the key has ended")
	require.NoError(t, clock.Reset())
	require.WithinDuration(t, time.Now(), now(), 5*time.Second)
}
