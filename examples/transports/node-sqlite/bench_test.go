package nodesqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/transports"
)

// BenchmarkSet and BenchmarkGet are what one caller, and 64 at once, get out of it. Each Set waits for the disk.
func BenchmarkSet(b *testing.B) {
	value := make([]byte, 100)
	each(b, func(ctx context.Context, c *cache.Backend, n int64) error {
		written, err := c.Set(ctx, []cache.Write{{Key: fmt.Sprint("k", n%1000), Value: value, TTL: time.Hour}})
		if err != nil {
			return err
		}
		return written[0].Err
	})
}

func BenchmarkGet(b *testing.B) {
	each(b, func(ctx context.Context, c *cache.Backend, n int64) error {
		_, err := c.Get(ctx, []cache.Read{{Key: fmt.Sprint("k", n%1000)}})
		return err
	})
}

func each(b *testing.B, do func(ctx context.Context, c *cache.Backend, n int64) error) {
	p := start(b)
	node, err := p.Open(b.Context(), transports.Settings{
		Namespace: "bench", Options: map[string]any{"file": filepath.Join(b.TempDir(), "store.sqlite")},
	})
	require.NoError(b, err)
	defer func() { require.NoError(b, node.Close()) }()
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			var n, failed atomic.Int64
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if do(b.Context(), node.Cache(), n.Add(1)) != nil {
						failed.Add(1)
					}
				}
			})
			require.Zero(b, failed.Load())
		})
	}
}
