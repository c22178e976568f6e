package main

import (
	"context"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// streamProcess is the bare Redis way: read a hundred from a stream's consumer group, acknowledge and delete them.
// No retry, no lease per task, no fence: what a queue is measured against, not a queue.
func streamProcess(e *env, tasks, readers int) side {
	const stream, group = "bench", "workers"
	return func(ctx context.Context) (float64, error) {
		if err := e.flush(); err != nil {
			return 0, err
		}
		for at := 0; at < tasks; at += 1000 {
			if _, err := e.direct.Pipelined(ctx, func(p goredis.Pipeliner) error {
				for range min(1000, tasks-at) {
					p.XAdd(ctx, &goredis.XAddArgs{Stream: stream, Values: []any{"p", payload100}})
				}
				return nil
			}); err != nil {
				return 0, err
			}
		}
		if err := e.direct.XGroupCreate(ctx, stream, group, "0").Err(); err != nil {
			return 0, err
		}
		client := goredis.NewClient(&goredis.Options{Addr: e.addr})
		defer client.Close()
		done := newCountdown(tasks)
		errs := make(chan error, readers)
		var wg sync.WaitGroup
		reading, stop := context.WithCancel(ctx)
		defer wg.Wait()
		defer stop()
		start := time.Now()
		for r := range readers {
			wg.Go(func() {
				consumer := strings.Repeat("c", r+1)
				for reading.Err() == nil {
					got, err := client.XReadGroup(reading, &goredis.XReadGroupArgs{
						Group: group, Consumer: consumer, Streams: []string{stream, ">"}, Count: 100, Block: -1,
					}).Result()
					if err == goredis.Nil {
						return
					}
					if err != nil {
						errs <- err
						return
					}
					ids := make([]string, len(got[0].Messages))
					for i, m := range got[0].Messages {
						ids[i] = m.ID
						done.one()
					}
					if _, err := client.Pipelined(reading, func(p goredis.Pipeliner) error {
						p.XAck(reading, stream, group, ids...)
						p.XDel(reading, stream, ids...)
						return nil
					}); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		select {
		case err := <-errs:
			return 0, err
		default:
		}
		if err := done.wait(ctx, time.Minute); err != nil {
			return 0, err
		}
		return float64(tasks) / time.Since(start).Seconds(), nil
	}
}
