package main

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// entryKeys are the keys of all cache entries and of all tasks in a Redis server.
func entryKeys(t *testing.T, address string) []string {
	t.Helper()
	options, err := redis.ParseURL(address)
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer client.Close()
	var keys []string
	for _, pattern := range []string{"bp:*:e:*", "{bp:*}:t:*", "{bp:*}:p:*", "bp:*:k:*"} {
		for scan := client.Scan(t.Context(), 0, pattern, 1000).Iterator(); scan.Next(t.Context()); {
			keys = append(keys, scan.Val())
		}
	}
	return keys
}
