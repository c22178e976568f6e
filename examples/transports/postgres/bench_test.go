//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/examples/transports/postgres/internal/pgtest"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
)

// The server of benchmarks flushes to the disk, as one in production does.
func benched(b *testing.B) *pgtest.Server {
	b.Helper()
	return pgtest.Start(b, pgtest.Options{Sync: os.Getenv("PGTEST_SYNC") != "off", Settings: []string{"autovacuum_naptime=15s"}})
}

// shared runs f b.N times, on n goroutines.
func shared(b *testing.B, n int, f func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	failures := make(chan error, n)
	b.ResetTimer()
	for range n {
		group.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := f(int(i)); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	close(failures)
	require.NoError(b, <-failures)
}

// BenchmarkCache has plain statements of pgx beside it, on the same server.
func BenchmarkCache(b *testing.B) {
	server := benched(b)
	node := open(b, server.URL(), "bench")
	pool, err := pgxpool.New(b.Context(), server.URL()+"&pool_max_conns=16")
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	_, err = pool.Exec(b.Context(), "CREATE TABLE plain (key bytea PRIMARY KEY, value bytea)")
	require.NoError(b, err)
	value := make([]byte, 100)
	const keys = 10_000
	key := func(i int) string { return fmt.Sprint("key", i%keys) }
	// Both have all keys before, and the server its first files of WAL.
	for range 5 {
		_, err = pool.Exec(b.Context(), `INSERT INTO plain SELECT convert_to('key' || i, 'UTF8'), decode(repeat('00', 100), 'hex')
			FROM generate_series(0, $1 - 1) i ON CONFLICT (key) DO UPDATE SET value = excluded.value`, keys)
		require.NoError(b, err)
		for at := 0; at < keys; at += 1000 {
			writes := make([]cache.Write, 1000)
			for i := range writes {
				writes[i] = cache.Write{Key: key(at + i), Value: value}
			}
			_, err := node.Cache().Set(b.Context(), writes)
			require.NoError(b, err)
		}
	}
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("set/%d", n), func(b *testing.B) {
			shared(b, n, func(i int) error {
				_, err := node.Cache().Set(b.Context(), []cache.Write{{Key: key(i), Value: value}})
				return err
			})
		})
		b.Run(fmt.Sprintf("set/%d/pgx", n), func(b *testing.B) {
			shared(b, n, func(i int) error {
				_, err := pool.Exec(b.Context(), "INSERT INTO plain VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", []byte(key(i)), value)
				return err
			})
		})
		b.Run(fmt.Sprintf("get/%d", n), func(b *testing.B) {
			shared(b, n, func(i int) error {
				_, err := node.Cache().Get(b.Context(), []cache.Read{{Key: key(i)}})
				return err
			})
		})
		b.Run(fmt.Sprintf("get/%d/pgx", n), func(b *testing.B) {
			shared(b, n, func(i int) error {
				var got []byte
				return pool.QueryRow(b.Context(), "SELECT value FROM plain WHERE key = $1", []byte(key(i))).Scan(&got)
			})
		})
		b.Run(fmt.Sprintf("lock+unlock/%d", n), func(b *testing.B) {
			shared(b, n, func(i int) error {
				leases, err := node.Cache().Acquire(b.Context(), []cache.Claim{{Lock: fmt.Sprint("lock", i), Holder: "h", TTL: minute}})
				if err == nil {
					_, err = node.Cache().Release(b.Context(), leases)
				}
				return err
			})
		})
	}
	b.Run("set, 100 in a batch", func(b *testing.B) {
		writes := make([]cache.Write, 100)
		shared(b, 1, func(i int) error {
			for k := range writes {
				writes[k] = cache.Write{Key: key(i*100 + k), Value: value}
			}
			_, err := node.Cache().Set(b.Context(), writes)
			return err
		})
		b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	})
}

