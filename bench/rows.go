package main

import (
	"time"

	"github.com/gobackplane/backplane/transports"

	_ "github.com/gobackplane/backplane/transports/redis"
)

// rows is the table, in the order in which it is printed.
var rows = []row{
	cacheRow("cache get, 1 goroutine", 0.85, 1, cacheGet),
	cacheRow("cache set, 1 goroutine", 0.85, 1, cacheSet),
	cacheRow("cache get, 64 goroutines", 1.7, 64, cacheGet),
	cacheRow("cache set, 64 goroutines", 1.5, 64, cacheSet),
	lockRow("lock + unlock with fence, 1 goroutine", 1.0, 1),
	lockRow("lock + unlock with fence, 64 goroutines", 1.5, 64),
	publishRow("publish 128 B, 1 goroutine", 0.85, 1),
	publishRow("publish 128 B, 64 goroutines", 3.5, 64),
	{name: "rpc to one node, 1 caller, p50", peer: "2 raw go-redis pub/sub hops", unit: "µs", less: true, bar: 0.7, pinned: true, setup: callOneNode},
	processRow("queue process, concurrency 64, 50k tasks", 12, 50_000, 50_000, 0),
	{name: "queue process against raw streams", peer: "XREADGROUP 100 + XACK + XDEL", unit: "/s", bar: 0.4, setup: processAgainstStreams},
	processRow("queue process, 2.5 ms round trip", 60, 50_000, 1_000, 2500*time.Microsecond),
	enqueueRow("enqueue, 1 goroutine", 0.9, 1),
	enqueueRow("enqueue, 64 goroutines", 2.4, 64),
	enqueueRow("enqueue, 256 goroutines", 4, 256),
	{name: "queue idle pick-up, p50", peer: "raw LPUSH, blocked BLMOVE", unit: "µs", less: true, bar: 0.35, pinned: true, setup: idlePickUp},
	{name: "memory in Redis per pending task, 100 B", peer: "hibiken/asynq", unit: "B", less: true, bar: 1, setup: memoryPerTask},
	{name: "queue claim, 1M pending + 1M scheduled", peer: "the same with 1,000 of each", unit: "µs", less: true, bar: 0.8, setup: claimWithBacklog},
}

// open opens our transport on the row's server, as an application would.
func (e *env) open() (transports.Transport, error) { return e.openAt(e.addr) }

func (e *env) openAt(addr string) (transports.Transport, error) {
	t, err := transports.OpenURL(e.ctx, "redis://"+addr, transports.Settings{Namespace: "bench"})
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { t.Close() })
	return t, nil
}
