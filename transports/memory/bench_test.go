package memory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/transports/memory"
)

// One task through the queue, behind backlogs of very different sizes: the figures are to be alike.
func BenchmarkQueueBehindBacklog(b *testing.B) {
	for _, backlog := range []int{1000, 300_000} {
		b.Run(fmt.Sprint(backlog), func(b *testing.B) {
			var store memory.Store
			node, err := store.Open("bench")
			require.NoError(b, err)
			defer func() { _ = node.Close() }()
			q := node.Queue()
			later := time.Now().Add(time.Hour)
			for i := range backlog {
				enqueue(b, q, job(fmt.Sprint("s", i), func(t *queue.Task) { t.RunAt = later.Add(time.Duration(i)) }))
				enqueue(b, q, job(fmt.Sprint("p", i)))
			}
			s, i := settler{b: q}, 0
			for b.Loop() {
				enqueue(b, q, job(fmt.Sprint("n", i)))
				held := claim(b, q, 1, 0)
				require.NoError(b, s.settle(b, queue.Settlement{Ref: held[0].Ref(), Outcome: queue.Done}))
				i++
			}
		})
	}
}

func BenchmarkCacheSet(b *testing.B) {
	for _, keys := range []int{1000, 300_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			var store memory.Store
			node, err := store.Open("bench")
			require.NoError(b, err)
			defer func() { _ = node.Close() }()
			names := make([]string, keys)
			for i := range names {
				names[i] = fmt.Sprint("key:", i)
				set(b, node.Cache(), cache.Write{Key: names[i], TTL: time.Hour})
			}
			i := 0
			for b.Loop() {
				set(b, node.Cache(), cache.Write{Key: names[i%keys], TTL: time.Hour})
				i++
			}
		})
	}
}