func BenchmarkQueue(b *testing.B) {
	server := benched(b)
	for _, batch := range []int{1, 100} {
		for _, backlog := range []int{0, 200_000} {
			b.Run(fmt.Sprintf("batch=%d/backlog=%d", batch, backlog), func(b *testing.B) {
				node := open(b, server.URL(), fmt.Sprintf("bench-%d-%d-%d", batch, backlog, b.N))
				q := node.Queue()
				fill(b, q, backlog)
				b.Run("enqueue", func(b *testing.B) {
					shared(b, 4, func(int) error { return fillSome(b.Context(), q, batch) })
					b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "tasks/s")
				})
				var worker, numbers atomic.Int64
				workers := sync.Pool{New: func() any { name := fmt.Sprint("worker", worker.Add(1)); return &name }}
				b.Run("claim+settle", func(b *testing.B) {
					fill(b, q, batch*b.N)
					shared(b, 4, func(int) error {
						named := workers.Get().(*string)
						defer workers.Put(named)
						name := *named
						claimed, err := q.Claim(b.Context(), queue.Claim{Worker: name, Queues: []string{"q"}, Max: batch})
						if err != nil {
							return err
						}
						items := make([]queue.Settlement, len(claimed.Tasks))
						for i, t := range claimed.Tasks {
							items[i] = queue.Settlement{Ref: t.Ref(), Outcome: queue.Done}
						}
						_, err = q.Settle(b.Context(), queue.Settlements{Worker: name, Number: uint64(numbers.Add(1)), Items: items})
						return err
					})
					b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "tasks/s")
				})
			})
		}
	}
}

// BenchmarkTextbook is the queue that many have written for themselves: a table, SKIP LOCKED, no leases, priorities, counts
// or repeats.
func BenchmarkTextbook(b *testing.B) {
	server := benched(b)
	pool, err := pgxpool.New(b.Context(), server.URL()+"&pool_max_conns=16")
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	_, err = pool.Exec(b.Context(), `CREATE TABLE job (id bigserial PRIMARY KEY, active boolean NOT NULL DEFAULT false, payload bytea);
		CREATE INDEX ON job (id) WHERE NOT active`)
	require.NoError(b, err)
	payloads := make([][]byte, 100)
	for i := range payloads {
		payloads[i] = make([]byte, 100)
	}
	enqueue := func(int) error {
		_, err := pool.Exec(b.Context(), "INSERT INTO job (payload) SELECT unnest($1::bytea[])", payloads)
		return err
	}
	b.Run("batch=100/enqueue", func(b *testing.B) {
		shared(b, 4, enqueue)
		b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	})
	b.Run("batch=100/claim+settle", func(b *testing.B) {
		for range b.N {
			require.NoError(b, enqueue(0))
		}
		shared(b, 4, func(int) error {
			rows, err := pool.Query(b.Context(), `UPDATE job SET active = true WHERE id = ANY (ARRAY(
				SELECT id FROM job WHERE NOT active ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)) RETURNING id, payload`)
			if err != nil {
				return err
			}
			var id int64
			var payload []byte
			var ids []int64
			if _, err := pgx.ForEachRow(rows, []any{&id, &payload}, func() error { ids = append(ids, id); return nil }); err != nil {
				return err
			}
			_, err = pool.Exec(b.Context(), "DELETE FROM job WHERE id = ANY ($1)", ids)
			return err
		})
		b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	})
}

func fill(b *testing.B, q *queue.Backend, n int) {
	b.Helper()
	for n > 0 {
		part := min(n, 1000)
		require.NoError(b, fillSome(b.Context(), q, part))
		n -= part
	}
}

func fillSome(ctx context.Context, q *queue.Backend, n int) error {
	all := make([]queue.Task, n)
	for i := range all {
		all[i] = queue.Task{ID: uuid.Must(uuid.NewV7()).String(), Kind: "k", Queue: "q", Payload: make([]byte, 100), MaxAttempts: 5, MaxLost: 5}
	}
	_, err := q.Enqueue(ctx, all)
	return err
}

func BenchmarkPubSub(b *testing.B) {
	server := benched(b)
	for _, size := range []int{128, 16 << 10} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("%dB/batch=%d", size, batch), func(b *testing.B) {
				here, there := open(b, server.URL(), "bench"), open(b, server.URL(), "bench")
				heard := make(chan int, 1<<16)
				sub, err := there.PubSub().Subscribe(b.Context(), pubsub.Filter{Subject: "s"}, func(events []pubsub.Event) { heard <- len(events) })
				require.NoError(b, err)
				b.Cleanup(func() { _ = sub.Close() })
				messages := make([]pubsub.Message, batch)
				for i := range messages {
					messages[i] = pubsub.Message{Subject: "s", Payload: make([]byte, size), Sender: "me", Seq: 1}
				}
				// One after another: each is published when the one before has come.
				shared(b, 1, func(int) error {
					if _, err := here.PubSub().Publish(b.Context(), messages); err != nil {
						return err
					}
					for come := 0; come < batch; {
						come += <-heard
					}
					return nil
				})
				b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}
